"""Segmentation figure: each method's metrics, those of the best constant prediction, and pictures.

``result.json`` of a run has the metrics of its network and of constant predictions;
``pictures/`` the test images with label, prediction and errors side by side. Only the IoU of cells
is published, with labels that are shifted against their pixels: shown, not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnnrepro.data.decoding import decode, on_white, read_all
from bnnrepro.report import charts
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import (
    IDS,
    evaluations,
    identity,
    other_settings,
    over_seeds,
    remarks,
)
from bnnrepro.report.published import published
from bnnrepro.report.style import INK, looks, method_label, style
from bnnrepro.runs.layout import PICTURES

METRICS = ("balanced_accuracy", "iou_membrane", "iou_cell", "mean_iou", "accuracy", "nll")
BARS = {
    "balanced_accuracy": "balanced accuracy (%)",
    "iou_membrane": "IoU of membranes",
    "iou_cell": "IoU of cells",
}
CORNER = 192  # side of the shown part of a picture, in pixels


@style()
def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot bars of three metrics, and a corner of the first test image with each prediction."""
    from matplotlib import figure as mpl

    runs = values(collected)
    table = _table(collected, runs)
    figure: Any = mpl.Figure(figsize=(7.2, 4.6))
    above, below = figure.subfigures(2, 1)
    for axes, (metric, title) in zip(above.subplots(1, len(BARS)), BARS.items(), strict=True):
        _bars(axes, *(part[part["metric"] == metric] for part in (table, runs)))
        axes.set(title=title, ylim=(0, 100 if metric == "balanced_accuracy" else 1))
    _example(below, collected)
    figure.suptitle("\n".join([FIGURE.title, *remarks(collected), *other_settings(collected)]))
    return charts.save(figure, folder, "segmentation", table)


def values(collected: Sequence[CellResults]) -> pd.DataFrame:
    """Return the test metrics of the finished runs, a row each, at the best epoch if there is one.

    ``prediction`` is ``mode``, ``mean`` or ``constant``.
    """
    rows = []
    for first, moment in evaluations(collected, "best", "final"):
        kinds = {first["prediction"]: moment["test"][first["prediction"]]}
        if first["prediction"] == "mode":
            kinds["constant"] = moment["constant"]
        rows += [
            {**first, "prediction": kind, "metric": metric, "value": figures[metric]}
            for kind, figures in kinds.items()
            for metric in METRICS
            if metric in figures
        ]
    return pd.DataFrame(rows, columns=[*IDS, "seed", "prediction", "metric", "value"])


def _table(collected: Sequence[CellResults], runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell, prediction and metric; of a cell without runs, the mode's."""
    rows = [
        identity(results)
        | {"prediction": prediction, "metric": metric}
        | {
            f"reproduction_{selection}": published_iou(results, selection)
            if (prediction, metric) == ("mode", "iou_cell")
            else None
            for selection in ("final", "best")
        }
        for results, prediction, metric in product(collected, ("mode", "mean"), METRICS)
        if prediction == "mode" or results.used
    ]
    constant = runs[runs["prediction"] == "constant"].drop_duplicates(["cell", "metric"])
    constant = constant.rename(columns={"value": "best_constant"})
    table = over_seeds(pd.DataFrame(rows), runs, "metric")
    table = table.merge(constant[["cell", "metric", "best_constant"]], how="left")
    return table[(table["n"] > 0) | (table["prediction"] == "mode")]


def published_iou(results: CellResults, selection: str) -> float | None:
    """Return the IoU of cells of the earlier reproduction, at the ``final`` or ``best`` epoch.

    None for a shortened protocol, and where other data stand in.
    """
    if results.cell.preset != "paper" or results.stands_for:
        return None
    method = results.cell.method
    key = "bayesbinn_mode" if method == "bayesbinn" else method
    group = f"reproduction_segmentation_{selection}"
    figure = published().find(group, results.cell.dataset, key, "test")
    return None if figure is None else round(figure.mean / 100, 4)


def _bars(axes: Any, table: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Plot a metric at the mode: a bar a method, its runs, the constant and published values."""
    table, runs = (part[part["prediction"] == "mode"] for part in (table, runs))
    place = dict(zip(table["cell"], range(len(table)), strict=True))
    colours = [looks()[method]["color"] for method in table["method"]]
    axes.bar(table["cell"].map(place), table["mean"], width=0.65, color=colours)
    axes.plot(runs["cell"].map(place), runs["value"], ".", color=INK, markersize=4)
    theirs = table["reproduction_final"].astype(float)
    if theirs.notna().any():
        look = {"color": "white", "mec": INK, "ms": 5, "linestyle": ""}
        name = "earlier reproduction, other labels"
        axes.plot(table["cell"].map(place), theirs, "D", label=name, **look)
    for constant in table["best_constant"].dropna()[:1]:
        axes.axhline(constant, color=INK, linestyle="--", label="best constant")
    axes.set_xticks(range(len(table)), map(method_label, table["method"]))
    axes.tick_params(axis="x", labelsize=7)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", frameon=True, fontsize=6.5)


def _example(figure: Any, collected: Sequence[CellResults]) -> None:
    """Show image and label, then each method's prediction, of its first run."""
    corners = {
        results.cell.method: panels(picture)
        for results in collected
        for run in results.used[:1]
        for picture in sorted((run.expected.folder.path / PICTURES).glob("*.png"))[:1]
    }
    if not corners:
        return
    image, label, *_ = next(iter(corners.values()))
    shown = {"image": image, "label": label}
    shown |= {method_label(method): parts[2] for method, parts in corners.items()}
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (title, pixels) in zip(grid, shown.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()


def panels(path: Path) -> list[np.ndarray]:
    """Return the upper left corner of each of a picture's four panels, uint8 (h, w, 3)."""
    from bnnrepro.tasks.segmentation_images import GAP

    (picture,) = read_all([path], lambda _, content: on_white(decode(content), "RGB"), key=PICTURES)
    pixels = np.asarray(picture)
    width = (pixels.shape[1] - 3 * GAP) // 4
    side = min(CORNER, width, len(pixels))
    starts = [k * (width + GAP) for k in range(4)]
    return [pixels[:side, start : start + side] for start in starts]


FIGURE = Figure(
    "segmentation",
    "Segmentation of electron micrographs: test images, the network at the mode; bars are means",
    "segmentation",
    plot,
    seeds=3,
)
