"""Figure 4: histogram of the posterior after each task, with its average entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.curves import Band
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.figure5 import NAMES, line_style, number_of_tasks
from bnnrepro.report.statistics import summarise
from bnnrepro.runs import reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = ("figure5_prior", "figure5_no_prior")
Posterior = Mapping[str, Any]


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot a panel per task: the share of the weights by P(w = +1), on a logarithmic axis."""
    tasks = number_of_tasks(collected)
    posteriors = [_posteriors(results) for results in collected]
    with style.style():
        import matplotlib.pyplot as plt

        figure, grid = plt.subplots(
            1, tasks, figsize=(2.1 * tasks, 2.6), sharex=True, sharey=True, squeeze=False
        )
        rows = []
        for task, axes in enumerate(grid[0]):
            axes.set_title(f"after task {task + 1}")
            axes.set_xlabel("P(w = +1)")
            for index, (results, runs) in enumerate(zip(collected, posteriors, strict=True)):
                if runs:
                    rows += _panel(axes, results, runs, task, index)
        if rows:
            grid[0][0].set_yscale("log")
        grid[0][0].set_ylabel("share of the weights")
        return style.finish(figure, FIGURE.title, collected, rows, folder, "figure4")


def _posteriors(results: CellResults) -> list[Posterior]:
    """Return the content of the finished runs' ``posterior.json``, without damaged ones."""
    return [posterior for run in results.used if (posterior := _read(run)) is not None]


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
    axes: Axes, results: CellResults, posteriors: Sequence[Posterior], task: int, index: int
) -> list[dict[str, Any]]:
    """Plot a cell's histogram after a task with its entropy; return the rows of the CSV."""
    edges = np.array(posteriors[0]["edges"])
    counts = np.array([posterior["counts"][task] for posterior in posteriors], dtype=float)
    shares = counts / counts.sum(axis=1, keepdims=True)
    n = np.full(len(edges) - 1, len(posteriors))
    histogram = Band((edges[1:] + edges[:-1]) / 2, shares.mean(axis=0), shares.std(axis=0), n)
    line = line_style(results.cell.name)
    style.plot_band(axes, histogram, NAMES[results.cell.name], line)
    entropy = summarise([posterior["entropy_bits"][task] for posterior in posteriors])
    axes.text(
        0.5,
        0.92 - 0.09 * index,
        f"{entropy.mean:.3f} bits",
        transform=axes.transAxes,
        ha="center",
        fontsize=7.5,
        color=line["color"],
    )
    first = style.id_columns(results) | {"after_task": task + 1}
    spread = {"mean": entropy.mean, "population_std": entropy.population_std, "n": entropy.n}
    rows = [{**first, "column": "entropy_bits", "probability": None, **spread}]
    for x, mean, std in zip(histogram.x, histogram.mean, histogram.std, strict=True):
        values = {"mean": float(mean), "population_std": float(std), "n": len(posteriors)}
        rows.append({**first, "column": "share", "probability": round(float(x), 6), **values})
    return rows


FIGURE = Figure("4", "Posterior of the weights in continual learning", CELLS, plot)
