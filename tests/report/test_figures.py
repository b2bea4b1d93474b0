"""Figures are plotted from run folders alone, and their data are saved beside them."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bnnrepro.report.charts import bands
from bnnrepro.report.collect import collect
from bnnrepro.report.figures import FIGURES
from bnnrepro.report.tables import tables
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.runs.results import read_columns

from . import synthetic

OWN = ("6", "table6", "table7", "flips", "entropy", "time")  # of the tables' cells


def cells_of(figure, out, preset="paper"):
    """The cells that a figure shows, of two runs each."""
    return [
        cell
        for cell in synthetic.cells(figure.sweep, out, preset=preset, seeds=2)
        if all(cell.choices[key] in values for key, values in figure.where.items())
    ]


def drawn(name, out, *, preset="paper", fill=True):
    figure = FIGURES[name]
    cells = cells_of(figure, out, preset)
    if fill:
        for cell in cells:
            for run in cell.runs:
                if not run.folder.result.exists():
                    synthetic.done(run, 90.0 + run.seed, epochs=12)
    collected = collect(cells)
    png, pdf, data = figure.plot(collected, out / "figures")
    with Image.open(png) as picture:
        assert min(picture.size) > 300
        assert len(set(picture.convert("L").resize((60, 40)).tobytes())) > 5
    assert pdf.read_bytes().startswith(b"%PDF")
    with data.open() as handle:
        return collected, list(csv.DictReader(handle))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "quick"])
@pytest.mark.parametrize("name", OWN)
def test_every_figure_is_drawn_with_its_data(name, preset, tmp_path):
    collected, rows = drawn(name, tmp_path, preset=preset)
    assert {row["cell"] for row in rows} == {results.cell.name for results in collected}
    assert {row["preset"] for row in rows} == {preset}
    assert all(row["n"] == "2" for row in rows)
    quoted = [key for key in rows[0] if key.startswith("paper")]
    assert bool(quoted) == (preset == "paper" and name in ("table6", "table7"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OWN, "5", "segmentation"])
def test_a_figure_without_runs_is_drawn_all_the_same(name, tmp_path):
    _, rows = drawn(name, tmp_path, fill=False)
    assert all(row["n"] == "0" for row in rows)


def test_a_figures_data_are_the_mean_and_spread_over_seeds(tmp_path):
    collected, rows = drawn("6", tmp_path)
    cell = collected[0]
    runs = [read_metrics(run.expected.folder.metrics) for run in cell.used]
    for epoch in range(12):
        values = [run[epoch]["validation_accuracy"] for run in runs]
        (row,) = [
            row
            for row in rows
            if (row["cell"], row["column"], row["epoch"])
            == (cell.cell.name, "validation_accuracy", str(epoch + 1))
        ]
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))


def test_columns_read_fast_are_the_stores(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,test_accuracy,flipped\n1,90.5,\n2,nan,1e-3\n3,91.25,inf\n")
    slow, fast = read_metrics(file), read_columns(file)
    for name, column in fast.items():
        expected = [np.nan if row[name] is None else row[name] for row in slow]
        assert np.array_equal(column, expected, equal_nan=True)
    curve = bands(pd.DataFrame(fast).assign(cell="a"), "test_accuracy", ["cell"])
    assert curve["epoch"].tolist() == [1, 3]
    for text in ("", "epoch\n", "epoch,a\n1\n", "epoch,a\n1,x\n", "a,b\n1,2\n"):
        file.write_text(text)
        assert read_columns(file) is None


def test_matplotlib_and_torch_are_imported_by_drawing_alone():
    code = """
import sys
import bnnrepro.report.figures, bnnrepro.report.collect, bnnrepro.report.render
print(sorted({"torch", "matplotlib", "scipy", "jinja2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_figures_are_named_and_use_the_tables_sweeps():
    assert {"2", "3", "4", "5", "uncertainty", *OWN} <= set(FIGURES)
    sweeps = {table.sweep for table in tables().values()}
    assert {FIGURES[name].sweep for name in OWN} <= sweeps


def test_the_pages_figure_of_ones_own_is_drawn(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    cells = cells_of(names["FIGURE"], tmp_path)
    for cell in cells:
        synthetic.done(cell.runs[0], 90.0)
    files = names["FIGURE"].plot(collect(cells), tmp_path / "figures")
    assert [file.name for file in files] == ["loss.png", "loss.pdf", "loss.csv"]
    assert len(files[2].read_text().splitlines()) == 1 + 2 * 10
