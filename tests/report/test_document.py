"""A document's forms: the same content in each, escaped, and nothing obeyed."""

import csv
import io
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest

from bnnrepro.report.render.document import _FIT, Document, Section, latex, terminal, write

from . import browser

HOSTILE = "50 % & a_b {x} #1 ~ ^ \\ | <b>$</b> `*[c]*`"
CONTROL = "\x1b]0;title\x07 \u202ekcab"
FILES = ["table.md", "table.tex", "table.csv", "table.json", "table.html"]
FORMS = ["md", "tex", "csv", "json", "html", "text"]


def document(text="plain", **changes):
    columns = ["Method", "n", text]
    content = {
        "title": f"Comparison by method. {text}",
        "warning": f"Warning: {text}",
        "about": "Mean ± sample standard deviation.",
        "sections": [
            Section("MNIST", columns, [["[ste]", "3", text], ["bop", "12", "—"]]),
            Section("CIFAR-10", columns, [["ste", "", ""]]),
            Section("", ["Pair", "p"], [["ste - bop", "0.01"]]),
        ],
        "notes": [("1", text)],
        "lists": [("Not in the table", [text, "seed 4: failed"])],
        "charts": ['<svg viewBox="0 0 4 3" role="img"><path d="M0 0L4 3" stroke="red"/></svg>'],
        "data": pd.DataFrame(
            {"method": [text, "bop"], "n": [3, 12], "mean": [0.1 + 0.2, float("nan")]}
        ),
        "extra": {"metric": "test.accuracy"},
    }
    return Document(**{**content, **changes})


@pytest.fixture
def forms(tmp_path):
    def written(content):
        files = write(content, tmp_path / "report")
        assert [file.name for file in files] == FILES
        texts = {file.suffix[1:]: file.read_text(encoding="utf-8") for file in files}
        return texts | {"text": terminal(content)}

    return written


def test_markdown_and_terminal_have_every_row_under_its_heading(forms):
    written = forms(document())
    headings = re.findall(r"^## (.*)", written["md"], re.MULTILINE)
    assert headings == ["MNIST", "CIFAR-10", "Not in the table"]
    rows = [row.split("|")[1:-1] for row in written["md"].splitlines() if row.startswith("|")]
    assert [len(row) for row in rows] == [3] * 7 + [2] * 3
    lines = written["text"].splitlines()
    assert lines[3].split() == ["Method", "n", "plain"]
    assert lines[4:9:3] == ["MNIST", "CIFAR-10"]
    assert lines[5].split() == ["[ste]", "3", "plain"]
    assert lines[6].endswith(" 12        —")  # figures stand right, in one grid for both headings


def test_latex_is_balanced_escaped_and_fits_the_page():
    form = latex(document(HOSTILE))
    assert form.count("\\begin{") == form.count("\\end{") == 3
    assert "\\label{tab:comparison-by-method}" in form
    assert form.count("\\toprule") == form.count("\\bottomrule") == 2
    assert form.count("\\ifdim\\width>\\linewidth") == 2
    rows = [line for line in form.splitlines() if line.endswith("\\\\") and "multi" not in line]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2, 2, 2, 2, 1, 1]
    assert not any(row.startswith("[") for row in rows)  # which \\ would take for its option
    form = "\n".join(line for line in form.splitlines()[1:] if line != _FIT)
    body = re.sub(r"\\[&%$#_{}]|\\[a-z]+(\{\})?|\$\\pm\$", "", form)
    assert not set("\n".join(body.splitlines()).replace(" & ", " ")) & set("#_%~^$|<±—")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(tmp_path):
    lines = ["\\documentclass{article}", "\\usepackage{booktabs,graphicx}", "\\begin{document}"]
    text = "\n".join([*lines, latex(document(HOSTILE * 4)), "\\end{document}"])
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout


def test_csv_and_json_hold_the_unrounded_numbers(forms):
    written = forms(document())
    rows = list(csv.DictReader(io.StringIO(written["csv"])))
    assert [row["mean"] for row in rows] == ["0.30000000000000004", ""]
    content = json.loads(written["json"])
    assert content["rows"][0] == {"method": "plain", "n": 3, "mean": 0.30000000000000004}
    assert content["rows"][1]["mean"] is None
    assert content["metric"] == "test.accuracy"
    assert content["lists"] == {"Not in the table": ["plain", "seed 4: failed"]}


def test_runs_are_links_relative_to_the_page(forms, tmp_path):
    run = tmp_path / "multirun" / "digits" / "a b#c"
    written = forms(document(runs=[("seed 0", run)]))
    assert '<a href="../multirun/digits/a%20b%23c/">seed 0</a>' in written["html"]
    runs = json.loads(written["json"])["runs"]
    assert runs == [{"run": "seed 0", "folder": "../multirun/digits/a b#c"}]


@pytest.mark.parametrize("form", FORMS)
def test_no_control_character_reaches_a_reader(forms, form):
    written = forms(document(CONTROL))[form]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", written)
    if form != "json":
        escaped = {"tex": r"\textbackslash{}x1b", "md": r"\\x1b"}
        assert escaped.get(form, r"\x1b") in written


def test_no_text_becomes_markup(forms):
    written = forms(document("<script>alert(1)</script>"))
    assert "<script" not in written["html"]
    assert "<script" not in re.sub(r"\\.", "", written["md"])
    assert written["html"].count("<svg") == 1


def test_an_empty_document_has_every_form(forms):
    assert forms(Document("Nothing"))["text"] == "Nothing"


def test_the_same_document_is_the_same_bytes(forms):
    assert forms(document(HOSTILE)) == forms(document(HOSTILE))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.slow
@pytest.mark.skipif(browser.program() is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_whole_and_legible_in_a_browser(opened, tmp_path, width, dark):
    content = document("w" * 200, runs=[("seed 0", tmp_path)])
    page = write(content, tmp_path)[-1]
    opened.open(page, width, dark=dark)
    assert opened.complaints() == []
    urls = [url for url in opened.requests() if not url.startswith("data:")]
    assert urls == [page.as_uri()]
    assert opened.value("document.documentElement.scrollWidth") <= width
    text = opened.value("document.body.textContent")
    for section in content.sections:
        assert all(cell in text for row in section.rows for cell in row)
    assert opened.value("document.querySelector('.charts svg').getBoundingClientRect().width") > 200
    read = "getComputedStyle(document.{}).{}.match(/[0-9]+/g).slice(0, 3).map(Number)"
    back = opened.value(read.format("body", "backgroundColor"))
    assert (sum(back) < 200) == dark
    for element in ("body", "querySelector('.soft')", "querySelector('td')"):
        assert contrast(opened.value(read.format(element, "color")), back) >= 4.5


def contrast(front, back) -> float:
    """Ratio of luminances, which WCAG 2 requires to be at least 4.5."""

    def luminance(colour):
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    low, high = sorted((luminance(front), luminance(back)))
    return high / low
