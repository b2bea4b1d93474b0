"""Data of figures 2 and 3: ``map.npz`` of the runs, and the numbers beside the pictures.

A run on points in one or two dimensions saves its predictions on a grid and its training points,
all standardised, in ``map.npz`` (``bnnrepro.tasks.prediction_grid``). A mean counts only if map
and result have the draws that the cell asks for. A point of the grid is *far from the data* if its
nearest training point is at least ``FAR`` standard deviations of the inputs away.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnrepro.errors import UserError
from bnnrepro.report.cells import command
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.statistics import mean_and_std
from bnnrepro.runs import atomic
from bnnrepro.runs.reading import read_arrays

FILE = "map.npz"
FAR = {1: 1.0, 2: 2.0}  # by the number of inputs
NOISE_VARIANCE = 0.5  # of standardised targets: implied by the mean squared error
Arrays = Mapping[str, np.ndarray]
Numbers = dict[str, float]


@dataclass(frozen=True)
class GridRun:
    """A finished run with its map.

    Attributes:
        seed: the run's.
        figures: of the test points, or of the training points where there are no others, by
            prediction: ``mode``, and ``mean`` where there is a posterior.
        arrays: of ``map.npz``.
        test_points: their number.
    """

    seed: int
    figures: Mapping[str, Mapping[str, float]]
    arrays: Arrays
    test_points: int = 0


def grid_runs(results: CellResults) -> list[GridRun]:
    """Return a cell's finished runs.

    Raises:
        UserError: a run's map is missing or damaged, or its mean is not of the draws that the
            cell's configuration asks for; the error has the command that remakes it.
    """
    return [_grid_run(results, run) for run in results.used]


def _grid_run(results: CellResults, run: CollectedRun) -> GridRun:
    path = run.expected.folder.path / FILE
    try:
        arrays = _read(path)
        predictions = [name for name in ("mode", "mean") if name in arrays]
        evaluate = run.expected.config.evaluate
        settings = [str(arrays.get(key)) for key in ("samples", "average")]
        if "mean" in predictions and settings != [str(evaluate.samples), evaluate.average]:
            draws = f"{evaluate.samples} draws, {evaluate.average} averaged"
            raise UserError("map", str(path), f"its mean is not that of {draws}")
        figures = {prediction: _figures(run, prediction) for prediction in predictions}
        return GridRun(run.expected.seed, figures, arrays, run.result["n_test"])
    except UserError as error:
        remedy = f"{error.allowed}; to remake it:\n{command(results.cell, run.expected)}"
        raise UserError(error.key, error.value, remedy) from error


def _read(path: Path) -> Arrays:
    arrays = read_arrays(path)
    missing = {"inputs", "targets", "grid", "mode"} - set(arrays)
    if missing:
        raise UserError("map", str(path), f"damaged: has no {sorted(missing)[0]}")
    return arrays


def _figures(run: CollectedRun, prediction: str) -> Mapping[str, float]:
    """Return a run's figures; UserError if it was not evaluated with the cell's settings."""
    final = run.evaluation(prediction).get("final")
    if final is None:
        reason = "was not evaluated with the figure's evaluate.*"
        raise UserError("result", str(run.expected.folder.result), reason)
    figures: Mapping[str, float] = final.get("test", final["train"])[prediction]
    return figures


def far(arrays: Arrays) -> np.ndarray:
    """Return a mask of the grid's points far from the data, bool of shape (M,)."""
    squares = ((arrays["grid"][:, None] - arrays["inputs"][None]) ** 2).sum(2)
    return np.asarray(np.sqrt(squares.min(1)) >= FAR[arrays["grid"].shape[1]])


