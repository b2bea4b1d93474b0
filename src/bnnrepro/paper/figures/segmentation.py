"""Segmentation: each method's figures beside the best constant prediction's, and its pictures.

``result.json`` of a run has the figures of its network and of constant predictions;
``pictures/`` the test images with label, prediction and errors side by side. Published are the
IoU of the cells' class alone, of labels that lie beside their pixels: marked, not compared.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bnnrepro.errors import UserError
from bnnrepro.paper.figures.panels import save
from bnnrepro.paper.published import Quoted, published
from bnnrepro.store import atomic
from bnnrepro.store.folder import RunFolder
from bnnrepro.store.metrics import read_metrics
from bnnrepro.store.result import read_result

CELLS = ("segmentation_full_precision", "segmentation_ste", "segmentation_bayesbinn")
LABELS = {"full_precision": "full precision", "ste": "STE", "bayesbinn": "BayesBiNN"}
COLOURS = {"full_precision": "#4d4d4d", "ste": "#b2182b", "bayesbinn": "#2166ac"}
METRICS = ("balanced_accuracy", "iou_membrane", "iou_cell", "mean_iou", "accuracy", "nll")
TITLES = {
    "balanced_accuracy": "balanced accuracy (%)",
    "iou_membrane": "IoU of membrane",
    "iou_cell": "IoU of cells",
}
GAP = 4  # white pixels between the panels of a run's pictures
CORNER = 160  # pixels a side of what is shown of a picture


@dataclass(frozen=True)
class Segmented:
    """A finished run: ``result.json``, the rows of ``metrics.csv``, and its first picture."""

    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    picture: Path | None

    @property
    def moment(self) -> str:
        """``best`` where a validation split chose an epoch, else ``final``."""
        return "best" if "best" in self.result else "final"

    @property
    def figures(self) -> Mapping[str, Any]:
        """The figures of that epoch."""
        found: Mapping[str, Any] = self.result[self.moment]
        return found


Runs = Mapping[str, Sequence[Segmented]]  # by method


def segmented(folders: Sequence[RunFolder]) -> list[Segmented]:
    """Read the finished ones of some runs."""
    found = []
    for folder in folders:
        try:
            result, rows = read_result(folder.result), read_metrics(folder.metrics)
        except UserError:
            continue
        pictures = sorted((folder.path / "pictures").glob("*.png"))
        found.append(Segmented(result, rows, pictures[0] if pictures else None))
    return found


def draw(runs: Runs, folder: Path) -> list[Path]:
    """Write bars, an example, a table and all numbers; return the files.

    Args:
        runs: of each method, its runs with different seeds; at least one in all.
        folder: where to; made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = save("segmentation", _picture({m: found for m, found in runs.items() if found}), folder)
    numbers, text = folder / "segmentation.csv", folder / "segmentation.md"
    atomic.write_text(numbers, _csv(runs))
    atomic.write_text(text, table(runs))
    return [*files, numbers, text]


def quoted(run: Segmented, selection: str) -> Quoted | None:
    """Return the published IoU of the cells' class at the ``final`` or ``best`` epoch."""
    method = run.result["method"]
    key = "bayesbinn_mode" if method == "bayesbinn" else method
    group = f"reproduction_segmentation_{selection}"
    return published().find(group, run.result["dataset"], key, "test")


def table(runs: Runs) -> str:
    """Return every metric of the test images, mean and standard deviation (n - 1), as Markdown.

    The published columns are the IoU of cells, of other labels: at the last epoch, and at the best
    one chosen on the images themselves; beside the latter ours by the same choice.
    """
    heading = ["", "prediction", "runs", *METRICS, "published", "published, best", "iou_cell, best"]
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for method, found in runs.items():
        for kind in ("mode", "mean"):
            judged = [run for run in found if kind in run.figures["test"]]
            if not judged:
                continue
            cells = [
                _summed([run.figures["test"][kind][name] for run in judged]) for name in METRICS
            ]
            theirs = [quoted(judged[0], selection) for selection in ("final", "best")]
            cells += [
                f"{each.mean / 100:.3f}" if each and kind == "mode" else "" for each in theirs
            ]
            ours = [max(row["test_iou_cell"] for row in run.rows) for run in judged]
            cells.append(_summed(ours) if kind == "mode" else "")
            label = LABELS.get(method, method)
            lines.append(f"| {label} | {kind} | {len(judged)} | {' | '.join(cells)} |")
    first = next(run for found in runs.values() for run in found)
    constant = [f"{first.figures['constant'][name]:.4g}" for name in METRICS]
    lines.append(f"| best constant, metric by metric | | | {' | '.join([*constant, '', '', ''])} |")
    return "\n".join(lines) + "\n"


def _summed(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def _values(runs: Runs) -> Iterator[tuple[str, str, int, int, str, float]]:
    for method, found in runs.items():
        for run in found:
            judged = {**run.figures["test"], "constant": run.figures["constant"]}
            for kind, metrics in judged.items():
                for name, value in metrics.items():
                    yield method, kind, run.result["seed"], run.figures["epoch"], name, value


def _csv(runs: Runs) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "prediction", "seed", "epoch", "metric", "value"])
    writer.writerows(_values(runs))
    return text.getvalue()


def _picture(runs: Runs) -> Any:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(10.5, 6.8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    for axes, (name, title) in zip(above.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        _bars(axes, runs, name)
        axes.set_title(title, fontsize=10)
    _example(below, runs)
    return figure


def _bars(axes: Any, runs: Runs, name: str) -> None:
    constant = next(run for found in runs.values() for run in found).figures["constant"][name]
    for place, (method, found) in enumerate(runs.items()):
        values = [run.figures["test"]["mode"][name] for run in found]
        colour = COLOURS.get(method, "#1b7837")
        axes.bar(place, statistics.fmean(values), color=colour, width=0.65, alpha=0.85)
        axes.plot([place] * len(values), values, "k.", markersize=5)
        theirs = quoted(found[0], "final")
        if theirs and name == "iou_cell":
            axes.plot(
                [place], [theirs.mean / 100], "D", color="white", markeredgecolor="black",
                label="published (labels misplaced)" if place == 0 else None,
            )  # fmt: skip
    axes.axhline(constant, color="black", linestyle="--", linewidth=1, label="best constant")
    axes.set_xticks(range(len(runs)), [LABELS.get(method, method) for method in runs])
    axes.set_ylim(0, 100 if name == "balanced_accuracy" else 1)
    axes.legend(fontsize="small", loc="lower right", framealpha=0.9)


def _example(figure: Any, runs: Runs) -> None:
    """Show a corner of the first picture: image and label, then each method's prediction."""
    shown = [(method, found[0].picture) for method, found in runs.items() if found[0].picture]
    if not shown:
        return
    cut = {method: panels(path) for method, path in shown if path is not None}
    first = next(iter(cut.values()))
    columns = [("image", first[0]), ("label", first[1])]
    columns += [(LABELS.get(method, method), panel[2]) for method, panel in cut.items()]
    for axes, (title, pixels) in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()


def panels(path: Path) -> list[np.ndarray]:
    """Return the upper left corner of each panel of a run's picture, uint8 (h, w, 3)."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    width = (pixels.shape[1] - 3 * GAP) // 4
    side = min(CORNER, width, len(pixels))
    starts = [k * (width + GAP) for k in range(4)]
    return [pixels[:side, start : start + side] for start in starts]
