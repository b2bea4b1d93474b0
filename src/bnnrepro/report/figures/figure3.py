"""Figure 3: two moons with STE, BayesBiNN's mode, and the mean of 10 draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.panels import Runs, by_method, plot_surfaces, rows_of, write
from bnnrepro.report.grid_plot import classification_numbers

CELLS = ("figure3_ste", "figure3_bayesbinn")
CAPTION = (
    "Two moons: accuracy (%), NLL (nats) and ECE of {points:,} test points; far entropy (nats) and "
    "far confidence at least 2 standard deviations from every training point, within 4 of the "
    "centre. The picture shows the first seed; mean ± standard deviation over seeds below."
)


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot the three panels of collected runs and write the numbers; return the files."""
    return plot_runs(by_method(collected), folder, style.remarks(collected))


def plot_runs(runs: Runs, folder: Path, remarks: Sequence[str] = ()) -> list[Path]:
    """Plot the three panels of each method's runs, with remarks above."""
    rows = rows_of(runs, classification_numbers)
    points = next(run.test_points for group in runs.values() for run in group)
    caption = CAPTION.format(points=points)
    return write("figure3", plot_surfaces(runs), rows, folder, caption, remarks)


FIGURE = Figure("3", "Two moons: the probability of class 1 in the plane", CELLS, plot)
