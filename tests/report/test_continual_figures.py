"""Figures 4 and 5 from the folders that continual runs leave."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment import Result
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.cells import cells as planned
from bnnrepro.report.collect import CellResults, collect
from bnnrepro.report.figures import FIGURES
from bnnrepro.report.figures.continual import with_average
from bnnrepro.runs.metrics import read_metrics

SMALL = (
    "dataset=permuted_digits",
    "dataset.tasks=2",
    "model.hidden=[16]",
    "method.init=1",
    "method.lr=0.05",
    "evaluate.samples=2",
    "preset=smoke",
    "device=cpu",
    "threads=1",
    "checkpoint_seconds=0",
)
CHOICES = {
    "figure5_prior": "dataset.prior=posterior",
    "figure5_no_prior": "dataset.prior=fixed",
}


@pytest.fixture
def collected(run_small: Callable[..., Result]) -> list[CellResults]:
    """Two seeds of each cell of BayesBiNN, in miniature, read from their folders."""
    cells = []
    for name, choice in CHOICES.items():
        config = compose(*SMALL, choice)
        runs = []
        for seed in (0, 1):
            run = run_small(*SMALL, choice, f"seed={seed}")
            runs.append(Expected(seed, run.folder, replace(config, seed=seed)))
        parts = (config.dataset.name, config.model.name, config.method.name)
        cells.append(Cell("figure5", {"experiment": name}, "smoke", *parts, tuple(runs)))
    return collect(cells)


def drawn(name: str, collected: list[CellResults], folder: Path) -> list[dict[str, str]]:
    png, pdf, data = FIGURES[name].plot(collected, folder)
    assert png.stat().st_size > 10_000
    assert pdf.read_bytes().startswith(b"%PDF")
    with data.open() as handle:
        return list(csv.DictReader(handle))


def only(rows: list[dict[str, str]], **values: str) -> dict[str, str]:
    (match,) = (row for row in rows if values.items() <= row.items())
    return match


def test_the_average_is_over_the_tasks_seen() -> None:
    nan = np.nan
    curves = pd.DataFrame({"epoch": [1, 2], "task_1": [80.0, 60], "task_2": [nan, 90]})
    assert with_average(curves)["average"].tolist() == [80, 75]
    assert with_average(curves[["epoch"]])["average"].isna().all()


def test_figure_5_is_what_rows_and_results_say(
    collected: list[CellResults], tmp_path: Path
) -> None:
    rows = drawn("5", collected, tmp_path)
    for cell in collected:
        name = cell.cell.name
        tables = [read_metrics(run.expected.folder.metrics) for run in cell.used]
        for epoch, columns in ((1, ("task_1",)), (2, ("task_1", "task_2"))):
            for column in columns:
                values = [table[epoch - 1][column] for table in tables]
                row = only(rows, cell=name, column=column, epoch=str(epoch), prediction="")
                assert float(row["mean"]) == pytest.approx(np.mean(values))
                assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))
        tests = [run.result["final"]["test"] for run in cell.used]
        for prediction in ("mode", "mean"):
            values = [test[prediction]["forgetting"] for test in tests]
            row = only(rows, cell=name, column="forgetting", prediction=prediction)
            assert float(row["mean"]) == pytest.approx(np.mean(values))
    assert {row["n"] for row in rows} == {"2"}
    assert {row["preset"] for row in rows} == {"smoke"}


def test_figure_4_is_what_the_posteriors_say(collected: list[CellResults], tmp_path: Path) -> None:
    rows = drawn("4", collected, tmp_path)
    for cell in collected:
        files = [run.expected.folder.path / "posterior.json" for run in cell.used]
        entropies = [json.loads(file.read_text())["entropy_bits"] for file in files]
        for task in (0, 1):
            place = {"cell": cell.cell.name, "after_task": str(task + 1)}
            row = only(rows, **place, column="entropy_bits")
            assert float(row["mean"]) == pytest.approx(
                np.mean([entropy[task] for entropy in entropies])
            )
            shares = [
                float(row["mean"])
                for row in rows
                if row["column"] == "share" and place.items() <= row.items()
            ]
            assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("content", ["", "[]", '{"edges": [0, 1], "counts": [[1]]}'])
def test_a_damaged_posterior_is_left_out(
    collected: list[CellResults], tmp_path: Path, content: str
) -> None:
    run = collected[0].used[0]
    (run.expected.folder.path / "posterior.json").write_text(content)
    rows = drawn("4", collected, tmp_path)
    assert {row["n"] for row in rows if row["cell"] == "experiment=figure5_prior"} == {"1"}
    assert {row["n"] for row in rows if row["cell"] == "experiment=figure5_no_prior"} == {"2"}


def test_figure_4_without_a_posterior_is_refused(
    collected: list[CellResults], tmp_path: Path
) -> None:
    for cell in collected:
        for run in cell.used:
            (run.expected.folder.path / "posterior.json").unlink()
    with pytest.raises(UserError, match="no run has a valid posterior"):
        FIGURES["4"].plot(collected, tmp_path)
    with pytest.raises(UserError, match="no run of these is finished"):
        FIGURES["4"].plot([replace(cell, runs=()) for cell in collected], tmp_path)


def test_the_cells_are_known_without_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNNREPRO_DATA", str(tmp_path / "nowhere"))
    planned_cells = planned(FIGURES["5"].sweep, preset="quick", seeds=3, out=str(tmp_path))
    folders = [run.folder.path for cell in planned_cells for run in cell.runs]
    assert len(set(folders)) == 9
    assert {run.config.effective_epochs for cell in planned_cells for run in cell.runs} == {50}
