"""Figure 5: accuracy on every task while five tasks are learnt in sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.curves import Columns, band
from bnnrepro.report.figures import Figure
from bnnrepro.report.statistics import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "figure5_prior": "BayesBiNN, prior: last posterior",
    "figure5_no_prior": "BayesBiNN, prior: fixed",
    "figure5_ste": "STE",
}
AVERAGE = "average"
FINAL_METRICS = ("accuracy", "forgetting", "backward_transfer", "nll", "ece")


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot a panel per task, and one of the average over the tasks seen so far.

    The CSV has the curves, and the last epoch's figures of ``result.json``; only these have a
    ``prediction``.
    """
    tasks = number_of_tasks(collected)
    panels = [*(f"task_{task}" for task in range(1, tasks + 1)), AVERAGE]
    wide = math.ceil(len(panels) / 2)
    with style.style():
        import matplotlib.pyplot as plt

        figure, grid = plt.subplots(
            2, wide, figsize=(2.4 * wide, 4.2), sharex=True, sharey=True, squeeze=False
        )
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        rows = []
        for results in collected:
            runs = [with_average(columns) for columns in style.columns_of(results)]
            for axes, name in zip(grid.flat, panels, strict=False):
                rows += _curve(axes, results, runs, name)
            rows += final_rows(results)
        for axes, name in zip(grid.flat, panels, strict=False):
            axes.set_title("average over tasks seen" if name == AVERAGE else name.replace("_", " "))
        for axes in grid[:, 0]:
            axes.set_ylabel(style.axis_label("test", "accuracy"))
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        return style.finish(figure, FIGURE.title, collected, rows, folder, "figure5")


def _curve(
    axes: Axes, results: CellResults, runs: Sequence[Columns], name: str
) -> list[dict[str, Any]]:
    """Plot a cell's band in a panel; return its rows of the CSV."""
    curve = band(runs, name)
    if curve is None:
        return []
    style.plot_band(axes, curve, NAMES[results.cell.name], line_style(results.cell.name))
    return style.band_rows(curve, style.id_columns(results) | {"column": name})


def line_style(cell: str) -> dict[str, Any]:
    """Return colour and dashes of a cell."""
    return style.line_style(cell, list(NAMES))


def number_of_tasks(collected: Sequence[CellResults]) -> int:
    """Return the number of tasks in the cells' runs."""
    return collected[0].cell.runs[0].config.dataset.tasks_in_a_row()


def with_average(columns: Columns) -> Columns:
    """Return a run's columns with the accuracy averaged over the tasks seen at each epoch."""
    seen = [column for name, column in columns.items() if name.startswith("task_")]
    return {**columns, AVERAGE: np.nanmean(seen, axis=0)} if seen else columns


def final_rows(results: CellResults) -> list[dict[str, Any]]:
    """Return the last epoch's figures of the finished runs as rows of the CSV."""
    rows = []
    for prediction, column in product(("mode", "mean"), FINAL_METRICS):
        finals = [run.evaluation(prediction).get("final", {}) for run in results.used]
        tests = [final.get("test", {}).get(prediction, {}) for final in finals]
        values = [test[column] for test in tests if column in test]
        if values:
            stats = summarise(values)
            rows.append(
                {
                    **style.id_columns(results),
                    "column": column,
                    "epoch": results.used[0].result["final"]["epoch"],
                    "mean": stats.mean,
                    "population_std": stats.population_std,
                    "n": stats.n,
                    "prediction": prediction,
                }
            )
    return rows


FIGURE = Figure("5", "Continual learning of permuted images", tuple(NAMES), plot)
