"""Columns of many ``metrics.csv``: read fast, and put together over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnnrepro.runs import reading

Columns = Mapping[str, NDArray[np.float64]]
"""A run's epochs by column, NaN where a cell is empty; all of one length."""

_FIRST = ("epoch", "lr", "seconds")
_SPLITS = ("train", "validation", "test")


def read_columns(path: Path) -> Columns | None:
    """Return a file's columns; None where it is missing or no table of numbers.

    As ``store.metrics.read_metrics``, without its care for whole numbers and its messages: a report
    reads thousands.
    """
    try:
        lines = reading.text(path).splitlines()
        names = lines.pop(0).split(",")
        if not lines or any(line.count(",") != len(names) - 1 for line in lines):
            return None
        cells = ",".join(lines).split(",")
        try:
            values = list(map(float, cells))
        except ValueError:
            values = [float(cell or "nan") for cell in cells]
    except (OSError, ValueError, IndexError):
        return None
    table = np.array(values).reshape(len(lines), len(names))
    return dict(zip(names, table.T, strict=True)) if "epoch" in names else None


def diagnostics(runs: Sequence[Columns]) -> list[str]:
    """Return the columns that are the method's or the task's own, in order."""
    names = dict.fromkeys(name for columns in runs for name in columns)
    return [n for n in names if n not in _FIRST and n.partition("_")[0] not in _SPLITS]


def metrics(runs: Sequence[Columns]) -> list[str]:
    """Return the metrics beside the loss that the splits have: ``accuracy``."""
    names = dict.fromkeys(name for columns in runs for name in columns)
    found = dict.fromkeys(
        n.partition("_")[2] for n in names if n.partition("_")[0] in _SPLITS and "_" in n
    )
    return [each for each in found if each != "loss"]


@dataclass(frozen=True)
class Band:
    """A column over seeds: at each x the mean, the population std, and of how many runs."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    n: NDArray[np.int64]

    @property
    def low(self) -> NDArray[np.float64]:
        """One standard deviation below the mean."""
        return self.mean - self.std

    @property
    def high(self) -> NDArray[np.float64]:
        """One standard deviation above the mean."""
        return self.mean + self.std


def band(runs: Sequence[Columns], name: str) -> Band | None:
    """Return a column's band by epoch; None where no run has a finite value of it.

    An epoch counts the runs that have it: one that stopped early is in as far as it went.
    """
    having = [columns for columns in runs if name in columns]
    if not having:
        return None
    epochs = np.concatenate([columns["epoch"] for columns in having])
    values = np.concatenate([columns[name] for columns in having])
    finite = np.isfinite(epochs) & np.isfinite(values)
    x, place = np.unique(epochs[finite], return_inverse=True)
    if not x.size:
        return None
    values = values[finite]
    n = np.bincount(place)
    mean = np.bincount(place, values) / n
    variance = np.bincount(place, (values - mean[place]) ** 2) / n
    return Band(x, mean, np.sqrt(variance), n)


def elapsed(columns: Columns) -> NDArray[np.float64]:
    """Return the seconds from the start to the end of each epoch."""
    return np.cumsum(np.nan_to_num(columns["seconds"]))
