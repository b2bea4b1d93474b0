"""Figure 6: training and validation curves of table 2's runs."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.paper import drawing
from bnnrepro.paper.collect import Collected
from bnnrepro.paper.columns import band, metrics
from bnnrepro.paper.figures import Figure
from bnnrepro.paper.tables import TABLES

_SPLITS = ("train", "validation")


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw one column a data set: training above, validation below."""
    with drawing.style():
        import matplotlib.pyplot as plt

        groups = drawing.by_dataset(collected)
        width = 2.4 * max(len(groups), 2)
        figure, grid = plt.subplots(2, len(groups), figsize=(width, 4.4), squeeze=False)
        rows = []
        for column, (dataset, cells) in enumerate(groups.items()):
            for axes, split in zip(grid[:, column], _SPLITS, strict=True):
                bands = []
                for cell in cells:
                    runs = drawing.columns_of(cell)
                    metric = next(iter(metrics(runs)), "accuracy")
                    found = band(runs, f"{split}_{metric}")
                    if found is None:
                        continue
                    method = cell.cell.method
                    drawing.draw_band(axes, found, drawing.label(method), drawing.look(method))
                    about = drawing.about(cell) | {"split": split, "metric": metric}
                    rows += drawing.band_rows(found, about)
                    bands.append(found)
                    axes.set_ylabel(drawing.named(split, metric) if column == 0 else "")
                drawing.settle(axes, bands)
            grid[0, column].set_title(dataset)
            grid[1, column].set_xlabel("epoch")
        figure.suptitle(drawing.heading(FIGURE.title, collected), fontsize=9)
        drawing.key_below(figure)
        return drawing.save(figure, rows, folder, "figure6")


FIGURE = Figure(
    "6", "Training and validation accuracy (mean, one std over seeds)", TABLES["2"].cells, draw
)
