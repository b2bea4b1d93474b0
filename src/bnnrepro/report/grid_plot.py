"""What figures 2 and 3 read from runs: ``map.npz``, and the numbers beside the pictures.

A run of points in one or two dimensions leaves the predictions on a grid and its training points,
all standardised, in ``map.npz`` (``bnnrepro.tasks.prediction_grid``). A mean counts only if it is
of the draws that the cell asks for, in the map and in the result. *Far from the data* are the
points of the grid whose nearest training point is at least ``FAR`` standard deviations of the
inputs away.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnrepro.errors import UserError
from bnnrepro.report.cells import command
from bnnrepro.report.collect import Collected, CollectedRun
from bnnrepro.runs import atomic
from bnnrepro.runs.reading import read_arrays

FILE = "map.npz"
FAR = {1: 1.0, 2: 2.0}  # by the number of inputs
NOISE_VARIANCE = 0.5  # of standardised targets: what the mean squared error stands for
Arrays = Mapping[str, np.ndarray]
Numbers = dict[str, float]


@dataclass(frozen=True)
class Mapped:
    """A finished run with its map.

    Attributes:
        seed: the run's.
        figures: of the test points, or of the training points where there are no others, by the
            kind of prediction: ``mode``, and ``mean`` where there is a posterior.
        arrays: of ``map.npz``.
        test_points: how many there are.
    """

    seed: int
    figures: Mapping[str, Mapping[str, float]]
    arrays: Arrays
    test_points: int = 0

    @property
    def kinds(self) -> list[str]:
        """The kinds of prediction that it has."""
        return list(self.figures)


def mapped(collected: Collected) -> list[Mapped]:
    """Return a cell's finished runs.

    Raises:
        UserError: a run's map is missing or damaged, or its mean is not of the draws that the
            cell's configuration asks for; the error has the line that makes it anew.
    """
    return [_mapped(collected, run) for run in collected.used]


def _mapped(collected: Collected, run: CollectedRun) -> Mapped:
    path = run.expected.folder.path / FILE
    try:
        arrays = _read(path)
        kinds = [kind for kind in ("mode", "mean") if kind in arrays]
        wanted = run.expected.config.evaluate
        there = [str(arrays.get(key)) for key in ("samples", "average")]
        if "mean" in kinds and there != [str(wanted.samples), wanted.average]:
            draws = f"{wanted.samples} draws, {wanted.average} averaged"
            raise UserError("map", str(path), f"its mean is not that of {draws}")
        figures = {kind: _judged(run, kind) for kind in kinds}
        return Mapped(run.expected.seed, figures, arrays, run.result["n_test"])
    except UserError as error:
        anew = f"{error.allowed}; this makes it anew:\n{command(collected.cell, run.expected)}"
        raise UserError(error.key, error.value, anew) from error


def _read(path: Path) -> Arrays:
    arrays = read_arrays(path)
    missing = {"inputs", "targets", "grid", "mode"} - set(arrays)
    if missing:
        raise UserError("map", str(path), f"damaged: has no {sorted(missing)[0]}")
    return arrays


def _judged(run: CollectedRun, kind: str) -> Mapping[str, float]:
    """Return a run's figures; UserError if it was not evaluated as its cell says."""
    final = run.evaluation(kind).get("final")
    if final is None:
        asked = "was not evaluated as the figure's evaluate.* says"
        raise UserError("result", str(run.expected.folder.result), asked)
    return final.get("test", final["train"])[kind]


def far(arrays: Arrays) -> np.ndarray:
    """Return which of the grid's points are far from the data, bool of shape (M,)."""
    squares = ((arrays["grid"][:, None] - arrays["inputs"][None]) ** 2).sum(2)
    return np.sqrt(squares.min(1)) >= FAR[arrays["grid"].shape[1]]


