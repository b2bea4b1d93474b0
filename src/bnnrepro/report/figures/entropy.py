"""Entropy: how uncertain BayesBiNN's posterior still is, in bits a weight."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import band
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import DATASETS, TABLES


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw a line a data set, on a logarithmic axis."""
    with style.style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(3.8, 2.9))
        rows = []
        for cell in collected:
            found = band(style.columns_of(cell), "entropy_bits")
            if found is None:
                continue
            dataset = cell.cell.dataset
            look = style.look(dataset, list(DATASETS))
            style.draw_band(axes, found, DATASETS.get(dataset, dataset), look)
            rows += style.band_rows(found, style.about(cell) | {"column": "entropy_bits"})
        if not rows:
            style.settle(axes, [])
        elif all(row["mean"] > 0 for row in rows):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("entropy (bits a weight)")
        figure.suptitle(style.heading(FIGURE.title, collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "entropy")


FIGURE = Figure(
    "entropy",
    "Average entropy of BayesBiNN's posterior",
    tuple(name for name in TABLES["2"].cells if name.endswith("bayesbinn")),
    draw,
)
