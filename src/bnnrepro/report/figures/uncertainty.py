"""Uncertainty figure: rejection and reliability curves, detection of out-of-distribution images.

All data are in a run's ``result.json``: ``uncertainty`` (curves of the test set at mode and mean)
and, with ``evaluate.ood``, ``ood`` (AUROC of detecting the other data set's images by entropy and
by mutual information). If a run was evaluated more than once, the evaluation with its cell's
settings counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.report import style
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.panels import in_bold, save_with_remarks
from bnnrepro.report.statistics import mean_and_std
from bnnrepro.runs import atomic

CELLS = (
    "uncertainty_mnist_ste",
    "uncertainty_mnist_bayesbinn",
    "uncertainty_mnist_bayesbinn_1e-2",
)
DIGITS_CELLS = tuple(name.replace("mnist", "digits") for name in CELLS)  # minutes, not days
SCORES = ("accuracy", "nll", "ece", "brier")
DETECTION = ("entropy", "mutual_information")
COLOURS = ("#b2182b", "#2166ac", "#1b7837", "#e08214", "#762a83")
LINES = {"mode": "--", "mean": "-"}
RunsByLabel = Mapping[str, Sequence[CollectedRun]]


def best_or_final(run: CollectedRun, prediction: str) -> Mapping[str, Any]:
    """Return the best epoch's figures where there is one, else the last's, at ``mode`` or ``mean``.

    Empty where the run has no such prediction, or not with the draws that its cell asks for.
    """
    evaluation = run.evaluation(prediction)
    epoch: Mapping[str, Any] = evaluation.get("best") or evaluation.get("final") or {}
    return epoch if prediction in epoch.get("test", {}) else {}


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot collected runs; see ``plot_results``.

    Raises:
        UserError: no run is finished.
    """
    runs = {results.cell.name: results.used for results in collected}
    if not any(runs.values()):
        raise UserError("figure", ", ".join(runs), "no run of these is finished")
    finished = {name: used for name, used in runs.items() if used}
    remarks = [*style.remarks(collected), *style.other_settings(collected)]
    return plot_results(finished, folder, [*remarks, *_meaningless_auroc(collected)])


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


def plot_results(runs: RunsByLabel, folder: Path, remarks: Sequence[str] = ()) -> list[Path]:
    """Write the curves as PNG and PDF, all their numbers as CSV, and a table; return the files.

    Remarks are put above picture and table.
    """
    files = save_with_remarks(_picture(runs), folder, "uncertainty", remarks)
    points, text = folder / "uncertainty.csv", folder / "uncertainty.md"
    atomic.write_text(points, _csv(runs))
    atomic.write_text(text, in_bold(remarks) + table(runs))
    return [*files, points, text]


def table(runs: RunsByLabel) -> str:
    """Return the scores, mean and standard deviation (n - 1) over runs, as Markdown."""
    names = [*SCORES, *(f"AUROC {name.replace('_', ' ')}" for name in DETECTION)]
    header = ["run", "prediction", "runs", *names]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for (label, group), prediction in product(runs.items(), LINES):
        figures = [epoch for run in group if (epoch := best_or_final(run, prediction))]
        if figures:
            tests = [epoch["test"][prediction] for epoch in figures]
            ood = [epoch.get("ood", {}).get(prediction, {}) for epoch in figures]
            texts = [mean_and_std([test[name] for test in tests]) for name in SCORES]
            texts += [mean_and_std([auroc[n] for auroc in ood if n in auroc]) for n in DETECTION]
            lines.append(f"| {label} | {prediction} | {len(figures)} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _curves(runs: RunsByLabel) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    for label, group in runs.items():
        for run, prediction in product(group, LINES):
            if epoch := best_or_final(run, prediction):
                yield label, prediction, run.expected.seed, epoch["uncertainty"][prediction]


def _csv(runs: RunsByLabel) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "prediction", "seed", "curve", "x", "y", "count"])
    for *first, curves in _curves(runs):
        rejection, bins = curves["rejection"], curves["reliability"]
        for rate, accuracy in zip(rejection["rate"], rejection["accuracy"], strict=True):
            writer.writerow([*first, "rejection", rate, accuracy, ""])
        for count, x, y in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True):
            if count:
                writer.writerow([*first, "reliability", x, y, count])
    return text.getvalue()


def _picture(runs: RunsByLabel) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    rejection, reliability = figure.subplots(1, 2)
    colours = dict(zip(runs, COLOURS, strict=False))
    named = set()
    for label, prediction, _, curves in _curves(runs):
        line = {"color": colours[label], "linestyle": LINES[prediction], "linewidth": 1.3}
        name = None if (label, prediction) in named else f"{label}, {prediction}"
        named.add((label, prediction))
        rates = [100 * rate for rate in curves["rejection"]["rate"]]
        rejection.plot(rates, curves["rejection"]["accuracy"], label=name, **line)
        bins = curves["reliability"]
        filled = [index for index, count in enumerate(bins["count"]) if count]
        x, y = ([bins[axis][index] for index in filled] for axis in ("confidence", "accuracy"))
        reliability.plot(x, y, marker=".", **line)
    reliability.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=0)
    rejection.set(
        xlabel="rejected, the most uncertain first (%)", ylabel="accuracy of the rest (%)"
    )
    reliability.set(xlabel="probability of the predicted class", ylabel="accuracy")
    rejection.legend(fontsize="small")
    return figure


FIGURE = Figure("uncertainty", "Uncertainty of classifiers on MNIST", CELLS, plot)
