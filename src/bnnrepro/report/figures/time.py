"""Time: test accuracy against the seconds that training took."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import Band, band, elapsed, metrics
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import TABLES

_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw one panel a data set; at each epoch the mean time and the mean accuracy over seeds."""
    with style.style():
        import matplotlib.pyplot as plt

        groups = style.by_dataset(collected)
        width = 2.4 * max(len(groups), 2)
        figure, grid = plt.subplots(1, len(groups), figsize=(width, 2.7), squeeze=False)
        rows = []
        for column, (dataset, cells) in enumerate(groups.items()):
            axes = grid[0, column]
            timed = [(cell, *each) for cell in cells if (each := _over_time(cell)) is not None]
            longest = max((float(seconds.x.max()) for _, _, seconds in timed), default=1.0)
            unit, word = next(each for each in _UNITS if longest >= 2 * each[0] or each[0] == 1)
            for cell, metric, found in timed:
                about = style.about(cell) | {"metric": metric, "device": _devices(cell)}
                values = (found.x, found.mean, found.std, found.n)
                rows += [
                    {**about, "seconds": x, "mean": mean, "population_std": std, "n": n}
                    for x, mean, std, n in zip(*(v.tolist() for v in values), strict=True)
                ]
                scaled = Band(found.x / unit, found.mean, found.std, found.n)
                method = cell.cell.method
                style.draw_band(axes, scaled, style.label(method), style.look(method))
                axes.set_ylabel(style.named("test", metric) if column == 0 else "")
            style.settle(axes, [found for _, _, found in timed])
            axes.set_title(dataset)
            axes.set_xlabel(f"training time ({word})")
        figure.suptitle(_heading(collected), fontsize=9)
        style.key_below(figure)
        return style.save(figure, rows, folder, "time")


def _heading(collected: Sequence[Collected]) -> str:
    devices = dict.fromkeys(name for each in collected for name in _devices(each).split(" + "))
    known = [name for name in devices if name]
    hardware = known[0] if len(known) == 1 else f"on {len(known)} kinds of hardware, see the CSV"
    title = f"{FIGURE.title} ({hardware})" if known else FIGURE.title
    return style.heading(title, collected)


def _devices(collected: Collected) -> str:
    return " + ".join(
        dict.fromkeys(
            f"{run.environment.get('gpu') or run.environment.get('cpu') or 'unknown'}, "
            f"{run.result['device']}"
            for run in collected.used
        )
    )


def _over_time(collected: Collected) -> tuple[str, Band] | None:
    runs = [each for each in style.columns_of(collected) if "seconds" in each]
    metric = next(iter(metrics(runs)), None)
    figures = band(runs, f"test_{metric}")
    seconds = band([{**each, "elapsed": elapsed(each)} for each in runs], "elapsed")
    if metric is None or figures is None or seconds is None:
        return None
    shared, here, there = np.intersect1d(figures.x, seconds.x, return_indices=True)
    at = Band(seconds.mean[there], figures.mean[here], figures.std[here], figures.n[here])
    return (metric, at) if shared.size else None


FIGURE = Figure("time", "Test accuracy against training time", TABLES["2"].cells, draw)
