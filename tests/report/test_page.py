"""The report's page in a real browser: complete, offline, no wider than a phone."""

import re

import pytest

from bnnrepro.report.collect import collect
from bnnrepro.report.render import write_table
from bnnrepro.report.render.layout import make_report, row_texts
from bnnrepro.report.tables import TABLES

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
    cells = synthetic.cells(TABLES["2"].cells, out, preset=request.param, seeds=4)
    for cell in cells[:-1]:
        synthetic.done(cell.runs[0], 71.5, epochs=40)
        synthetic.done(cell.runs[1], 72.25, epochs=40, env=synthetic.environment(dirty=True))
        synthetic.damaged(cell.runs[2], "cut")
        synthetic.failed(cell.runs[3], "<script>alert(1)</script> & a path/without/any/blank" * 3)
    synthetic.running(cells[-1].runs[0])
    collected = collect(cells)
    folder = out / ".tables" / f"2_{request.param}"
    write_table(TABLES["2"], collected, folder)
    return folder / "table.html", make_report(TABLES["2"], collected)


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
    for line in content.lines:
        for column in row_texts(content, line):
            assert column in text
    for line in content.unused:
        assert re.sub(r"\s+", " ", line) in text
    assert content.title in text
    assert content.warning in text


def test_every_cell_has_curves_with_an_extent(opened, report):
    page, _ = report
    opened.open(page, 360)
    boxes = opened.value(
        "[...document.querySelectorAll('.card')].map(card => "
        "[card.id, ...[...card.querySelectorAll('.curves > svg .line')].map(line => {"
        "const box = line.getBoundingClientRect(); return Math.min(box.width, box.height)})])"
    )
    assert [name for name, *_ in boxes] == list(TABLES["2"].cells)
    for name, *sizes in boxes:
        assert len(sizes) == 3, name
        assert min(sizes) > 20, name


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
        "[...document.querySelectorAll('.card a')].map(a => a.getAttribute('href'))"
    )
    used = [run for results in content.collected for run in results.used]
    assert len(links) == len(used) > 0
    for link, run in zip(links, used, strict=True):
        assert (
            page.parent / link / "result.json"
        ).resolve() == run.expected.folder.result.resolve()


def test_nothing_from_a_run_becomes_markup(opened, report):
    page, _ = report
    opened.open(page, 360)
    assert opened.value("document.scripts.length") == 0
    assert "alert(1)" in opened.value("document.body.textContent")
