"""Uncertainty figure: rejection and reliability curves, detection of out-of-distribution images.

All data are in a run's ``result.json``: ``uncertainty`` (curves of the test set at mode and mean)
and, with ``evaluate.ood``, ``ood`` (AUROC of detecting the other data set's images by entropy and
by mutual information). If a run was evaluated more than once, the evaluation with its cell's
settings counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import (
    evaluations,
    finish,
    markdown,
    need_runs,
    other_settings,
    remarks,
    write_text,
)
from bnnrepro.report.style import EDGE, looks, style

SCORES = ("accuracy", "nll", "ece", "brier")
DETECTION = ("entropy", "mutual_information")
LINES = {"mode": "--", "mean": "-"}


@style()
def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Write the curves as PNG and PDF, all their numbers as CSV, and a table; return the files.

    Raises:
        UserError: no run is finished.
    """
    need_runs(collected)
    texts = [*remarks(collected), *other_settings(collected), *_meaningless_auroc(collected)]
    runs = list(evaluations(collected, "best", "final"))
    points = pd.DataFrame([point for run in runs for point in _points(*run)])
    scores = pd.DataFrame([_score(*run) for run in runs])
    title, about = "Uncertainty of classifiers", "Mean ± sample standard deviation over runs."
    files = finish(_picture(points), title, texts, points, folder, "uncertainty", columns=2)
    table = markdown(scores, ["cell", "prediction"], list(scores.columns[-6:]))
    return [*files, write_text(folder / "uncertainty.md", texts, about, table)]


def _meaningless_auroc(collected: Sequence[CellResults]) -> list[str]:
    """Return a remark where the OOD set is the test set itself, by a stand-in; or none."""
    runs = [run for results in collected for run in results.used]
    same = {
        run.result["dataset"]
        for run in runs
        if run.expected.config.evaluate.ood == run.result["dataset"]
    }
    end = "is the test set itself: the AUROC is meaningless"
    return [f"the OOD set ({name}) {end}" for name in sorted(same)]


def _score(first: Mapping[str, Any], moment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's scores, and the AUROC where there are other images, as a row of the table."""
    prediction = first["prediction"]
    test, ood = moment["test"][prediction], moment.get("ood", {}).get(prediction, {})
    return {
        **first,
        **{name: test[name] for name in SCORES},
        **{f"AUROC_{name}": ood.get(name) for name in DETECTION},
    }


def _points(first: Mapping[str, Any], moment: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the points of a run's two curves; a bin of the second without images is none."""
    curves = moment["uncertainty"][first["prediction"]]
    rejection, bins = curves["rejection"], curves["reliability"]
    for x, y in zip(rejection["rate"], rejection["accuracy"], strict=True):
        yield {**first, "curve": "rejection", "x": x, "y": y, "count": None}
    for count, x, y in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True):
        if count:
            yield {**first, "curve": "reliability", "x": x, "y": y, "count": count}


def _picture(points: pd.DataFrame) -> Any:
    from matplotlib import figure as mpl

    figure = mpl.Figure(figsize=(7.2, 3.4))
    rejection, reliability = figure.subplots(1, 2)
    styles = looks({cell: cell.removeprefix("experiment=") for cell in points["cell"].unique()})
    kinds = points.groupby(["cell", "prediction", "seed", "curve"], sort=False)
    for (cell, prediction, _, curve), line in kinds:
        look = styles[cell] | {"linestyle": LINES[prediction]}
        look["label"] = f"{look['label']}, {prediction}"
        if curve == "rejection":
            rejection.plot(100 * line["x"], line["y"], **look)
        else:
            reliability.plot(line["x"], line["y"], marker=".", **look)
    reliability.plot([0, 1], [0, 1], color=EDGE, linewidth=0.8, zorder=0)
    reliability.set(xlabel="probability of the predicted class", ylabel="accuracy")
    rejection.set(
        xlabel="rejected, the most uncertain first (%)", ylabel="accuracy of the rest (%)"
    )
    return figure


FIGURE = Figure("uncertainty", "Uncertainty of classifiers on MNIST", "uncertainty", plot)
DIGITS = Figure(  # minutes, not days
    "uncertainty_digits", "Uncertainty of classifiers on digits", "uncertainty_digits", plot
)
