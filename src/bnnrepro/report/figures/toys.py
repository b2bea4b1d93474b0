"""Figures 2 and 3: predictions of STE and of BayesBiNN between the points they were trained on.

A run on points in one or two dimensions saves its predictions on a grid and its training points,
all standardised, in ``map.npz`` (``bnnrepro.tasks.prediction_grid``). A mean counts only if map
and result have the draws that the cell asks for. A point of the grid is *far from the data* if its
nearest training point is at least ``FAR`` standard deviations of the inputs away. A picture shows
the first seed; the numbers are of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bnnrepro.errors import UserError
from bnnrepro.report.cells import command
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import finish, markdown, need_runs, remarks, write_text
from bnnrepro.report.style import INK, looks, method_label, style
from bnnrepro.report.tables import SHORTENED
from bnnrepro.runs.layout import MAP
from bnnrepro.runs.reading import read_arrays

FAR = {1: 1.0, 2: 2.0}  # by the number of inputs
LIMIT = 3.0  # of the axes, in standard deviations of the inputs
SHOWN = {
    ("ste", "mode"): "",
    ("bayesbinn", "mode"): ", mode",
    ("bayesbinn", "mean"): ", mean of draws",
}
"""Methods and predictions shown; what follows the method's label."""

_REGRESSION = (
    "Regression, everything standardised: RMSE, NLL (nats) and ECE of the test points, or of the "
    "training points where there are no others (Snelson's set). The NLL's noise is a Gaussian's of "
    "variance 1/2, which the mean squared error implies; the draws' variance adds to it. Far "
    "from the data is at least 1 standard deviation of the inputs from every training point, "
    "within 4 of the centre; spread is the standard deviation over draws. The picture shows the "
    "first seed; mean ± sample standard deviation over seeds below."
)
_TWO_MOONS = (
    "Two moons: accuracy (%), NLL (nats) and ECE of {points:,} test points; far entropy (nats) and "
    "far confidence at least 2 standard deviations from every training point, within 4 of the "
    "centre. The picture shows the first seed; mean ± sample standard deviation over seeds below."
)
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class GridRun:
    """A finished run with its map.

    ``figures`` are of the test points, or of the training points where there are no others, by
    prediction: ``mode``, and ``mean`` where there is a posterior; ``arrays`` are ``map.npz``.
    """

    seed: int
    figures: Mapping[str, Mapping[str, float]]
    arrays: Arrays


Runs = Mapping[str, Sequence[GridRun]]  # by method


@style()
def _plot(
    name: str,
    title: str,
    picture: Callable[[Runs], Any],
    caption: str,
    collected: Sequence[CellResults],
    folder: Path,
) -> list[Path]:
    """Draw a figure and write its numbers and a text; runs of a shortened protocol get no verdict.

    The text begins with ``caption``, which has a place for the number of test points.
    """
    need_runs(collected)
    points = next(run.result["n_test"] for results in collected for run in results.used)
    runs = {results.cell.method: grid_runs(results) for results in collected}
    texts, table, stem = remarks(collected), table_of(runs), f"figure{name}"
    files = finish(picture(runs), title, texts, table, folder, stem, columns=3)
    end = [] if any(SHORTENED in text for text in texts) else [verdict(table)]
    summary = markdown(table, ["method", "prediction"], list(table.columns[3:]))
    paragraphs = (caption.format(points=points), summary, *end)
    return [*files, write_text(folder / f"{stem}.md", texts, *paragraphs)]


def grid_runs(results: CellResults) -> list[GridRun]:
    """Return a cell's finished runs.

    Raises:
        UserError: a run's map is missing or damaged, or its mean is not of the draws that the
            cell's configuration asks for; the error has the command that remakes it.
    """
    runs = []
    for run in results.used:
        try:
            runs.append(_grid_run(run))
        except UserError as error:
            remedy = f"{error.allowed}; to remake it:\n{command(results.cell, run.expected)}"
            raise UserError(error.key, error.value, remedy) from error
    return runs


def _grid_run(run: CollectedRun) -> GridRun:
    path, evaluate = run.expected.folder.path / MAP, run.expected.config.evaluate
    arrays, figures = read_arrays(path), {}
    if missing := {"inputs", "targets", "grid", "mode"} - set(arrays):
        raise UserError("map", str(path), f"damaged: has no {sorted(missing)[0]}")
    settings = [str(arrays.get(key)) for key in ("samples", "average")]
    if "mean" in arrays and settings != [str(evaluate.samples), evaluate.average]:
        draws = f"{evaluate.samples} draws, {evaluate.average} averaged"
        raise UserError("map", str(path), f"its mean is not that of {draws}")
    for prediction in (name for name in ("mode", "mean") if name in arrays):
        final = run.evaluation(prediction).get("final")
        if final is None:
            reason = "was not evaluated with the figure's evaluate.*"
            raise UserError("result", str(run.expected.folder.result), reason)
        figures[str(prediction)] = final.get("test", final["train"])[prediction]
    return GridRun(run.expected.seed, figures, arrays)


def far(arrays: Arrays) -> np.ndarray:
    """Return a mask of the grid's points far from the data, bool of shape (M,)."""
    squares = ((arrays["grid"][:, None] - arrays["inputs"][None]) ** 2).sum(2)
    return np.asarray(np.sqrt(squares.min(1)) >= FAR[arrays["grid"].shape[1]])


