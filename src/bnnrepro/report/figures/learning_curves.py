"""Curves over table 2's runs: figure 6, flips and entropy by epoch, accuracy by training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.curves import Band, band, elapsed, metrics
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import DATASETS, TABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


def plot_accuracy(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one column per data set: training above, validation below."""
    with style.style():
        figure, grid, groups = _panels(collected, 2, 4.4)
        rows = []
        for column, group in enumerate(groups.values()):
            for axes, split in zip(grid[:, column], ("train", "validation"), strict=True):
                bands = []
                for results in group:
                    runs = style.columns_of(results)
                    metric = next(iter(metrics(runs)), "accuracy")
                    curve = band(runs, f"{split}_{metric}")
                    if curve is None:
                        continue
                    _plot_method(axes, results, curve)
                    first = style.id_columns(results) | {"split": split, "metric": metric}
                    rows += style.band_rows(curve, first)
                    bands.append(curve)
                    axes.set_ylabel(style.axis_label(split, metric) if column == 0 else "")
                style.fit_y_axis(axes, bands)
        return style.finish(figure, ACCURACY.title, collected, rows, folder, "figure6")


def plot_flips(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one panel per data set, on a logarithmic axis, which leaves out epochs without flips."""
    with style.style():
        figure, grid, groups = _panels(collected, 1, 2.6)
        rows = []
        for axes, group in zip(grid[0], groups.values(), strict=True):
            for results in group:
                curve = band(style.columns_of(results), "flipped")
                if curve is None:
                    continue
                rows += style.band_rows(curve, style.id_columns(results) | {"column": "flipped"})
                line = style.line_style(results.cell.method)
                mean = np.where(curve.mean > 0, curve.mean, np.nan)
                low = np.maximum(curve.low, curve.mean / 10)  # zero is not on this axis
                axes.plot(curve.x, mean, label=style.method_label(results.cell.method), **line)
                axes.fill_between(
                    curve.x, low, curve.high, color=line["color"], alpha=0.18, linewidth=0
                )
            if not axes.lines:
                style.fit_y_axis(axes, [])
            elif any((line.get_ydata() > 0).any() for line in axes.lines):
                axes.set_yscale("log")
        grid[0, 0].set_ylabel("share of weights flipped")
        return style.finish(figure, FLIPS.title, collected, rows, folder, "flips")


def plot_entropy(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot the entropy of BayesBiNN's posterior: a line per data set, on a logarithmic axis."""
    with style.style():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(3.8, 2.9))
        rows = []
        for results in collected:
            curve = band(style.columns_of(results), "entropy_bits")
            if curve is None:
                continue
            dataset = results.cell.dataset
            line = style.line_style(dataset, list(DATASETS))
            style.plot_band(axes, curve, DATASETS.get(dataset, dataset), line)
            rows += style.band_rows(curve, style.id_columns(results) | {"column": "entropy_bits"})
        if not rows:
            style.fit_y_axis(axes, [])
        elif all(row["mean"] > 0 for row in rows):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("entropy (bits a weight)")
        return style.finish(figure, ENTROPY.title, collected, rows, folder, "entropy")


def plot_time(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one panel per data set: at each epoch the mean time and mean accuracy over seeds."""
    with style.style():
        figure, grid, groups = _panels(collected, 1, 2.7)
        rows = []
        for column, group in enumerate(groups.values()):
            axes, bands = grid[0, column], []
            timed = [(results, *_over_time(results)) for results in group]
            longest = max((curve.x.max() for *_, curve in timed if curve is not None), default=1.0)
            unit = next(
                u for u, seconds in _UNITS.items() if longest >= 2 * seconds or seconds == 1
            )
            for results, metric, curve in timed:
                if curve is None:
                    continue
                first = style.id_columns(results) | {"metric": metric, "device": _devices(results)}
                rows += style.band_rows(curve, first, "seconds")
                bands.append(curve)
                scaled = Band(curve.x / _UNITS[unit], curve.mean, curve.std, curve.n)
                _plot_method(axes, results, scaled)
                axes.set_ylabel(style.axis_label("test", metric) if column == 0 else "")
            style.fit_y_axis(axes, bands)
            axes.set_xlabel(f"training time ({unit})")
        title = f"{TIME.title}{_hardware(collected)}"
        return style.finish(figure, title, collected, rows, folder, "time")


def _panels(
    collected: Sequence[CellResults], rows: int, height: float
) -> tuple[Any, Any, Mapping[str, list[CellResults]]]:
    """Return a figure with a column of panels per data set, its axes, and the cells by data set."""
    import matplotlib.pyplot as plt

    groups = style.by_dataset(collected)
    width = 2.4 * max(len(groups), 2)
    figure, grid = plt.subplots(rows, len(groups), figsize=(width, height), squeeze=False)
    for column, dataset in enumerate(groups):
        grid[0, column].set_title(dataset)
        grid[-1, column].set_xlabel("epoch")
    return figure, grid, groups


def _plot_method(axes: Axes, results: CellResults, curve: Band) -> None:
    method = results.cell.method
    style.plot_band(axes, curve, style.method_label(method), style.line_style(method))


def _hardware(collected: Sequence[CellResults]) -> str:
    names = (name for results in collected for name in _devices(results).split(" + "))
    devices = [name for name in dict.fromkeys(names) if name]
    if len(devices) > 1:
        return f" (on {len(devices)} kinds of hardware, see the CSV)"
    return f" ({devices[0]})" if devices else ""


def _devices(results: CellResults) -> str:
    return " + ".join(
        dict.fromkeys(
            f"{run.environment.get('gpu') or run.environment.get('cpu') or 'unknown'}, "
            f"{run.result['device']}"
            for run in results.used
        )
    )


def _over_time(results: CellResults) -> tuple[str, Band | None]:
    """Return the metric's name and its band by elapsed seconds; None where there is no value."""
    runs = [columns for columns in style.columns_of(results) if "seconds" in columns]
    metric = next(iter(metrics(runs)), "")
    values = band(runs, f"test_{metric}")
    seconds = band([{**columns, "elapsed": elapsed(columns)} for columns in runs], "elapsed")
    if values is None or seconds is None:
        return metric, None
    shared, i, j = np.intersect1d(values.x, seconds.x, return_indices=True)
    over_time = Band(seconds.mean[j], values.mean[i], values.std[i], values.n[i])
    return metric, over_time if shared.size else None


_CELLS = TABLES["2"].cells
ACCURACY = Figure(
    "6", "Training and validation accuracy (mean, one std over seeds)", _CELLS, plot_accuracy
)
FLIPS = Figure(
    "flips",
    "Weights that change sign in an epoch (mean, one std over seeds)",
    tuple(name for name in _CELLS if not name.endswith("full_precision")),
    plot_flips,
)
ENTROPY = Figure(
    "entropy",
    "Average entropy of BayesBiNN's posterior",
    tuple(name for name in _CELLS if name.endswith("bayesbinn")),
    plot_entropy,
)
TIME = Figure("time", "Test accuracy against training time", _CELLS, plot_time)
