"""The report's forms: structure, what is missing, and never a shortened run taken for more."""

import csv
import io
import json
import re

import pytest

from bnnrepro.report.collect import collect
from bnnrepro.report.render import text, write_table
from bnnrepro.report.render.layout import ranges
from bnnrepro.report.tables import NOTES, TABLES

from . import synthetic

RUNS = [98.91, 98.78, 98.81, 98.90, 98.88]  # the authors' own
FORMS = ["table.md", "table.tex", "table.csv", "table.json", "table.html"]


def written(number, out, *, preset="paper", seeds=5, fill=None):
    """Make runs, by ``fill(cell)``, and read the report's files by their ends."""
    cells = synthetic.cells(TABLES[number].cells, out, preset=preset, seeds=seeds)
    for cell in cells:
        if fill:
            fill(cell)
    collected = collect(cells)
    files = write_table(TABLES[number], collected, out / ".tables" / number)
    assert [file.name for file in files] == FORMS
    forms = {file.suffix[1:]: file.read_text(encoding="utf-8") for file in files}
    forms["text"] = text(TABLES[number], collected)
    return forms


def authors(cell):
    for run in cell.runs:
        synthetic.done(run, RUNS[run.seed])


def half(cell):
    """MNIST done, CIFAR-10 in part, CIFAR-100 not at all."""
    if cell.dataset == "mnist":
        authors(cell)
    elif cell.dataset == "cifar10" and cell.method != "pmf":
        synthetic.done(cell.runs[0], 90.0)
        synthetic.damaged(cell.runs[1], "cut")
        synthetic.failed(cell.runs[2], "no data & no |x|_1 <b>#</b>")


@pytest.fixture(scope="module")
def table2(tmp_path_factory):
    return written("2", tmp_path_factory.mktemp("runs"), fill=half)


@pytest.fixture(scope="module")
def quick2(tmp_path_factory):
    return written("2", tmp_path_factory.mktemp("quick"), preset="quick", fill=half)