def numbers(run: GridRun, prediction: str) -> dict[str, float]:
    """Return a run's numbers: of the test points, and far from the data.

    ``far_entropy`` is the mean predictive entropy there, in nats: of a class (at most log 2 =
    0.693), or the differential entropy of a Gaussian whose variance is the noise's plus the draws'.
    Of a classification ``far_confidence`` is the mean probability of the predicted class; of a
    regression ``far_spread`` is the mean standard deviation over draws, 0 at the mode, and
    ``near_spread`` the same at the grid's other points.
    """
    mask, figures = far(run.arrays), run.figures[prediction]
    names = ("accuracy" if "accuracy" in figures else "rmse", "nll", "ece")
    tested = {name: float(figures[name]) for name in names}
    if names[0] == "accuracy":
        probability = run.arrays[prediction][mask].astype(np.float64)
        both = np.stack([probability, 1 - probability])
        entropy = -(both * np.log(np.clip(both, 1e-300, None))).sum(0)
        own = {"far_confidence": float(both.max(0).mean())}
    else:
        from bnnrepro.tasks.regression import NOISE_VARIANCE

        spread = run.arrays["spread"] if prediction == "mean" else np.zeros_like(run.arrays["mode"])
        variance = NOISE_VARIANCE + spread[mask].astype(np.float64) ** 2
        entropy = np.log(2 * math.pi * math.e * variance) / 2
        own = {f"{n}_spread": float(spread[m].mean()) for n, m in (("far", mask), ("near", ~mask))}
    return {**tested, "far_entropy": float(entropy.mean()), **own}


def table_of(runs: Runs) -> pd.DataFrame:
    """Return a row for every run and prediction that the figure shows."""
    rows = [
        {"method": method, "prediction": prediction, "seed": run.seed, **numbers(run, prediction)}
        for method, prediction in SHOWN
        for run in runs.get(method, ())
        if prediction in run.figures
    ]
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> str:
    """Return a sentence: in how many seeds STE is more certain far from the data than BayesBiNN."""
    mean = table[table["prediction"] == "mean"]
    both = table[table["method"] == "ste"].merge(mean, on="seed", suffixes=("", "_of_mean"))
    if both.empty:
        return "No seed has both methods: the claim cannot be tested.\n"
    holds = int((both["far_entropy"] < both["far_entropy_of_mean"]).sum())
    sentence = (
        "Far from the data STE is more certain (its entropy is smaller) than BayesBiNN's mean in "
        f"{holds} of {len(both)} seeds.\n"
    )
    if "far_spread" not in table:
        return sentence
    grown = int((mean["far_spread"] > mean["near_spread"]).sum())
    return (
        f"{sentence}STE has a single network, so its spread is 0 by construction: this shows no "
        "more than that BayesBiNN's draws differ. Their spread is larger far from the data than "
        f"near it in {grown} of {len(mean)} seeds.\n"
    )


def _surfaces(runs: Runs) -> Any:
    from matplotlib.figure import Figure

    shown = {key: runs[key[0]][0] for key in SHOWN if runs.get(key[0])}
    figure = Figure(figsize=(2.2 * len(shown) + 0.6, 3.2))
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, ((method, prediction), run) in zip(axes, shown.items(), strict=True):
        side = round(len(run.arrays["grid"]) ** 0.5)
        axis = run.arrays["grid"][:side, 1]
        image = panel.pcolormesh(
            axis, axis, run.arrays[prediction].reshape(side, side).T,
            vmin=0, vmax=1, cmap="RdBu_r", shading="nearest", rasterized=True,
        )  # fmt: skip
        for label, (marker, colour) in enumerate((("o", "#053061"), ("^", "#67001f"))):
            x, y = run.arrays["inputs"][run.arrays["targets"] == label].T
            look = {"marker": marker, "ec": "white", "linewidths": 0.5}
            panel.scatter(x, y, 12, colour, label=f"class {label}", **look)
        panel.set(
            title=f"{method_label(method)}{SHOWN[method, prediction]}",
            xlabel="input 1",
            aspect="equal",
        )
        panel.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    axes[0].set_ylabel("input 2")
    figure.colorbar(image, ax=axes, label="P(class 1)", shrink=0.9)
    return figure


def _lines(runs: Runs) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.3))
    panel = figure.subplots()
    points = next(run for group in runs.values() for run in group).arrays
    for (method, prediction), ending in SHOWN.items():
        label = f"{method_label(method)}{ending}"
        look = looks()[method] | {"label": label}
        if (method, prediction) == ("bayesbinn", "mode"):
            look |= {"color": INK, "linestyle": "--"}
        for run in runs.get(method, ())[:1]:
            x, y = run.arrays["grid"][:, 0], run.arrays[prediction]
            panel.plot(x, y, **look)
            if prediction == "mean":
                twice, name = 2 * run.arrays["spread"], "± 2 standard deviations of the draws"
                colour = look["color"]
                panel.fill_between(x, y - twice, y + twice, color=colour, alpha=0.2, label=name)
    inputs, targets = points["inputs"][:, 0], points["targets"]
    panel.scatter(inputs, targets, 8, "black", label="data", zorder=3)
    panel.set(xlabel="input", ylabel="target", xlim=(-LIMIT, LIMIT))
    return figure


REGRESSION, TWO_MOONS = (
    Figure(name, title, f"figure{name}", partial(_plot, name, title, picture, caption))
    for name, title, picture, caption in (
        ("2", "Regression: STE, BayesBiNN at the mode and the mean of draws", _lines, _REGRESSION),
        ("3", "Two moons: the probability of class 1 in the plane", _surfaces, _TWO_MOONS),
    )
)
