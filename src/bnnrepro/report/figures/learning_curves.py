"""Curves over table 2's runs: figure 6, flips and entropy by epoch, accuracy by training time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bnnrepro.report.charts import panels
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import IDS, column_bands, curves, finish, remarks
from bnnrepro.report.style import STD, axis_label, looks, style
from bnnrepro.report.tables import DATASETS

_UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


@style()
def plot_accuracy(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one column per data set: training above, validation below."""
    splits = ("train", "validation")
    table = column_bands(curves(collected), *(f"{split}_accuracy" for split in splits))
    tables = {
        f"{name}, {split}": part[part["column"] == f"{split}_accuracy"]
        for split in splits
        for name, part in _by_dataset(collected, table).items()
    }
    figure, grid = panels(tables, "method", looks(), rows=len(splits))
    for row in grid:
        row[0].set_ylabel(axis_label("accuracy"))
    return finish(figure, ACCURACY.title, remarks(collected), table, folder, "figure6")


@style()
def plot_flips(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one panel per data set, on a logarithmic axis, which leaves out epochs without flips."""
    table = column_bands(curves(collected), "flipped")
    figure, grid = panels(_by_dataset(collected, table), "method", looks(), log=True)
    grid[0, 0].set_ylabel("share of weights flipped")
    return finish(figure, FLIPS.title, remarks(collected), table, folder, "flips")


@style()
def plot_entropy(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot the entropy of BayesBiNN's posterior: a line per data set, on a logarithmic axis."""
    table = column_bands(curves(collected), "entropy_bits")
    figure, grid = panels({"": table}, "dataset", looks(DATASETS), log=True, size=(5.2, 3))
    grid[0, 0].set_ylabel("entropy (bits a weight)")
    return finish(figure, ENTROPY.title, remarks(collected), table, folder, "entropy")


@style()
def plot_time(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one panel per data set: at each epoch the mean time and mean accuracy over seeds."""
    runs = curves(collected)
    seconds = column_bands(runs, "elapsed").rename(columns={"mean": "seconds"})
    table = column_bands(runs, "test_accuracy").merge(seconds[[*IDS, "epoch", "seconds"]])
    devices = {results.cell.name: _devices(results) for results in collected}
    table.insert(len(IDS) + 1, "device", table["cell"].map(devices))
    scaled, units = {}, []
    for name, part in _by_dataset(collected, table).items():
        longest = part["seconds"].max()
        units += [next((u for u, size in _UNITS.items() if longest >= 2 * size), "seconds")]
        scaled[name] = part.assign(time=part["seconds"] / _UNITS[units[-1]])
    figure, grid = panels(scaled, "method", looks(), "time")
    for axes, unit in zip(grid[0], units, strict=True):
        axes.set_xlabel(f"training time ({unit})")
    grid[0, 0].set_ylabel(axis_label("test_accuracy"))
    title = f"{TIME.title}{_hardware(devices.values())}"
    return finish(figure, title, remarks(collected), table, folder, "time")


def _by_dataset(collected: Sequence[CellResults], table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each data set of the cells, by its name as tables print it."""
    names = dict.fromkeys(results.cell.dataset for results in collected)
    return {DATASETS.get(name, name): table[table["dataset"] == name] for name in names}


def _devices(results: CellResults) -> str:
    return " + ".join(
        dict.fromkeys(
            f"{run.environment.get('gpu') or run.environment.get('cpu') or 'unknown'}, "
            f"{run.result['device']}"
            for run in results.used
        )
    )


def _hardware(devices: Iterable[str]) -> str:
    names = list(dict.fromkeys(name for each in devices for name in each.split(" + ") if name))
    if len(names) > 1:
        return f" (on {len(names)} kinds of hardware, see the CSV)"
    return f" ({names[0]})" if names else ""


_BINARY = {"method": ("ste", "bop", "pmf", "bayesbinn")}
_BAYESIAN = {"method": ("bayesbinn",)}
ACCURACY, FLIPS, ENTROPY, TIME = (
    Figure(name, f"{title}: mean and {STD}", "table2", plot, where)
    for name, title, plot, where in (
        ("6", "Training and validation accuracy", plot_accuracy, {}),
        ("flips", "Weights that change sign in an epoch", plot_flips, _BINARY),
        ("entropy", "Average entropy of BayesBiNN's posterior", plot_entropy, _BAYESIAN),
        ("time", "Test accuracy against training time", plot_time, {}),
    )
)
