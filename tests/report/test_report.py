"""The report's forms: structure, what is missing, and never a shortened run taken for more."""

import csv
import io
import json
import re

import numpy as np
import pytest

from bnnrepro.report.collect import collect, ranges
from bnnrepro.report.render.document import terminal, write
from bnnrepro.report.table_report import document
from bnnrepro.report.tables import NOTES, tables

from . import synthetic

RUNS = [98.91, 98.78, 98.81, 98.90, 98.88]  # the authors' own
FORMS = ["table.md", "table.tex", "table.csv", "table.json", "table.html"]


def written(number, out, *, preset="paper", seeds=5, fill=None):
    """Make runs, by ``fill(cell)``, and read the report's files by their ends."""
    cells = synthetic.cells(tables()[number].sweep, out, preset=preset, seeds=seeds)
    for cell in cells:
        if fill:
            fill(cell)
    content = document(tables()[number], collect(cells))
    files = write(content, out / "reports" / number)
    assert [file.name for file in files] == FORMS
    forms = {file.suffix[1:]: file.read_text(encoding="utf-8") for file in files}
    forms["text"] = terminal(content)
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


ROWS = len({entry.row for entry in tables()["2"].entries})
"""Rows of table 2: one of each method, two of a method with a posterior."""


def rows_by_name(form):
    """The table's rows by the name of their first cell, a mark left out; the header as ''."""
    return {re.sub(r" \\\[\d\\\]$", "", row[0]): row[1:] for row in markdown_rows(form)}


def test_markdown_has_the_papers_shape(table2):
    rows = rows_by_name(table2["md"])
    data, parts = ("MNIST", "CIFAR-10"), ("paper", "ours", "verdict")
    assert rows[""] == [f"{name}: {part}" for name in data for part in parts]
    assert list(rows)[1:] == list(dict.fromkeys(entry.row for entry in tables()["2"].entries))
    mode = ["98.86 ± 0.05", "98.86 ± 0.06 (5)", "agrees"]
    assert rows["BayesBiNN (mode)"] == [*mode, "93.72 ± 0.16", "90.00 (1)", "—"]
    assert rows["PMF"][-2:] == ["no run done", "—"]


def test_what_the_table_has_no_place_for_stands_below(table2):
    for form in ("md", "html", "text", "tex"):
        plain = table2[form].replace("\\", "").replace("$pm$", "±")
        assert "MNIST, STE: 98.860 ± 0.119 (n = 4, sample std)" in plain
        assert "too few runs: n is 1: CIFAR-10, STE; CIFAR-10, Bop; " in plain
        assert "no column for CIFAR-100, of which no run is done" in plain
        assert "mean ± sample standard deviation (n - 1)" in plain
        assert "Paper: mean ± population std of 5 runs" in plain


