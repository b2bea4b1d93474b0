"""Flips: the share of binary weights whose sign differs from the epoch before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import band
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import TABLES


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw one panel a data set, on a logarithmic axis; an epoch without a flip has no place."""
    with style.style():
        import matplotlib.pyplot as plt

        groups = style.by_dataset(collected)
        width = 2.4 * max(len(groups), 2)
        figure, grid = plt.subplots(1, len(groups), figsize=(width, 2.6), squeeze=False)
        rows = []
        for column, (dataset, cells) in enumerate(groups.items()):
            axes, empty = grid[0, column], True
            for cell in cells:
                found = band(style.columns_of(cell), "flipped")
                if found is None:
                    continue
                empty, method = False, cell.cell.method
                rows += style.band_rows(found, style.about(cell) | {"column": "flipped"})
                look = style.look(method)
                mean = np.where(found.mean > 0, found.mean, np.nan)
                low = np.maximum(found.low, found.mean / 10)  # zero is not on this axis
                axes.plot(found.x, mean, label=style.label(method), **look)
                axes.fill_between(
                    found.x, low, found.high, color=look["color"], alpha=0.18, linewidth=0
                )
            if empty:
                style.settle(axes, [])
            elif any((line.get_ydata() > 0).any() for line in axes.lines):
                axes.set_yscale("log")
            axes.set_title(dataset)
            axes.set_xlabel("epoch")
        grid[0, 0].set_ylabel("share of weights flipped")
        figure.suptitle(style.heading(FIGURE.title, collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "flips")


FIGURE = Figure(
    "flips",
    "Weights that change sign in an epoch (mean, one std over seeds)",
    tuple(name for name in TABLES["2"].cells if not name.endswith("full_precision")),
    draw,
)
