"""Figure 4: the posterior's histogram after each task, with its average entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import Collected, CollectedRun
from bnnrepro.report.curves import Band
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.figure5 import NAMES, look, number_of_tasks
from bnnrepro.report.statistics import summary
from bnnrepro.runs import reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = ("figure5_prior", "figure5_no_prior")
Posterior = Mapping[str, Any]


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw a panel a task: the share of the weights by P(w = +1), on a logarithmic axis."""
    tasks = number_of_tasks(collected)
    posteriors = {cell.cell.name: _posteriors(cell) for cell in collected}
    with style.style():
        import matplotlib.pyplot as plt

        figure, grid = plt.subplots(
            1, tasks, figsize=(2.1 * tasks, 2.6), sharex=True, sharey=True, squeeze=False
        )
        rows = []
        for task, axes in enumerate(grid[0]):
            axes.set_title(f"after task {task + 1}")
            axes.set_xlabel("P(w = +1)")
            for number, cell in enumerate(collected):
                if found := posteriors[cell.cell.name]:
                    rows += _panel(axes, cell, found, task, number)
        if rows:
            grid[0][0].set_yscale("log")
        grid[0][0].set_ylabel("share of the weights")
        figure.suptitle(style.heading(FIGURE.title, collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "figure4")


def _posteriors(cell: Collected) -> list[Posterior]:
    """Return what the finished runs' ``posterior.json`` hold; a damaged one is left out."""
    return [found for run in cell.used if (found := _read(run)) is not None]


def _read(run: CollectedRun) -> Posterior | None:
    tasks = run.expected.config.dataset.tasks_in_a_row()
    try:
        content: Posterior = reading.parsed(run.expected.folder.path / "posterior.json")
        bins = len(content["edges"]) - 1
        counts = np.array(content["counts"], dtype=float)
        whole = counts.shape == (tasks, bins) and len(content["entropy_bits"]) == tasks
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if whole else None


def _panel(
    axes: Axes, cell: Collected, found: Sequence[Posterior], task: int, number: int
) -> list[dict[str, Any]]:
    """Draw a cell's histogram after a task and write its entropy; return the rows of the CSV."""
    edges = np.array(found[0]["edges"])
    counts = np.array([each["counts"][task] for each in found], dtype=float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    n = np.full(len(edges) - 1, len(found))
    histogram = Band((edges[1:] + edges[:-1]) / 2, shares.mean(axis=0), shares.std(axis=0), n)
    style.draw_band(axes, histogram, NAMES[cell.cell.name], look(cell.cell.name))
    entropy = summary([each["entropy_bits"][task] for each in found])
    axes.text(
        0.5,
        0.92 - 0.09 * number,
        f"{entropy.mean:.3f} bits",
        transform=axes.transAxes,
        ha="center",
        fontsize=7.5,
        color=look(cell.cell.name)["color"],
    )
    about = style.about(cell) | {"after_task": task + 1}
    spread = {"mean": entropy.mean, "population_std": entropy.population_std, "n": entropy.n}
    rows = [{**about, "column": "entropy_bits", "probability": None, **spread}]
    for x, mean, std in zip(*(histogram.x, histogram.mean, histogram.std), strict=True):
        values = {"mean": float(mean), "population_std": float(std), "n": len(found)}
        rows.append({**about, "column": "share", "probability": round(float(x), 6), **values})
    return rows


FIGURE = Figure("4", "Posterior of the weights in continual learning", CELLS, draw)
