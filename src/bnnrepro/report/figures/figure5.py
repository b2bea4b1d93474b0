"""Figure 5: accuracy on every task while five tasks are learnt one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import Columns, band
from bnnrepro.report.figures import Figure
from bnnrepro.report.statistics import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "figure5_prior": "BayesBiNN, prior: last posterior",
    "figure5_no_prior": "BayesBiNN, prior: fixed",
    "figure5_ste": "STE",
}
AVERAGE = "average"
AT_THE_END = ("accuracy", "forgetting", "backward_transfer", "nll", "ece")


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw a panel a task, and one of the average over the tasks seen so far.

    The CSV has the curves, and for the last epoch the figures of ``result.json``, which have a
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
        for cell in collected:
            runs = [with_average(columns) for columns in style.columns_of(cell)]
            for axes, name in zip(grid.flat, panels, strict=False):
                rows += _curve(axes, cell, runs, name)
            rows += at_the_end(cell)
        for axes, name in zip(grid.flat, panels, strict=False):
            axes.set_title("average over tasks seen" if name == AVERAGE else name.replace("_", " "))
        for axes in grid[:, 0]:
            axes.set_ylabel(style.named("test", "accuracy"))
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        figure.suptitle(style.heading(FIGURE.title, collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "figure5")


def _curve(axes: Axes, cell: Collected, runs: Sequence[Columns], name: str) -> list[dict[str, Any]]:
    """Draw a cell's band into a panel; return its rows of the CSV."""
    found = band(runs, name)
    if found is None:
        return []
    style.draw_band(axes, found, NAMES[cell.cell.name], look(cell.cell.name))
    return style.band_rows(found, style.about(cell) | {"column": name})


def look(cell: str) -> dict[str, Any]:
    """Return colour and dashes of a cell."""
    return style.look(cell, list(NAMES))


def number_of_tasks(collected: Sequence[Collected]) -> int:
    """Return how many tasks the cells' runs have."""
    return collected[0].cell.runs[0].config.dataset.tasks_in_a_row()


def with_average(columns: Columns) -> Columns:
    """Return a run's columns with the accuracy averaged over the tasks seen at each epoch."""
    seen = [column for name, column in columns.items() if name.startswith("task_")]
    return {**columns, AVERAGE: np.nanmean(seen, axis=0)} if seen else columns


def at_the_end(cell: Collected) -> list[dict[str, Any]]:
    """Return the figures of the finished runs' results as rows of the CSV."""
    rows = []
    for prediction, column in product(("mode", "mean"), AT_THE_END):
        finals = [run.evaluation(prediction).get("final", {}) for run in cell.used]
        tests = [final.get("test", {}).get(prediction, {}) for final in finals]
        values = [test[column] for test in tests if column in test]
        if values:
            found = summary(values)
            rows.append(
                {
                    **style.about(cell),
                    "column": column,
                    "epoch": cell.used[0].result["final"]["epoch"],
                    "mean": found.mean,
                    "population_std": found.population_std,
                    "n": found.n,
                    "prediction": prediction,
                }
            )
    return rows


FIGURE = Figure("5", "Continual learning of permuted images", tuple(NAMES), draw)
