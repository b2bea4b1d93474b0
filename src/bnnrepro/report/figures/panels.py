"""The pictures of figures 2 and 3, from runs' maps; a picture shows the first seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.report.collect import Collected
from bnnrepro.report.grid_plot import Mapped, Numbers, Row, mapped, table, verdict, write_rows
from bnnrepro.report.style import SHORTENED
from bnnrepro.runs import atomic

Runs = Mapping[str, Sequence[Mapped]]  # by method
NAMES = {
    ("ste", "mode"): "STE",
    ("bayesbinn", "mode"): "BayesBiNN, mode",
    ("bayesbinn", "mean"): "BayesBiNN, mean of draws",
}
COLOURS = {"ste": "#b2182b", "mode": "#4d4d4d", "mean": "#2166ac"}
SHOWN = 3.0  # standard deviations of the inputs, either way


def by_method(collected: Sequence[Collected]) -> Runs:
    """Return the finished runs of each method's cell, with their maps.

    Raises:
        UserError: no run is finished, or a map is missing, damaged or of other draws.
    """
    runs = {each.cell.method: mapped(each) for each in collected}
    if not any(runs.values()):
        names = ", ".join(each.cell.name for each in collected)
        raise UserError("figure", names, "no run of these is finished")
    return runs


def rows_of(runs: Runs, numbers: Callable[[Mapped, str], Numbers]) -> list[Row]:
    """Return a row for every run and kind of prediction that the figure shows."""
    return [
        (method, kind, run.seed, numbers(run, kind))
        for method, kind in NAMES
        for run in runs.get(method, ())
        if kind in run.kinds
    ]


def surfaces(runs: Runs) -> Any:
    """Draw figure 3: the probability of class 1 in the plane, one colour scale for all panels."""
    from matplotlib.figure import Figure

    shown = [(key, runs[key[0]][0]) for key in NAMES if runs.get(key[0])]
    figure = Figure(figsize=(4.2 * len(shown) + 1, 4.8), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, ((method, kind), run) in zip(axes, shown, strict=True):
        side = round(len(run.arrays["grid"]) ** 0.5)
        axis = run.arrays["grid"][:side, 1]
        image = panel.pcolormesh(
            axis, axis, run.arrays[kind].reshape(side, side).T,
            vmin=0, vmax=1, cmap="RdBu_r", shading="nearest", rasterized=True,
        )  # fmt: skip
        for label, marker in ((0, "o"), (1, "^")):
            x, y = run.arrays["inputs"][run.arrays["targets"] == label].T
            colour = ("#053061", "#67001f")[label]
            panel.scatter(
                x, y, s=14, marker=marker, c=colour, edgecolors="white", linewidths=0.5,
                label=f"class {label}",
            )  # fmt: skip
        panel.set(title=NAMES[method, kind], xlabel="input 1", xlim=(-SHOWN, SHOWN))
        panel.set(ylim=(-SHOWN, SHOWN), aspect="equal")
    first = axes[0]
    first.set_ylabel("input 2")
    first.legend(loc="lower left", framealpha=0.9)
    figure.colorbar(image, ax=axes, label="P(class 1)", shrink=0.9)
    return figure


def curves(runs: Runs) -> Any:
    """Draw figure 2: STE, BayesBiNN's mode, its mean with 2 standard deviations, and the data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    panel = figure.subplots()
    points = next(run for found in runs.values() for run in found).arrays
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
    panel.set(xlabel="input", ylabel="target", xlim=(-SHOWN, SHOWN))
    panel.legend(loc="best", fontsize="small")
    return figure


def write(
    name: str,
    picture: Any,
    rows: Sequence[Row],
    folder: Path,
    caption: str,
    remarks: Sequence[str] = (),
) -> list[Path]:
    """Write ``name`` as PNG, PDF, CSV and Markdown into a folder; return the files.

    Remarks stand above picture and text. A run of anything but the whole protocol says nothing
    of the paper's claim, so there is no verdict where ``SHORTENED`` is remarked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remark(picture, remarks)
    files = save(name, picture, folder)
    files.append(write_rows(folder / f"{name}.csv", rows))
    text = folder / f"{name}.md"
    said = "" if any(SHORTENED in each for each in remarks) else f"\n{verdict(rows)}"
    atomic.write_text(text, f"{in_bold(remarks)}{caption}\n\n{table(rows)}{said}")
    return [*files, text]


def remark(picture: Any, remarks: Sequence[str]) -> None:
    """Put remarks above a picture."""
    if remarks:
        picture.suptitle("\n".join(remarks), fontsize=9)


def in_bold(remarks: Sequence[str]) -> str:
    """Return remarks as a paragraph of Markdown; nothing where there are none."""
    return f"**{'; '.join(remarks)}**\n\n" if remarks else ""


def save(name: str, picture: Any, folder: Path) -> list[Path]:
    """Write a picture as PNG and PDF, without dates: the same runs give the same files."""
    files = []
    for ending, about in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        path = folder / f"{name}.{ending}"
        with atomic.replacing(path) as handle:
            picture.savefig(handle, format=ending, dpi=150, metadata=about)
        files.append(path)
    return files
