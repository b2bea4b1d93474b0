"""What figures 4 and 5 share: the three ways of going on, their colours, bands over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CELLS = ("figure5_prior", "figure5_no_prior", "figure5_ste")
LABELS = {
    "figure5_prior": "BayesBiNN, prior = last posterior",
    "figure5_no_prior": "BayesBiNN, prior fixed",
    "figure5_ste": "STE",
}
# Okabe and Ito: told apart by every kind of eye.
COLOURS = {
    "figure5_prior": "#0072B2",
    "figure5_no_prior": "#D55E00",
    "figure5_ste": "#009E73",
}


class Spread(NamedTuple):
    """Values of several seeds: their number, mean and population standard deviation (ddof 0)."""

    n: int
    mean: float
    std: float


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of at least one value."""
    known = list(values)
    return Spread(len(known), statistics.fmean(known), statistics.pstdev(known))


def band(axes: Any, x: Sequence[float], values: Sequence[Spread], colour: str, label: str) -> None:
    """Draw the mean as a line and one standard deviation as a band."""
    means = [each.mean for each in values]
    low, high = ([each.mean + sign * each.std for each in values] for sign in (-1, 1))
    axes.plot(x, means, color=colour, label=label, linewidth=1.4)
    axes.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)


def caption(preset: str, seeds: int) -> str:
    """Return what stands above a figure: over how many seeds, and how it was shortened."""
    text = f"mean ± 1 standard deviation over {seeds} seed{'s' if seeds != 1 else ''}"
    return text if preset == "paper" else f"{text}; preset {preset}, not the paper's protocol"


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, without the time in it: the same runs give the same files."""
    files = [folder / f"{name}.png", folder / f"{name}.pdf"]
    figure.savefig(files[0], dpi=150)
    figure.savefig(files[1], metadata={"CreationDate": None})
    return files
