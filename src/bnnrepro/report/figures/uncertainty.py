"""What classifiers know of their errors: rejection, reliability, other images told apart.

A run's ``result.json`` has all of it: ``uncertainty`` (curves of the test set at mode and mean)
and, with ``evaluate.ood``, ``ood`` (AUROC of telling the other data set's images by entropy and by
mutual information). Of a run that was evaluated more than once, the evaluation that its cell asks
for counts.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.report import style as drawing
from bnnrepro.report.collect import Collected, CollectedRun
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.panels import in_bold, remark, save
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
Results = Mapping[str, Sequence[CollectedRun]]  # by what they are called


def chosen(run: CollectedRun, kind: str) -> Mapping[str, Any]:
    """Return the figures that count at ``mode`` or ``mean``: the best epoch's where there is one.

    They are empty where the run has no such prediction, or not of the draws that its cell asks for.
    """
    figures = run.evaluation(kind)
    moment: Mapping[str, Any] = figures.get("best") or figures.get("final") or {}
    return moment if kind in moment.get("test", {}) else {}


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw from collected runs; see ``draw_results``.

    Raises:
        UserError: no run is finished.
    """
    results = {each.cell.name: each.used for each in collected}
    if not any(results.values()):
        raise UserError("figure", ", ".join(results), "no run of these is finished")
    there = {name: found for name, found in results.items() if found}
    remarks = [*drawing.remarks(collected), *drawing.evaluated_otherwise(collected)]
    return draw_results(there, folder, [*remarks, *_told_from_themselves(collected)])


def _told_from_themselves(collected: Sequence[Collected]) -> list[str]:
    """Return a remark where the set to be told apart stands in for the run's own; or none."""
    runs = [run for each in collected for run in each.used]
    same = {
        run.result["dataset"]
        for run in runs
        if run.expected.config.evaluate.ood == run.result["dataset"]
    }
    return [f"{each} told from themselves: the AUROC means nothing" for each in sorted(same)]


def draw_results(results: Results, folder: Path, remarks: Sequence[str] = ()) -> list[Path]:
    """Write the curves as PNG and PDF, all their numbers as CSV, and a table; return the files.

    Remarks stand above picture and table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture = _picture(results)
    remark(picture, remarks)
    files = save("uncertainty", picture, folder)
    points, text = folder / "uncertainty.csv", folder / "uncertainty.md"
    atomic.write_text(points, _csv(results))
    atomic.write_text(text, in_bold(remarks) + table(results))
    return [*files, points, text]


def table(results: Results) -> str:
    """Return the scores, mean and standard deviation (n - 1) over runs, as Markdown."""
    names = [*SCORES, *(f"AUROC {name.replace('_', ' ')}" for name in DETECTION)]
    heading = ["run", "prediction", "runs", *names]
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for label, runs in results.items():
        for kind in ("mode", "mean"):
            found = [each for run in runs if (each := chosen(run, kind))]
            if found:
                cells = [_summed([each["test"][kind][name] for each in found]) for name in SCORES]
                told = [each.get("ood", {}).get(kind, {}) for each in found]
                cells += [_summed([each[n] for each in told if n in each]) for n in DETECTION]
                lines.append(f"| {label} | {kind} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _summed(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def _curves(results: Results) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    for label, runs in results.items():
        for run in runs:
            for kind in ("mode", "mean"):
                if found := chosen(run, kind):
                    yield label, kind, run.expected.seed, found["uncertainty"][kind]


def _csv(results: Results) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "prediction", "seed", "curve", "x", "y", "count"])
    for label, kind, seed, curves in _curves(results):
        first = (label, kind, seed)
        left, bins = curves["rejection"], curves["reliability"]
        for rate, accuracy in zip(left["rate"], left["accuracy"], strict=True):
            writer.writerow([*first, "rejection", rate, accuracy, ""])
        for count, x, y in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True):
            if count:
                writer.writerow([*first, "reliability", x, y, count])
    return text.getvalue()


def _picture(results: Results) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    rejection, reliability = figure.subplots(1, 2)
    colours = dict(zip(results, COLOURS, strict=False))
    named = set()
    for label, kind, _, curves in _curves(results):
        style = {"color": colours[label], "linestyle": LINES[kind], "linewidth": 1.3}
        name = None if (label, kind) in named else f"{label}, {kind}"
        named.add((label, kind))
        left, bins = curves["rejection"], curves["reliability"]
        rates = [100 * rate for rate in left["rate"]]
        rejection.plot(rates, left["accuracy"], label=name, **style)
        filled = [place for place, count in enumerate(bins["count"]) if count]
        x, y = ([bins[axis][place] for place in filled] for axis in ("confidence", "accuracy"))
        reliability.plot(x, y, marker=".", **style)
    reliability.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=0)
    rejection.set(
        xlabel="rejected, the most uncertain first (%)", ylabel="accuracy of the rest (%)"
    )
    reliability.set(xlabel="probability of the predicted class", ylabel="accuracy")
    rejection.legend(fontsize="small")
    return figure


FIGURE = Figure("uncertainty", "What classifiers know of their errors, on MNIST", CELLS, draw)