def class_numbers(run: Mapped, kind: str) -> Numbers:
    """Return a classifier's numbers: of the test set, and far from the data.

    ``far_entropy`` is the mean predictive entropy there (nats, at most log 2 = 0.693),
    ``far_confidence`` the mean probability of the class that is predicted.
    """
    chance = run.arrays[kind][far(run.arrays)].astype(np.float64)
    both = np.stack([chance, 1 - chance])
    entropy = -(both * np.log(np.clip(both, 1e-300, None))).sum(0)
    figures = run.figures[kind]
    return {
        **{name: float(figures[name]) for name in ("accuracy", "nll", "ece")},
        "far_entropy": float(entropy.mean()),
        "far_confidence": float(both.max(0).mean()),
    }


def value_numbers(run: Mapped, kind: str) -> Numbers:
    """Return a regression's numbers: of the points judged, and far from the data.

    ``far_spread`` is the mean standard deviation over draws there, 0 at the mode;
    ``near_spread`` the same at the grid's other points. ``far_entropy`` is the mean differential
    entropy (nats) of the prediction, a Gaussian of variance 1/2 (the noise) plus the draws'.
    """
    figures = run.figures[kind]
    spread = run.arrays["spread"] if kind == "mean" else np.zeros_like(run.arrays["mode"])
    place = far(run.arrays)
    variance = NOISE_VARIANCE + spread[place].astype(np.float64) ** 2
    return {
        **{name: float(figures[name]) for name in ("rmse", "nll", "ece")},
        "far_entropy": float((np.log(2 * math.pi * math.e * variance) / 2).mean()),
        "far_spread": float(spread[place].mean()),
        "near_spread": float(spread[~place].mean()),
    }


Row = tuple[str, str, int, Numbers]  # method, kind, seed, numbers


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write a row a run and kind of prediction as CSV; return the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "prediction", "seed", *rows[0][3]])
    for method, kind, seed, numbers in rows:
        writer.writerow([method, kind, seed, *map(repr, numbers.values())])
    atomic.write_text(path, text.getvalue())
    return path


def table(rows: Sequence[Row]) -> str:
    """Return mean and standard deviation (n - 1) over seeds as a Markdown table."""
    groups: dict[tuple[str, str], list[Numbers]] = {}
    for method, kind, _, numbers in rows:
        groups.setdefault((method, kind), []).append(numbers)
    names = list(rows[0][3])
    lines = [
        f"| method | prediction | runs | {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for (method, kind), found in groups.items():
        cells = " | ".join(_summed([each[name] for each in found]) for name in names)
        lines.append(f"| {method} | {kind} | {len(found)} | {cells} |")
    return "\n".join(lines) + "\n"


def _summed(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.4g}" + (f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else "")


def verdict(rows: Sequence[Row]) -> str:
    """Say whether STE is more certain far from the data than BayesBiNN's mean, seed by seed."""
    entropy = {(m, k, seed): numbers["far_entropy"] for m, k, seed, numbers in rows}
    seeds = sorted(
        seed
        for method, _, seed, _ in rows
        if method == "ste" and ("bayesbinn", "mean", seed) in entropy
    )
    if not seeds:
        return "No seed has both methods: nothing can be said of the claim.\n"
    holds = [entropy["ste", "mode", s] < entropy["bayesbinn", "mean", s] for s in seeds]
    return (
        "Far from the data STE is more certain (its entropy is smaller) than BayesBiNN's mean in "
        f"{sum(holds)} of {len(seeds)} seeds.\n{_growth(rows)}"
    )


def _growth(rows: Sequence[Row]) -> str:
    """Say of a regression what its entropies alone do not show; nothing of a classification."""
    spreads = [n for _, kind, _, n in rows if kind == "mean" and "far_spread" in n]
    if not spreads:
        return ""
    grown = sum(each["far_spread"] > each["near_spread"] for each in spreads)
    return (
        "STE has a single network, so its spread is 0 by construction: this shows no more than "
        "that BayesBiNN's draws differ. Their spread is larger far from the data than near it in "
        f"{grown} of {len(spreads)} seeds.\n"
    )
