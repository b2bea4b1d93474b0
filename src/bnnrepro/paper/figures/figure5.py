"""Figure 5: accuracy on every task while five tasks are learnt one after the other."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnrepro.paper.figures.continual import (
    COLOURS,
    LABELS,
    Spread,
    band,
    caption,
    save,
    spread,
)
from bnnrepro.store import atomic

Rows = Sequence[Mapping[str, Any]]
FIGURES = ("accuracy", "forgetting", "backward_transfer", "nll", "ece")


def curves(runs: Sequence[Rows], tasks: int) -> dict[str, list[tuple[int, Spread]]]:
    """Return the accuracy on each task, and on all seen so far, by epoch and over the runs.

    Args:
        runs: of each seed the rows of ``metrics.csv``, all of the same epochs.
        tasks: how many there are.
    """
    found: dict[str, list[tuple[int, Spread]]] = {}
    names = [f"task_{task}" for task in range(1, tasks + 1)]
    for epochs in zip(*runs, strict=True):
        epoch = epochs[0]["epoch"]
        seen = [name for name in names if epochs[0].get(name) is not None]
        for name in seen:
            values = spread(row[name] for row in epochs)
            found.setdefault(name, []).append((epoch, values))
        average = spread(sum(row[name] for name in seen) / len(seen) for row in epochs)
        found.setdefault("average", []).append((epoch, average))
    return found


def draw_curves(
    cells: Mapping[str, Sequence[Rows]], tasks: int, preset: str, folder: Path
) -> list[Path]:
    """Write ``figure5.png``, ``.pdf`` and ``.csv``.

    Args:
        cells: of each cell with finished runs, the rows of each.
        tasks: how many there are.
        preset: of the runs.
        folder: where the files go.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = (tasks + 2) // 2
    figure, grid = plt.subplots(
        2, columns, figsize=(3.2 * columns, 5.4), sharex=True, sharey=True, layout="constrained"
    )
    panels = [*(f"task_{task}" for task in range(1, tasks + 1)), "average"]
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    lines = []
    for cell, runs in cells.items():
        found = curves(runs, tasks)
        length = len(runs[0]) // tasks
        for axes, name in zip(grid.flat, panels, strict=False):
            epochs, values = zip(*found[name], strict=True)
            band(axes, epochs, values, COLOURS[cell], LABELS[cell])
            lines += [(cell, name, epoch, *value) for epoch, value in found[name]]
            for end in range(1, tasks):
                axes.axvline(end * length + 0.5, color="0.8", linewidth=0.7, zorder=0)
    for axes, name in zip(grid.flat, panels, strict=False):
        axes.set_title(
            "average over tasks seen" if name == "average" else name.replace("_", " "), fontsize=10
        )
        axes.grid(alpha=0.25)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy (%)")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(caption(preset, min(len(runs) for runs in cells.values())), fontsize=10)
    files = save(figure, folder, "figure5")
    plt.close(figure)
    return [*files, table(folder / "figure5.csv", ("cell", "accuracy_on", "epoch"), lines)]


def write_summary(cells: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> Path:
    """Write ``figure5_summary.csv``: the figures at the end, at the mode and at the mean.

    Args:
        cells: of each cell, the values of every ``result.json``.
        folder: where the file goes.
    """
    lines = []
    for cell, results in cells.items():
        for kind in ("mode", "mean"):
            tests = [result["final"]["test"].get(kind) for result in results]
            if None not in tests:
                lines += [
                    (cell, kind, name, *spread(test[name] for test in tests)) for name in FIGURES
                ]
    return table(folder / "figure5_summary.csv", ("cell", "prediction", "figure"), lines)


def table(path: Path, keys: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    """Write lines of keys and a spread as CSV, atomically; return the path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "n", "mean", "std"])
    writer.writerows(lines)
    atomic.write_text(path, text.getvalue())
    return path
