"""The report's page in a real browser: complete, offline, no wider than a phone."""

import re

import pytest

from bnnrepro.report.collect import collect
from bnnrepro.report.render.document import write
from bnnrepro.report.table_report import document
from bnnrepro.report.tables import tables

from . import browser, synthetic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module", params=["paper", "quick"])
def report(request, tmp_path_factory):
    """Table 2 with a run of every kind in it."""
    out = tmp_path_factory.mktemp("runs")
    cells = synthetic.cells("table2", out, preset=request.param, seeds=4)
    for cell in cells[:-1]:
        synthetic.done(cell.runs[0], 71.5, epochs=40)
        synthetic.done(cell.runs[1], 72.25, epochs=40, env=synthetic.environment(dirty=True))
        synthetic.damaged(cell.runs[2], "cut")
        synthetic.failed(cell.runs[3], "<script>alert(1)</script> & a path/without/any/blank" * 3)
    synthetic.running(cells[-1].runs[0])
    collected = collect(cells)
    content = document(tables()["2"], collected)
    files = write(content, out / "reports" / f"table2_{request.param}")
    return files[-1], content


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_whole_in_a_browser(opened, report, width, dark):
    page, content = report
    opened.open(page, width, dark=dark)
    assert opened.complaints() == []
    urls = [url for url in opened.requests() if not url.startswith("data:")]
    assert urls == [page.as_uri()]
    assert opened.value("document.documentElement.scrollWidth") <= width
    assert opened.value("document.body.getBoundingClientRect().right") <= width
    text = re.sub(r"\s+", " ", opened.value("document.body.textContent"))
    texts = [cell for part in content.sections for row in part.rows for cell in row]
    for line in [*texts, *(entry for _, entries in content.lists for entry in entries)]:
        assert re.sub(r"\s+", " ", line) in text
    assert content.title in text
    assert content.warning in text


def test_every_chart_has_lines_with_an_extent(opened, report):
    page, content = report
    opened.open(page, 360)
    sizes = opened.value(
        "[...document.querySelectorAll('svg.chart')].filter(svg => /by epoch/.test("
        "svg.getAttribute('aria-label'))).map(svg => [...svg.querySelectorAll('path[clip-path]')]"
        ".filter(path => /stroke: var.--(?!dddddd)/.test(path.getAttribute('style'))).map(line => {"
        "const box = line.getBoundingClientRect(); return Math.max(box.width, box.height)}))"
    )
    assert len(sizes) == len([chart for chart in content.charts if "by epoch" in chart])
    for lines in sizes:
        assert lines
        assert min(lines) > 20


def test_dark_and_light_are_legible(opened, report):
    page, _ = report
    for dark in (False, True):
        opened.open(page, 360, dark=dark)
        read = "getComputedStyle(document.{}).{}.match(/[0-9]+/g).slice(0, 3).map(Number)"
        back = opened.value(read.format("body", "backgroundColor"))
        for element in ("body", "querySelector('.soft')", "querySelector('td')"):
            front = opened.value(read.format(element, "color"))
            assert contrast(front, back) >= 4.5
        assert (sum(back) < 200) == dark


def contrast(front, back) -> float:
    """Ratio of luminances, which WCAG 2 requires to be at least 4.5."""

    def luminance(colour):
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    low, high = sorted((luminance(front), luminance(back)))
    return high / low


def test_links_lead_to_the_runs(opened, report):
    page, content = report
    opened.open(page, 1200)
    links = opened.value(
        "[...document.querySelectorAll('details a')].map(a => a.getAttribute('href'))"
    )
    assert len(links) == len(content.runs) > 0
    for link, (_, folder) in zip(links, content.runs, strict=True):
        assert (page.parent / link / "result.json").resolve() == folder.resolve() / "result.json"


def test_nothing_from_a_run_becomes_markup(opened, report):
    page, _ = report
    opened.open(page, 360)
    assert opened.value("document.scripts.length") == 0
    assert "alert(1)" in opened.value("document.body.textContent")
