"""Entropy: how uncertain BayesBiNN's posterior still is, in bits a weight."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.paper import drawing
from bnnrepro.paper.collect import Collected
from bnnrepro.paper.columns import band
from bnnrepro.paper.figures import Figure
from bnnrepro.paper.tables import DATASETS, TABLES


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw a line a data set, on a logarithmic axis."""
    with drawing.style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(3.8, 2.9))
        rows = []
        for cell in collected:
            found = band(drawing.columns_of(cell), "entropy_bits")
            if found is None:
                continue
            dataset = cell.cell.dataset
            look = drawing.look(dataset, list(DATASETS))
            drawing.draw_band(axes, found, DATASETS.get(dataset, dataset), look)
            rows += drawing.band_rows(found, drawing.about(cell) | {"column": "entropy_bits"})
        if not rows:
            drawing.settle(axes, [])
        elif all(row["mean"] > 0 for row in rows):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("entropy (bits a weight)")
        figure.suptitle(drawing.heading(FIGURE.title, collected), fontsize=9)
        drawing.key_below(figure)
        return drawing.save(figure, rows, folder, "entropy")


FIGURE = Figure(
    "entropy",
    "Average entropy of BayesBiNN's posterior",
    tuple(name for name in TABLES["2"].cells if name.endswith("bayesbinn")),
    draw,
)
