"""Segmentation: each method's figures beside the best constant prediction's, and its pictures.

``result.json`` of a run has the figures of its network and of constant predictions;
``pictures/`` the test images with label, prediction and errors side by side. Published are the
IoU of cells alone, of labels that lie beside their pixels: shown, not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnrepro.data.decoding import decode, on_white, read_all
from bnnrepro.report import style
from bnnrepro.report.collect import Collected, CollectedRun
from bnnrepro.report.figures import Figure
from bnnrepro.report.published import published

METRICS = ("balanced_accuracy", "iou_membrane", "iou_cell", "mean_iou", "accuracy", "nll")
BARS = {
    "balanced_accuracy": "balanced accuracy (%)",
    "iou_membrane": "IoU of membranes",
    "iou_cell": "IoU of cells",
}
KINDS = ("mode", "mean")
GAP = 4  # white pixels between the panels of a run's pictures
CORNER = 192  # pixels a side of what is shown of a picture


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw bars of three metrics, and a corner of the first test image under each method."""
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
            *style.evaluated_otherwise(collected),
        ]
        figure.suptitle("\n".join(remarks), fontsize=9)
        rows = [row for each in collected for row in _rows(each)]
        return style.save(figure, rows, folder, "segmentation")


def judged(run: CollectedRun, kind: str) -> Mapping[str, float]:
    """Return a run's test figures of a kind of prediction, or those of ``constant`` ones."""
    figures = run.evaluation("mean" if kind == "mean" else "mode")
    moment = figures.get("best") or figures.get("final") or {}
    return (moment if kind == "constant" else moment.get("test", {})).get(kind, {})


def values(collected: Collected, kind: str, name: str) -> list[float]:
    """Return a metric of every finished run that has it."""
    found = [judged(run, kind) for run in collected.used]
    return [each[name] for each in found if name in each]


def published_iou(collected: Collected, selection: str) -> float | None:
    """Return the IoU of cells of the earlier reproduction, at the ``final`` or ``best`` epoch.

    None beside a shortened protocol, and where other data stand in.
    """
    if collected.cell.preset != "paper" or collected.stands_for:
        return None
    method = collected.cell.method
    key = "bayesbinn_mode" if method == "bayesbinn" else method
    group = f"reproduction_segmentation_{selection}"
    found = published().find(group, collected.cell.dataset, key, "test")
    return None if found is None else round(found.mean / 100, 4)


def _rows(collected: Collected) -> Iterator[dict[str, Any]]:
    """Return a row for each kind of prediction and metric; of a cell without runs, the mode's."""
    for kind in KINDS:
        for name in METRICS:
            found = values(collected, kind, name)
            if not found and (kind == "mean" or collected.used):
                continue
            constants = values(collected, "constant", name)
            of_cells = kind == "mode" and name == "iou_cell"
            yield style.about(collected) | {
                "prediction": kind,
                "metric": name,
                "mean": float(np.mean(found)) if found else None,
                "population_std": float(np.std(found)) if found else None,
                "n": len(found),
                "best_constant": constants[0] if constants else None,
                "reproduction_final": published_iou(collected, "final") if of_cells else None,
                "reproduction_best": published_iou(collected, "best") if of_cells else None,
            }


def _bars(axes: Any, collected: Sequence[Collected], name: str) -> None:
    constants = []
    for place, each in enumerate(collected):
        found, method = values(each, "mode", name), each.cell.method
        constants += values(each, "constant", name)
        if found:
            axes.bar(place, np.mean(found), width=0.65, color=style.look(method)["color"])
            axes.plot([place] * len(found), found, ".", color=style.INK, markersize=4)
        theirs = published_iou(each, "final") if name == "iou_cell" else None
        if theirs is not None:
            label = None if place else "earlier reproduction, other labels"
            axes.plot(place, theirs, "D", color="white", mec=style.INK, ms=5, label=label)
    if constants:
        axes.axhline(constants[0], color=style.INK, linestyle="--", label="best constant")
    axes.set_xticks(range(len(collected)), [style.label(each.cell.method) for each in collected])
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(0, 100 if name == "balanced_accuracy" else 1)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", frameon=True, fontsize=6.5)


def _example(figure: Any, collected: Sequence[Collected]) -> None:
    """Show image and label, then each method's prediction, of its first run."""
    cut = {
        each.cell.method: panels(picture)
        for each in collected
        for run in each.used[:1]
        for picture in sorted((run.expected.folder.path / "pictures").glob("*.png"))[:1]
    }
    if not cut:
        return
    image, label, *_ = next(iter(cut.values()))
    shown = {"image": image, "label": label}
    shown |= {style.label(method): parts[2] for method, parts in cut.items()}
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
    draw,
    seeds=3,
)
