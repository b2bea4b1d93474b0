"""Flips: the share of binary weights whose sign differs from the epoch before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnnrepro.paper import drawing
from bnnrepro.paper.collect import Collected
from bnnrepro.paper.columns import band
from bnnrepro.paper.figures import Figure
from bnnrepro.paper.tables import TABLES


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw one panel a data set, on a logarithmic axis; an epoch without a flip has no place."""
    with drawing.style():
        import matplotlib.pyplot as plt

        groups = drawing.by_dataset(collected)
        width = 2.4 * max(len(groups), 2)
        figure, grid = plt.subplots(1, len(groups), figsize=(width, 2.6), squeeze=False)
        rows = []
        for column, (dataset, cells) in enumerate(groups.items()):
            axes, empty = grid[0, column], True
            for cell in cells:
                found = band(drawing.columns_of(cell), "flipped")
                if found is None:
                    continue
                empty, method = False, cell.cell.method
                rows += drawing.band_rows(found, drawing.about(cell) | {"column": "flipped"})
                look = drawing.look(method)
                mean = np.where(found.mean > 0, found.mean, np.nan)
                low = np.maximum(found.low, found.mean / 10)  # zero is not on this axis
                axes.plot(found.x, mean, label=drawing.label(method), **look)
                axes.fill_between(
                    found.x, low, found.high, color=look["color"], alpha=0.18, linewidth=0
                )
            if empty:
                drawing.settle(axes, [])
            elif any((line.get_ydata() > 0).any() for line in axes.lines):
                axes.set_yscale("log")
            axes.set_title(dataset)
            axes.set_xlabel("epoch")
        grid[0, 0].set_ylabel("share of weights flipped")
        figure.suptitle(drawing.heading(FIGURE.title, collected), fontsize=9)
        drawing.key_below(figure)
        return drawing.save(figure, rows, folder, "flips")


FIGURE = Figure(
    "flips",
    "Weights that change sign in an epoch (mean, one std over seeds)",
    tuple(name for name in TABLES["2"].cells if not name.endswith("full_precision")),
    draw,
)
