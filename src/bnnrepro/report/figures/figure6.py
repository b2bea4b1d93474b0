"""Figure 6: training and validation curves of table 2's runs."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import band, metrics
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import TABLES

_SPLITS = ("train", "validation")


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw one column a data set: training above, validation below."""
    with style.style():
        import matplotlib.pyplot as plt

        groups = style.by_dataset(collected)
        width = 2.4 * max(len(groups), 2)
        figure, grid = plt.subplots(2, len(groups), figsize=(width, 4.4), squeeze=False)
        rows = []
        for column, (dataset, cells) in enumerate(groups.items()):
            for axes, split in zip(grid[:, column], _SPLITS, strict=True):
                bands = []
                for cell in cells:
                    runs = style.columns_of(cell)
                    metric = next(iter(metrics(runs)), "accuracy")
                    found = band(runs, f"{split}_{metric}")
                    if found is None:
                        continue
                    method = cell.cell.method
                    style.draw_band(axes, found, style.label(method), style.look(method))
                    about = style.about(cell) | {"split": split, "metric": metric}
                    rows += style.band_rows(found, about)
                    bands.append(found)
                    axes.set_ylabel(style.named(split, metric) if column == 0 else "")
                style.settle(axes, bands)
            grid[0, column].set_title(dataset)
            grid[1, column].set_xlabel("epoch")
        figure.suptitle(style.heading(FIGURE.title, collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "figure6")


FIGURE = Figure(
    "6", "Training and validation accuracy (mean, one std over seeds)", TABLES["2"].cells, draw
)
