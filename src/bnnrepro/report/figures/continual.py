"""Figures 4 and 5: continual learning of permuted images, with a fixed or a moving prior.

Figure 4 is the posterior's histogram after each task with its average entropy, from the runs'
``posterior.json``; figure 5 the accuracy on every task while they are learnt in sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnnrepro.errors import UserError
from bnnrepro.report import charts
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import (
    IDS,
    column_bands,
    curves,
    evaluations,
    finish,
    identity,
    need_runs,
    remarks,
)
from bnnrepro.report.style import STD, axis_label, looks, style
from bnnrepro.runs import reading
from bnnrepro.runs.layout import POSTERIOR

NAMES = {
    "figure5_prior": "BayesBiNN, prior: last posterior",
    "figure5_no_prior": "BayesBiNN, prior: fixed",
    "figure5_ste": "STE",
}
AVERAGE = "average"
FINAL_METRICS = ("accuracy", "forgetting", "backward_transfer", "nll", "ece")


@style()
def plot_posterior(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot a panel per task: the share of the weights by P(w = +1), on a logarithmic axis."""
    by, x = [*IDS, "after_task", "column"], "probability"
    need_runs(collected)
    rows = [row for results in collected for row in _histograms(results)]
    if not rows:
        raise UserError("figure", "4", f"no run has a valid {POSTERIOR}")
    runs = pd.DataFrame(rows, columns=[*by, x, "value"])
    shares = charts.bands(runs, "value", by, x)
    entropy = charts.bands(runs[runs[x].isna()], "value", by[:-1], "column")
    tasks = range(1, _tasks(collected) + 1)
    tables = {f"after task {task}": shares[shares["after_task"] == task] for task in tasks}
    styles = _looks(collected)
    figure, (row,) = charts.panels(tables, "cell", styles, x, log=True, shared=True)
    for task, axes in zip(tasks, row, strict=True):
        after = entropy[entropy["after_task"] == task].set_index("cell")["mean"]
        for place, (cell, bits) in enumerate(after.items()):
            where, colour = (0.5, 0.92 - 0.09 * place), styles[str(cell)]["color"]
            axes.text(*where, f"{bits:.3f} bits", ha="center", transform=axes.transAxes, c=colour)
        axes.set_xlabel("P(w = +1)")
    row[0].set(ylabel="share of the weights", ylim=(None, 3 * row[0].get_ylim()[1]))  # for the bits
    table = pd.concat([entropy, shares])[[*by, x, "mean", "std", "n"]]
    used = [run for results in collected for run in results.used]
    texts = remarks(collected)
    if unread := sum(_read(run) is None for run in used):
        texts.append(f"{unread} of {len(used)} runs without a valid {POSTERIOR}")
    return finish(figure, POSTERIORS.title, texts, table, folder, "figure4")


def _histograms(results: CellResults) -> list[dict[str, Any]]:
    """Return the finished runs' ``posterior.json`` as rows; damaged ones are left out.

    A bin's ``value`` is its share of the weights; a row without ``probability`` has the entropy.
    """
    rows = []
    for posterior in filter(None, map(_read, results.used)):
        edges = np.array(posterior["edges"])
        centres = ((edges[1:] + edges[:-1]) / 2).round(6).tolist()
        counted = zip(posterior["counts"], posterior["entropy_bits"], strict=True)
        for task, (counts, bits) in enumerate(counted, 1):
            first = identity(results) | {"after_task": task}
            rows.append({**first, "column": "entropy_bits", "value": bits})
            shares = np.array(counts, dtype=float) / np.sum(counts, dtype=float)
            rows += [
                {**first, "column": "share", "probability": probability, "value": share}
                for probability, share in zip(centres, shares, strict=True)
            ]
    return rows


def _read(run: CollectedRun) -> Mapping[str, Any] | None:
    tasks = run.expected.config.dataset.number_of_tasks()
    try:
        content: Mapping[str, Any] = reading.parsed(run.expected.folder.path / POSTERIOR)
        edges, bits, counts = (
            np.array(content[key], dtype=float) for key in ("edges", "entropy_bits", "counts")
        )
        whole = counts.shape == (tasks, len(edges) - 1) and bits.shape == (tasks,)
        whole = whole and all(np.isfinite(each).all() for each in (edges, bits, counts))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if whole else None


@style()
def plot_accuracy(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot a panel per task, and one of the average over the tasks seen so far.

    The CSV has the curves, and the last epoch's figures of ``result.json``; only these have a
    ``prediction``.
    """
    titles = {f"task_{task}": f"task {task}" for task in range(1, _tasks(collected) + 1)}
    titles[AVERAGE] = "average over tasks seen"
    table = column_bands(with_average(curves(collected)), *titles)
    tables = {title: table[table["column"] == name] for name, title in titles.items()}
    figure, grid = charts.panels(tables, "cell", _looks(collected), rows=2, shared=True)
    for row in grid:
        row[0].set_ylabel(axis_label("test_accuracy"))
    data = pd.concat([part for part in (table, _finals(collected)) if len(part)] or [table])
    return finish(figure, CURVES.title, remarks(collected), data, folder, "figure5")


def with_average(runs: pd.DataFrame) -> pd.DataFrame:
    """Return curves with the accuracy averaged over the tasks seen at each epoch."""
    seen = [name for name in runs if str(name).startswith("task_")]
    return runs.assign(**{AVERAGE: runs[seen].mean(axis=1)})


def _finals(collected: Sequence[CellResults]) -> pd.DataFrame:
    """Return the last epoch's figures of the finished runs, over seeds, as rows of the CSV."""
    by = [*IDS, "column", "prediction"]
    rows = [
        {**first, "column": name, "epoch": final["epoch"], "value": value}
        for first, final in evaluations(collected, "final")
        for name, value in final["test"][first["prediction"]].items()
        if name in FINAL_METRICS
    ]
    return charts.bands(pd.DataFrame(rows, columns=[*by, "epoch", "value"]), "value", by)


def _tasks(collected: Sequence[CellResults]) -> int:
    return collected[0].cell.runs[0].config.dataset.number_of_tasks()


def _looks(collected: Sequence[CellResults]) -> dict[str, dict[str, Any]]:
    """Return the label, colour and dashes of each cell, by its name."""
    styles = looks(NAMES)
    return {each.cell.name: styles[each.cell.choices["experiment"]] for each in collected}


POSTERIORS = Figure(
    "4",
    f"Posterior of the weights in continual learning: mean and {STD}",
    "figure5",
    plot_posterior,
    {"experiment": ("figure5_prior", "figure5_no_prior")},
)
CURVES = Figure(
    "5", f"Continual learning of permuted images: mean and {STD}", "figure5", plot_accuracy
)
