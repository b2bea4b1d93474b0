"""Figure 4: the posterior's histogram after each task, with its average entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bnnrepro.paper.figures.continual import COLOURS, LABELS, band, caption, save, spread
from bnnrepro.paper.figures.figure5 import table

Posterior = Mapping[str, Any]  # the content of a run's posterior.json


def draw_histograms(
    cells: Mapping[str, Sequence[Posterior]], preset: str, folder: Path
) -> list[Path]:
    """Write ``figure4.png``, ``.pdf`` and ``.csv``.

    Args:
        cells: of each cell, what its runs say of their posteriors.
        preset: of the runs.
        folder: where the files go.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    tasks = len(next(iter(cells.values()))[0]["counts"])
    figure, grid = plt.subplots(
        1, tasks, figsize=(2.7 * tasks, 3.2), sharex=True, sharey=True, layout="constrained"
    )
    lines: list[tuple[Any, ...]] = []
    for task, axes in enumerate(grid):
        axes.set_title(f"after task {task + 1}", fontsize=10)
        for number, (cell, posteriors) in enumerate(cells.items()):
            edges = posteriors[0]["edges"]
            centres = [(low + high) / 2 for low, high in pairwise(edges)]
            shares = [
                spread(
                    each["counts"][task][place] / sum(each["counts"][task]) for each in posteriors
                )
                for place in range(len(centres))
            ]
            band(axes, centres, shares, COLOURS[cell], LABELS[cell])
            entropy = spread(each["entropy_bits"][task] for each in posteriors)
            axes.text(
                0.5,
                0.93 - 0.09 * number,
                f"{entropy.mean:.3f} bits",
                transform=axes.transAxes,
                ha="center",
                fontsize=9,
                color=COLOURS[cell],
            )
            lines.append((cell, task + 1, "entropy_bits", *entropy))
            lines += [
                (cell, task + 1, f"{centre:.3g}", *share)
                for centre, share in zip(centres, shares, strict=True)
            ]
        axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.set_xlabel("P(w = +1)")
    grid[0].set_ylabel("share of the weights")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(caption(preset, min(len(each) for each in cells.values())), fontsize=10)
    files = save(figure, folder, "figure4")
    plt.close(figure)
    return [*files, table(folder / "figure4.csv", ("cell", "after_task", "place"), lines)]
