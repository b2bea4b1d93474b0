"""Pictures of figures 2 and 3, from runs' predictions on a grid; a picture shows the first seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.report.collect import CellResults
from bnnrepro.report.grid_plot import (
    FigureRow,
    GridRun,
    Numbers,
    grid_runs,
    table,
    verdict,
    write_rows,
)
from bnnrepro.report.style import save_picture
from bnnrepro.report.tables import SHORTENED
from bnnrepro.runs import atomic

Runs = Mapping[str, Sequence[GridRun]]  # by method
NAMES = {
    ("ste", "mode"): "STE",
    ("bayesbinn", "mode"): "BayesBiNN, mode",
    ("bayesbinn", "mean"): "BayesBiNN, mean of draws",
}
COLOURS = {"ste": "#b2182b", "mode": "#4d4d4d", "mean": "#2166ac"}
LIMIT = 3.0  # of the axes, in standard deviations of the inputs


def by_method(collected: Sequence[CellResults]) -> Runs:
    """Return the finished runs of each method's cell, with their maps.

    Raises:
        UserError: no run is finished, or a map is missing, damaged or of other draws.
    """
    runs = {results.cell.method: grid_runs(results) for results in collected}
    if not any(runs.values()):
        names = ", ".join(results.cell.name for results in collected)
        raise UserError("figure", names, "no run of these is finished")
    return runs


def rows_of(runs: Runs, numbers: Callable[[GridRun, str], Numbers]) -> list[FigureRow]:
    """Return a row for every run and prediction that the figure shows."""
    return [
        (method, prediction, run.seed, numbers(run, prediction))
        for method, prediction in NAMES
        for run in runs.get(method, ())
        if prediction in run.figures
    ]


def plot_surfaces(runs: Runs) -> Any:
    """Plot figure 3: the probability of class 1 in the plane, one colour scale for all panels."""
    from matplotlib.figure import Figure

    shown = [(key, runs[key[0]][0]) for key in NAMES if runs.get(key[0])]
    figure = Figure(figsize=(4.2 * len(shown) + 1, 4.8), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, ((method, prediction), run) in zip(axes, shown, strict=True):
        side = round(len(run.arrays["grid"]) ** 0.5)
        axis = run.arrays["grid"][:side, 1]
        image = panel.pcolormesh(
            axis, axis, run.arrays[prediction].reshape(side, side).T,
            vmin=0, vmax=1, cmap="RdBu_r", shading="nearest", rasterized=True,
        )  # fmt: skip
        for label, marker in ((0, "o"), (1, "^")):
            x, y = run.arrays["inputs"][run.arrays["targets"] == label].T
            colour = ("#053061", "#67001f")[label]
            panel.scatter(
                x, y, s=14, marker=marker, c=colour, edgecolors="white", linewidths=0.5,
                label=f"class {label}",
            )  # fmt: skip
        panel.set(title=NAMES[method, prediction], xlabel="input 1", xlim=(-LIMIT, LIMIT))
        panel.set(ylim=(-LIMIT, LIMIT), aspect="equal")
    axes[0].set_ylabel("input 2")
    axes[0].legend(loc="lower left", framealpha=0.9)
    figure.colorbar(image, ax=axes, label="P(class 1)", shrink=0.9)
    return figure


def plot_curves(runs: Runs) -> Any:
    """Plot figure 2: STE, BayesBiNN's mode, its mean with 2 standard deviations, and the data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    panel = figure.subplots()
    points = next(run for group in runs.values() for run in group).arrays
    for run in runs.get("bayesbinn", ())[:1]:
        x, mean, twice = run.arrays["grid"][:, 0], run.arrays["mean"], 2 * run.arrays["spread"]
        blue, label = COLOURS["mean"], "± 2 standard deviations"
        panel.fill_between(x, mean - twice, mean + twice, color=blue, alpha=0.2, label=label)
        mode = run.arrays["mode"]
        panel.plot(x, mode, "--", color=COLOURS["mode"], label=NAMES["bayesbinn", "mode"])
        panel.plot(x, mean, color=blue, label=NAMES["bayesbinn", "mean"])
    for run in runs.get("ste", ())[:1]:
        x, mode = run.arrays["grid"][:, 0], run.arrays["mode"]
        panel.plot(x, mode, color=COLOURS["ste"], label=NAMES["ste", "mode"])
    panel.scatter(
        points["inputs"][:, 0], points["targets"], s=10, c="black", label="data", zorder=3
    )
    panel.set(xlabel="input", ylabel="target", xlim=(-LIMIT, LIMIT))
    panel.legend(loc="best", fontsize="small")
    return figure


def write(
    name: str,
    picture: Any,
    rows: Sequence[FigureRow],
    folder: Path,
    caption: str,
    remarks: Sequence[str] = (),
) -> list[Path]:
    """Write ``name`` as PNG, PDF, CSV and Markdown into a folder; return the files.

    Remarks are put above picture and text. Runs of a shortened protocol say nothing about the
    paper's claim, so there is no verdict where the remarks contain ``SHORTENED``.
    """
    files = save_with_remarks(picture, folder, name, remarks)
    files.append(write_rows(folder / f"{name}.csv", rows))
    text = folder / f"{name}.md"
    end = "" if any(SHORTENED in remark for remark in remarks) else f"\n{verdict(rows)}"
    atomic.write_text(text, f"{in_bold(remarks)}{caption}\n\n{table(rows)}{end}")
    return [*files, text]


def save_with_remarks(picture: Any, folder: Path, name: str, remarks: Sequence[str]) -> list[Path]:
    """Write a picture with remarks above it as PNG and PDF; return the files."""
    if remarks:
        picture.suptitle("\n".join(remarks), fontsize=9)
    return save_picture(picture, folder, name, dpi=150)


def in_bold(remarks: Sequence[str]) -> str:
    """Return remarks as a bold paragraph of Markdown; empty where there are none."""
    return f"**{'; '.join(remarks)}**\n\n" if remarks else ""