def markdown_rows(form):
    lines = [line for line in form.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_has_a_row_a_figure_and_as_many_cells_as_columns(table2):
    rows = markdown_rows(table2["md"])
    assert rows[0] == [
        "",
        "Paper",
        "Earlier reproduction",
        "Ours",
        "n",
        "Sample std",
        "95 % interval",
        "Difference",
        "Verdict",
    ]
    assert {len(row) for row in rows} == {9}
    assert len(rows) == 3 + len(TABLES["2"].rows)
    mode = next(row for row in rows if row[0] == "BayesBiNN (mode)")
    assert mode == [
        "BayesBiNN (mode)",
        "98.86 ± 0.05",
        "—",
        "98.86 ± 0.05",
        "5 of 5",
        "0.06",
        "98.78 to 98.93",
        "+0.00",
        "agrees",
    ]
    ste = next(row for row in rows if row[0] == "STE")
    assert ste[2] == "98.860 ± 0.119"


def test_latex_is_balanced_and_escaped(table2):
    form = table2["tex"]
    for rule in ("\\toprule", "\\bottomrule"):
        assert form.count(rule) == 1
    assert form.count("\\midrule") == 3
    assert form.count("\\begin{") == form.count("\\end{") == 2
    columns = re.search(r"\\begin{tabular}{(l?r+)}", form)[1]
    body = form.split("\\toprule")[1].split("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if "&" in line]
    assert len(rows) == 1 + len(TABLES["2"].rows)
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
        assert row.endswith(" \\\\")
    assert "±" not in form
    outside = re.sub(r"\\[a-z]+|\\[&%$#_{}]|[{}&]|\$\\pm\$", "", "\n".join(form.splitlines()[1:]))
    assert not set(outside) & set("#_%~^$")


def test_csv_and_json_say_the_same(table2):
    rows = list(csv.DictReader(io.StringIO(table2["csv"])))
    lines = json.loads(table2["json"])["lines"]
    assert len(rows) == len(lines) == len(TABLES["2"].rows)
    for row, line in zip(rows, lines, strict=True):
        assert set(row) == set(line) - {"runs"}
        for key, value in row.items():
            assert value == ("" if line[key] is None else str(line[key]))
        assert line["n"] == len(line["runs"])
    first = next(line for line in lines if line["cell"] == "table2_mnist_bayesbinn")
    assert [run["value"] for run in first["runs"]] == RUNS
    assert (first["paper_ddof"], first["paper_runs"], first["verdict"]) == (0, 5, "agrees")
    assert first["p_low"] <= first["p"] <= first["p_high"]


def test_what_is_missing_is_named_in_every_form_and_the_rest_stands(table2):
    content = json.loads(table2["json"])
    assert content["progress"] == "29 of 75 runs done"
    states = {(issue["cell"], issue["state"]) for issue in content["not_in_the_table"]}
    assert ("table2_cifar10_ste", "damaged") in states
    assert ("table2_cifar10_ste", "failed") in states
    assert ("table2_cifar100_bop", "missing") in states
    for form in ("md", "html", "text", "tex"):
        plain = table2[form].replace("\\", "")
        # cells with the same issue share a line
        assert re.search("table2_cifar10_pmf, .*table2_cifar100_bop, .*seeds 0-4: missing", plain)
        assert "table2_cifar10_ste, seed 1: damaged" in plain
    rows = {row[0]: row for row in markdown_rows(table2["md"])[-6:]}
    assert rows["STE"][3:5] == ["no run done", "0 of 5"]
    assert rows["STE"][-1] == "too few runs: none is done"


def test_a_shortened_protocol_is_said_in_the_title_and_every_cell(quick2):
    words = "quick, not the paper's protocol"
    rows = markdown_rows(quick2["md"])
    assert "not the paper's protocol" in quick2["md"].splitlines()[0]
    for row in rows:
        assert len(row) == 5
        assert row[1] == "Ours" or words in row[1]
    for row in csv.DictReader(io.StringIO(quick2["csv"])):
        assert row["protocol"] == words
    assert quick2["tex"].count(words) == len(TABLES["2"].rows)
    assert re.search(r"<h1>.*not the paper&#39;s protocol", quick2["html"])
    assert quick2["html"].count("[quick, not the paper&#39;s protocol]") >= len(rows) - 3
    assert quick2["text"].count(words) == len(TABLES["2"].rows)


def test_a_shortened_protocol_is_compared_with_nothing(quick2):
    content = json.loads(quick2["json"])
    assert content["compared_with_paper"] is False
    assert not any(key.startswith(("paper", "earlier", "verdict")) for key in content["lines"][0])
    for form in ("md", "tex", "html", "text", "csv"):
        for word in ("98.86 ± 0.05 |", "agrees", "differs", "Verdict", "Earlier reproduction"):
            assert word not in quick2[form]


def test_data_that_stand_in_are_named_in_every_cell_and_not_compared(tmp_path):
    forms = written("2", tmp_path, preset="smoke", seeds=3, fill=authors)
    for row in markdown_rows(forms["md"]):
        assert row[1] == "Ours" or "stand in for" in row[1]
    assert json.loads(forms["json"])["compared_with_paper"] is False
    assert "Other data stand in" in forms["md"]


@pytest.mark.parametrize(
    ("number", "note"),
    [("2", "bop"), ("2", "pmf"), ("2", "mean"), ("6", "table6"), ("11", "lrnet")],
)
def test_notes_stand_below_and_are_marked(tmp_path, number, note):
    forms = written(number, tmp_path, seeds=1)
    content = json.loads(forms["json"])
    (mark,) = [mark for mark, text in content["notes"].items() if text == NOTES[note]]
    assert f"[{mark}]" in forms["text"]
    assert NOTES[note] in forms["text"]


def test_a_figure_that_is_only_quoted_is_no_missing_run(tmp_path):
    def last(cell):
        for run in cell.runs:
            synthetic.done(run, 99.4 + run.seed / 50)

    forms = written("11", tmp_path, seeds=3, fill=last)
    lines = json.loads(forms["json"])["lines"]
    assert [line["cell"] for line in lines][::2] == [None, None]
    assert [line["n"] for line in lines] == [0, 3, 0, 3]
    assert {line["selection"] for line in lines} == {"final"}
    assert json.loads(forms["json"])["not_in_the_table"] == []


def test_table_10_shows_train_validation_and_test(tmp_path):
    forms = written("10", tmp_path, seeds=2, fill=lambda cell: synthetic.done(cell.runs[0], 95.0))
    rows = markdown_rows(forms["md"])
    assert len(rows) == 3 + 54
    assert [row[1] for row in rows[1:4]] == ["train", "validation", "test"]
    assert [row[4].split()[0] for row in rows[1:4]] == ["96.00", "95.00", "95.00"]


def test_code_that_differs_between_cells_is_said(tmp_path):
    def two(cell):
        code = "beef" if cell.method == "bop" else "cafe"
        synthetic.done(cell.runs[0], 90.0, env=synthetic.environment(code, dirty=True))

    forms = written("2", tmp_path, seeds=1, fill=two)
    assert "not all of one code" in forms["md"]
    assert "uncommitted changes" in forms["md"]


def test_the_report_is_the_same_bytes_again(tmp_path):
    cells = synthetic.cells(TABLES["2"].cells, tmp_path, seeds=2)
    for cell in cells:
        synthetic.done(cell.runs[0], 95.0)
    folders = [tmp_path / ".tables" / name for name in ("a", "b")]
    first, second = (write_table(TABLES["2"], collect(cells), folder) for folder in folders)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_table_of_two_presets_or_of_none_is_refused(tmp_path):
    names = TABLES["11"].cells
    mixed = [
        synthetic.cells(names[:1], tmp_path, preset="paper")[0],
        synthetic.cells(names[1:], tmp_path, preset="quick")[0],
    ]
    with pytest.raises(ValueError, match="one preset"):
        text(TABLES["11"], collect(mixed))
    with pytest.raises(ValueError, match="one preset"):
        text(TABLES["11"], [])


def test_a_cell_that_was_not_collected_is_named(tmp_path):
    some = collect(synthetic.cells(TABLES["2"].cells[:3], tmp_path))
    assert "table2_cifar100_full_precision: missing: the cell was not" in text(TABLES["2"], some)


@pytest.mark.slow
def test_thousands_of_folders_are_one_report_with_every_damaged_one_named(tmp_path):
    seeds, hows = 200, list(synthetic.DAMAGES)
    cells = synthetic.cells(TABLES["2"].cells, tmp_path, seeds=seeds)
    wrong = []
    for place, cell in enumerate(cells):
        for run in cell.runs:
            kind = (run.seed + place) % 10
            if kind == 0:
                synthetic.damaged(run, hows[(run.seed // 10) % len(hows)])
                wrong.append(run)
            elif kind == 1:
                synthetic.running(run)
            elif kind == 2:
                synthetic.failed(run)
            elif kind == 3:
                synthetic.interrupted(run)
            else:
                synthetic.done(run, 80 + (run.seed % 7) / 10, epochs=5)
    assert len(cells) * seeds == 3000
    collected = collect(cells)
    (_, _, _, data, page) = write_table(TABLES["2"], collected, tmp_path / ".tables")
    content = json.loads(data.read_text())
    named = {
        run["folder"]
        for issue in content["not_in_the_table"]
        if issue["state"] == "damaged"
        for run in issue["runs"]
    }
    assert {name.rpartition("/")[2] for name in named} == {run.folder.path.name for run in wrong}
    assert len(wrong) == 300
    assert content["progress"] == "1,800 of 3,000 runs done"
    assert page.stat().st_size < 3_000_000


@pytest.mark.parametrize(
    ("numbers", "words"), [([], ""), ([3], "3"), ([0, 1, 2, 4], "0-2, 4"), ([2, 0, 4], "0, 2, 4")]
)
def test_seeds_in_short(numbers, words):
    assert ranges(numbers) == words


@pytest.fixture(scope="module")
def spoofed2(tmp_path_factory):
    """Runs of somebody else, whose files say what a terminal or a reader would obey."""
    evil = "\x1b]0;title\x07 \x9b31m \u202ekcab"

    def fill(cell):
        for run in cell.runs[:2]:
            env = synthetic.environment() | {"cpu": evil}
            synthetic.done(run, RUNS[run.seed], env=env, device=evil)
            metrics = run.folder.metrics.read_text().splitlines()
            lines = [f"{metrics[0]},{evil}", *(f"{line},0.5" for line in metrics[1:])]
            run.folder.metrics.write_text("\n".join(lines) + "\n", encoding="utf-8")
        synthetic.failed(cell.runs[2], evil)

    return written("2", tmp_path_factory.mktemp("spoofed"), fill=fill)


@pytest.mark.parametrize("form", ["md", "tex", "csv", "json", "html", "text"])
def test_no_control_character_of_a_runs_files_is_in_a_report(spoofed2, form):
    text = spoofed2[form]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)
    if form != "csv":  # which has figures alone
        escaped = {"tex": r"\textbackslash{}x1b", "md": r"\\x1b", "json": r"\x1b"}
        assert escaped.get(form, r"\x1b") in text