def test_latex_is_balanced_and_escaped(table2):
    form = table2["tex"]
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert form.count(rule) == 1
    assert form.count("\\begin{") == form.count("\\end{") == 2
    columns = re.search(r"\\begin{tabular}{(l?r+)}", form)[1]
    body = form.split("\\toprule")[1].split("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if "&" in line]
    assert len(rows) == 1 + ROWS
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 == 6
        assert row.endswith(" \\\\")
    assert "±" not in form
    text = re.sub(r"%$|\$\\(pm|le|ge)\$", "", "\n".join(form.splitlines()[1:]), flags=re.M)
    outside = re.sub(r"\\[a-z]+|\\[&%$#_{}]|[{}&]", "", text)
    assert not set(outside) & set("#_%~^$")


def test_csv_and_json_say_the_same(table2):
    rows = list(csv.DictReader(io.StringIO(table2["csv"])))
    content = json.loads(table2["json"])
    assert len(rows) == len(content["rows"]) == len(tables()["2"].entries)
    for row, line in zip(rows, content["rows"], strict=True):
        assert set(row) == set(line)
        for key, value in row.items():
            number = isinstance(line[key], int | float)
            same = number and float(value) == line[key]
            assert same or value == ("" if line[key] is None else str(line[key]))
    first = next(row for row in content["rows"] if row["cell"] == "dataset=mnist method=bayesbinn")
    assert (first["paper_ddof"], first["paper_runs"], first["verdict"]) == (0, 5, "agrees")
    assert first["p_low"] <= first["p"] <= first["p_high"]
    assert (first["mean"], first["std"]) == (np.mean(RUNS), pytest.approx(np.std(RUNS, ddof=1)))
    assert first["interval_low"] < first["mean"] < first["interval_high"]
    name = "MNIST, BayesBiNN (mode)"
    values = {each["run"]: each["value"] for each in content["values"] if each["entry"] == name}
    assert list(values.values()) == RUNS
    folders = {run["run"]: run["folder"] for run in content["runs"]}
    assert all(folders[run].startswith("../../mnist/mlp/bayesbinn/") for run in values)


def test_what_is_missing_is_named_in_every_form_and_the_rest_stands(table2):
    content = json.loads(table2["json"])
    done = {row["cell"]: row["n"] for row in content["rows"]}
    planned = 5 * len(tables()["2"].cells)
    assert content["progress"] == f"{sum(done.values())} of {planned} runs done"
    states = {(issue["cell"], issue["state"]) for issue in content["not_in_the_table"]}
    assert ("dataset=cifar10 method=ste", "damaged") in states
    assert ("dataset=cifar10 method=ste", "failed") in states
    assert ("dataset=cifar100 method=bop", "missing") in states
    for form in ("md", "html", "text", "tex"):
        plain = table2[form].replace("\\", "")
        # cells with the same issue share a line
        words = "dataset=cifar10 method=pmf, .*dataset=cifar100 method=bop, .*seeds 0-4: missing"
        assert re.search(words, plain)
        assert "dataset=cifar10 method=ste, seed 1: damaged" in plain
    rows = csv.DictReader(io.StringIO(table2["csv"]))
    last = next(row for row in rows if (row["row"], row["column"]) == ("STE", "CIFAR-100"))
    assert (last["n"], last["expected"], last["mean"]) == ("0", "5", "")
    assert last["verdict"] == "too few runs: none is done"


def test_a_shortened_protocol_is_said_once_on_top_and_in_every_row_of_the_data(quick2):
    words = "(preset quick: not the paper's protocol)"
    warning = "Preset quick: a shortened protocol, not the paper's."
    assert words in quick2["md"].splitlines()[0].replace("\\", "")
    for form in ("md", "text", "html", "tex"):
        plain = quick2[form].replace("&#39;", "'").replace("\\", "")
        assert words in plain
        assert warning in plain
    assert rows_by_name(quick2["md"])["STE"] == ["98.86 ± 0.06 (5)", "90.00 (1)"]
    for row in csv.DictReader(io.StringIO(quick2["csv"])):
        assert (row["preset"], row["protocol"]) == ("quick", "not the paper's protocol")


def test_a_shortened_protocol_is_compared_with_nothing(quick2):
    content = json.loads(quick2["json"])
    assert content["compared_with_paper"] is False
    assert not any(key.startswith(("paper", "earlier", "verdict")) for key in content["rows"][0])
    for form in ("md", "tex", "html", "text", "csv"):
        for word in ("98.86 ± 0.05 |", "agrees", "differs", "Verdict", "Earlier reproduction"):
            assert word not in quick2[form]


def test_data_that_stand_in_are_named_and_not_compared(tmp_path):
    forms = written("2", tmp_path, preset="smoke", seeds=3, fill=authors)
    for row in csv.DictReader(io.StringIO(forms["csv"])):
        assert row["stands_for"] == row["cell"].split()[0].removeprefix("dataset=")
    assert "digits stand in for mnist; digits stand in for cifar10" in forms["md"]
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
    lines = json.loads(forms["json"])["rows"]
    assert [line["cell"] for line in lines][::2] == [None, None]
    assert [line["n"] for line in lines] == [0, 3, 0, 3]
    assert rows_by_name(forms["md"])["LR-net"] == ["99.47", "—", "—", "93.18", "—", "—"]
    assert {line["selection"] for line in lines} == {"final"}
    assert json.loads(forms["json"])["not_in_the_table"] == []


def test_table_10_shows_train_validation_and_test(tmp_path):
    forms = written("10", tmp_path, seeds=2, fill=lambda cell: synthetic.done(cell.runs[0], 95.0))
    rows = [row for row in markdown_rows(forms["md"]) if not row[0].startswith("-")]
    assert len(rows) == 3 * (1 + ROWS)
    assert rows[0][1::3] == ["train: paper", "validation: paper", "test: paper"]
    assert rows[1][2::3] == ["96.00 (1)", "95.00 (1)", "95.00 (1)"]
    assert re.findall("## (.*)", forms["md"])[:3] == ["MNIST", "CIFAR-10", "CIFAR-100"]


def test_the_values_of_a_search_are_rows(tmp_path):
    forms = written("6", tmp_path, seeds=2, fill=authors)
    names = [row[0].removesuffix(r" \[1\]") for row in markdown_rows(forms["md"])[1:]]
    assert names == ["1e-1", "3e-3", "1e-3", "3e-4", "1e-4", "3e-5", "1e-5", "1e-6"]


def test_without_a_run_there_is_no_column(tmp_path):
    forms = written("2", tmp_path, seeds=2)
    assert markdown_rows(forms["md"]) == []
    assert "no column for MNIST, CIFAR-10, CIFAR-100, of which no run is done" in forms["text"]
    assert len(list(csv.DictReader(io.StringIO(forms["csv"])))) == 3 * ROWS


def test_a_page_has_the_curves_of_every_data_set_with_runs(table2):
    for words in ("MNIST: test_accuracy by epoch", "CIFAR-10: flipped by epoch"):
        assert table2["html"].count(f'aria-label="{words}"') == 1
    assert "MNIST: runs, mean, 95 % interval" in table2["html"]
    assert "CIFAR-100: test_accuracy" not in table2["html"]
    assert "MNIST, bayesbinn: flipped " in table2["md"].replace("\\", "")


def test_a_cell_without_a_finished_run_has_the_curves_of_its_unfinished_ones(tmp_path):
    def cut_short(cell):
        synthetic.interrupted(cell.runs[0])

    assert "bayesbinn, unfinished" in written("11", tmp_path, seeds=1, fill=cut_short)["md"]


def test_code_that_differs_between_cells_is_said(tmp_path):
    def two(cell):
        code = "beef" if cell.method == "bop" else "cafe"
        synthetic.done(cell.runs[0], 90.0, env=synthetic.environment(code, dirty=True))

    forms = written("2", tmp_path, seeds=1, fill=two)
    assert "made by 2 codes" in forms["md"]
    assert "uncommitted changes" in forms["md"]


@pytest.mark.slow
def test_the_report_is_the_same_bytes_again(tmp_path):
    cells = synthetic.cells("table2", tmp_path, seeds=2)
    for cell in cells:
        synthetic.done(cell.runs[0], 95.0)
    folders = [tmp_path / "reports" / name for name in ("a", "b")]
    first, second = (write(document(tables()["2"], collect(cells)), folder) for folder in folders)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_table_of_two_presets_or_of_none_is_refused(tmp_path):
    mixed = [
        synthetic.cells("table11", tmp_path, preset="paper")[0],
        synthetic.cells("table11", tmp_path, preset="quick")[1],
    ]
    with pytest.raises(ValueError, match="one preset"):
        document(tables()["11"], collect(mixed))
    with pytest.raises(ValueError, match="one preset"):
        document(tables()["11"], [])


def test_a_cell_that_was_not_collected_is_named(tmp_path):
    some = collect(synthetic.cells("table2", tmp_path)[:3])
    text = terminal(document(tables()["2"], some))
    assert re.search("dataset=cifar100 method=full_precision.*: missing: the cell was not", text)


@pytest.mark.slow
def test_thousands_of_folders_are_one_report_with_every_damaged_one_named(tmp_path):
    seeds, hows = 200, list(synthetic.DAMAGES)
    cells = synthetic.cells("table2", tmp_path, seeds=seeds)
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
    (_, _, _, data, page) = write(document(tables()["2"], collected), tmp_path / "reports")
    content = json.loads(data.read_text())
    named = {
        run
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
