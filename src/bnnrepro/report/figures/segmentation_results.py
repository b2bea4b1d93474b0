"""Segmentation figure: each method's metrics, those of the best constant prediction, and pictures.

``result.json`` of a run has the metrics of its network and of constant predictions;
``pictures/`` the test images with label, prediction and errors side by side. Only the IoU of cells
is published, with labels that are shifted against their pixels: shown, not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bnnrepro.data.decoding import decode, on_white, read_all
from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.published import published

METRICS = ("balanced_accuracy", "iou_membrane", "iou_cell", "mean_iou", "accuracy", "nll")
BARS = {
    "balanced_accuracy": "balanced accuracy (%)",
    "iou_membrane": "IoU of membranes",
    "iou_cell": "IoU of cells",
}
GAP = 4  # white pixels between the panels of a run's pictures
CORNER = 192  # side of the shown part of a picture, in pixels


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot bars of three metrics, and a corner of the first test image with each prediction."""
    with style.style():
        from matplotlib import pyplot as plt

        figure: Any = plt.figure(figsize=(7.2, 4.6))
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1))
        for axes, (name, title) in zip(above.subplots(1, len(BARS)), BARS.items(), strict=True):
            _bars(axes, collected, name)
            axes.set_title(title)
        _example(below, collected)
        remarks = [
            style.heading(FIGURE.title, collected),
            *style.other_settings(collected),
        ]
        figure.suptitle("\n".join(remarks), fontsize=9)
        rows = [row for results in collected for row in _rows(results)]
        return style.save(figure, rows, folder, "segmentation")


def values(results: CellResults, prediction: str, metric: str) -> list[float]:
    """Return a test metric of every finished run that has it.

    ``prediction`` is ``mode``, ``mean`` or ``constant``; at the best epoch where there is one.
    """
    numbers = []
    for run in results.used:
        evaluation = run.evaluation("mean" if prediction == "mean" else "mode")
        epoch = evaluation.get("best") or evaluation.get("final") or {}
        metrics = (epoch if prediction == "constant" else epoch.get("test", {})).get(prediction, {})
        numbers += [metrics[metric]] if metric in metrics else []
    return numbers


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


def _rows(results: CellResults) -> Iterator[dict[str, Any]]:
    """Yield a row for each prediction and metric; for a cell without runs, the mode's."""
    for prediction, metric in product(("mode", "mean"), METRICS):
        ours = values(results, prediction, metric)
        if not ours and (prediction == "mean" or results.used):
            continue
        constants = values(results, "constant", metric)
        of_cells = prediction == "mode" and metric == "iou_cell"
        yield style.id_columns(results) | {
            "prediction": prediction,
            "metric": metric,
            "mean": float(np.mean(ours)) if ours else None,
            "population_std": float(np.std(ours)) if ours else None,
            "n": len(ours),
            "best_constant": constants[0] if constants else None,
            "reproduction_final": published_iou(results, "final") if of_cells else None,
            "reproduction_best": published_iou(results, "best") if of_cells else None,
        }


def _bars(axes: Any, collected: Sequence[CellResults], metric: str) -> None:
    methods = [results.cell.method for results in collected]
    constants = []
    for x, (method, results) in enumerate(zip(methods, collected, strict=True)):
        ours = values(results, "mode", metric)
        constants += values(results, "constant", metric)
        if ours:
            axes.bar(x, np.mean(ours), width=0.65, color=style.line_style(method)["color"])
            axes.plot([x] * len(ours), ours, ".", color=style.INK, markersize=4)
        theirs = published_iou(results, "final") if metric == "iou_cell" else None
        if theirs is not None:
            label = None if x else "earlier reproduction, other labels"
            axes.plot(x, theirs, "D", color="white", mec=style.INK, ms=5, label=label)
    if constants:
        axes.axhline(constants[0], color=style.INK, linestyle="--", label="best constant")
    axes.set_xticks(range(len(methods)), [style.method_label(method) for method in methods])
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(0, 100 if metric == "balanced_accuracy" else 1)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", frameon=True, fontsize=6.5)


def _example(figure: Any, collected: Sequence[CellResults]) -> None:
    """Show image and label, then each method's prediction, of its first run."""
    corners = {
        results.cell.method: panels(picture)
        for results in collected
        for run in results.used[:1]
        for picture in sorted((run.expected.folder.path / "pictures").glob("*.png"))[:1]
    }
    if not corners:
        return
    image, label, *_ = next(iter(corners.values()))
    shown = {"image": image, "label": label}
    shown |= {style.method_label(method): parts[2] for method, parts in corners.items()}
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (title, pixels) in zip(grid, shown.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()


def panels(path: Path) -> list[np.ndarray]:
    """Return the upper left corner of each of a picture's four panels, uint8 (h, w, 3)."""
    (picture,) = read_all(
        [path], lambda _, content: on_white(decode(content), "RGB"), key="pictures"
    )
    pixels = np.asarray(picture)
    width = (pixels.shape[1] - 3 * GAP) // 4
    side = min(CORNER, width, len(pixels))
    starts = [k * (width + GAP) for k in range(4)]
    return [pixels[:side, start : start + side] for start in starts]


FIGURE = Figure(
    "segmentation",
    "Segmentation of electron micrographs: test images, the network at the mode",
    ("segmentation_full_precision", "segmentation_ste", "segmentation_bayesbinn"),
    plot,
    seeds=3,
)
