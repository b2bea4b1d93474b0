"""Columns of ``metrics.csv`` files: fast reading, and averages over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnnrepro.report.published import SPLITS
from bnnrepro.runs import reading

Columns = Mapping[str, NDArray[np.float64]]
"""A run's columns over epochs, all of one length; NaN where a value is empty."""

_GENERAL = ("epoch", "lr", "seconds")


def read_columns(path: Path) -> Columns | None:
    """Return a file's columns; None where it is missing or no table of numbers.

    A faster ``runs.metrics.read_metrics``, without its whole numbers and its messages: a report
    reads thousands of files.
    """
    try:
        lines = reading.text(path).splitlines()
        names = lines.pop(0).split(",")
        if not lines or any(line.count(",") != len(names) - 1 for line in lines):
            return None
        texts = ",".join(lines).split(",")
        try:
            values = list(map(float, texts))
        except ValueError:
            values = [float(text or "nan") for text in texts]
    except (OSError, ValueError, IndexError):
        return None
    table = np.array(values).reshape(len(lines), len(names))
    return dict(zip(names, table.T, strict=True)) if "epoch" in names else None


def diagnostics(runs: Sequence[Columns]) -> list[str]:
    """Return the names of the method's or the task's own columns, in order."""
    names = dict.fromkeys(name for columns in runs for name in columns)
    return [n for n in names if n not in _GENERAL and n.partition("_")[0] not in SPLITS]


def metrics(runs: Sequence[Columns]) -> list[str]:
    """Return the splits' metrics other than the loss: ``accuracy``."""
    names = (name.partition("_") for columns in runs for name in columns)
    of_splits = dict.fromkeys(metric for split, _, metric in names if split in SPLITS and metric)
    return [metric for metric in of_splits if metric != "loss"]


@dataclass(frozen=True)
class Band:
    """A column over seeds: at each x the mean, the population std, and the number of runs."""

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

    Each epoch averages the runs that reached it: a run that stopped early counts up to there.
    """
    runs = [columns for columns in runs if name in columns]
    if not runs:
        return None
    epochs = np.concatenate([columns["epoch"] for columns in runs])
    values = np.concatenate([columns[name] for columns in runs])
    finite = np.isfinite(epochs) & np.isfinite(values)
    x, index = np.unique(epochs[finite], return_inverse=True)
    if not x.size:
        return None
    values = values[finite]
    n = np.bincount(index)
    mean = np.bincount(index, values) / n
    variance = np.bincount(index, (values - mean[index]) ** 2) / n

    return Band(x, mean, np.sqrt(variance), n)


def elapsed(columns: Columns) -> NDArray[np.float64]:
    """Return the seconds from the start to the end of each epoch."""
    return np.cumsum(np.nan_to_num(columns["seconds"]))