def classification_numbers(run: GridRun, prediction: str) -> Numbers:
    """Return a classifier's numbers: of the test set, and far from the data.

    ``far_entropy`` is the mean predictive entropy there (nats, at most log 2 = 0.693),
    ``far_confidence`` the mean probability of the predicted class.
    """
    probability = run.arrays[prediction][far(run.arrays)].astype(np.float64)
    both = np.stack([probability, 1 - probability])
    entropy = -(both * np.log(np.clip(both, 1e-300, None))).sum(0)
    figures = run.figures[prediction]
    return {
        **{name: float(figures[name]) for name in ("accuracy", "nll", "ece")},
        "far_entropy": float(entropy.mean()),
        "far_confidence": float(both.max(0).mean()),
    }


def regression_numbers(run: GridRun, prediction: str) -> Numbers:
    """Return a regression's numbers: of the test points, and far from the data.

    ``far_spread`` is the mean standard deviation over draws there, 0 at the mode;
    ``near_spread`` the same at the grid's other points. ``far_entropy`` is the mean differential
    entropy (nats) of the prediction, a Gaussian of variance 1/2 (the noise) plus the draws'.
    """
    figures = run.figures[prediction]
    spread = run.arrays["spread"] if prediction == "mean" else np.zeros_like(run.arrays["mode"])
    mask = far(run.arrays)
    variance = NOISE_VARIANCE + spread[mask].astype(np.float64) ** 2
    return {
        **{name: float(figures[name]) for name in ("rmse", "nll", "ece")},
        "far_entropy": float((np.log(2 * math.pi * math.e * variance) / 2).mean()),
        "far_spread": float(spread[mask].mean()),
        "near_spread": float(spread[~mask].mean()),
    }


FigureRow = tuple[str, str, int, Numbers]  # method, prediction, seed, numbers


def write_rows(path: Path, rows: Sequence[FigureRow]) -> Path:
    """Write a row per run and prediction as CSV; return the file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "prediction", "seed", *rows[0][3]])
    for method, prediction, seed, numbers in rows:
        writer.writerow([method, prediction, seed, *map(repr, numbers.values())])
    atomic.write_text(path, text.getvalue())
    return path


def table(rows: Sequence[FigureRow]) -> str:
    """Return mean and standard deviation (n - 1) over seeds as a Markdown table."""
    groups: dict[tuple[str, str], list[Numbers]] = {}
    for method, prediction, _, numbers in rows:
        groups.setdefault((method, prediction), []).append(numbers)
    names = list(rows[0][3])
    lines = [
        f"| method | prediction | runs | {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for (method, prediction), runs in groups.items():
        texts = " | ".join(mean_and_std([numbers[name] for numbers in runs]) for name in names)
        lines.append(f"| {method} | {prediction} | {len(runs)} | {texts} |")
    return "\n".join(lines) + "\n"


def verdict(rows: Sequence[FigureRow]) -> str:
    """Return a sentence: in how many seeds STE is more certain far from the data than BayesBiNN."""
    entropy = {(m, p, seed): numbers["far_entropy"] for m, p, seed, numbers in rows}
    seeds = sorted(
        seed
        for method, _, seed, _ in rows
        if method == "ste" and ("bayesbinn", "mean", seed) in entropy
    )
    if not seeds:
        return "No seed has both methods: the claim cannot be tested.\n"
    holds = [entropy["ste", "mode", s] < entropy["bayesbinn", "mean", s] for s in seeds]
    return (
        "Far from the data STE is more certain (its entropy is smaller) than BayesBiNN's mean in "
        f"{sum(holds)} of {len(seeds)} seeds.\n{_growth(rows)}"
    )


def _growth(rows: Sequence[FigureRow]) -> str:
    """Return a sentence on where a regression's spread is larger; empty for a classification."""
    spreads = [n for _, prediction, _, n in rows if prediction == "mean" and "far_spread" in n]
    if not spreads:
        return ""
    grown = sum(numbers["far_spread"] > numbers["near_spread"] for numbers in spreads)

    return (
        "STE has a single network, so its spread is 0 by construction: this shows no more than "
        "that BayesBiNN's draws differ. Their spread is larger far from the data than near it in "
        f"{grown} of {len(spreads)} seeds.\n"
    )
