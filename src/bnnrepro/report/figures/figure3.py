"""Figure 3: two moons under STE, BayesBiNN's mode, and the mean of 10 draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.panels import Runs, by_method, rows_of, surfaces, write
from bnnrepro.report.grid_plot import class_numbers

CELLS = ("figure3_ste", "figure3_bayesbinn")
CAPTION = (
    "Two moons: accuracy (%), NLL (nats) and ECE of {points:,} test points; far entropy (nats) and "
    "far confidence at least 2 standard deviations from every training point, within 4 of the "
    "centre. The picture shows the first seed; mean ± standard deviation over seeds below."
)


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw the three panels from collected runs and write the numbers; return the files."""
    return draw_runs(by_method(collected), folder, style.remarks(collected))


def draw_runs(runs: Runs, folder: Path, remarks: Sequence[str] = ()) -> list[Path]:
    """Do so from each method's runs, with remarks above."""
    rows = rows_of(runs, class_numbers)
    points = next(run.test_points for found in runs.values() for run in found)
    caption = CAPTION.format(points=points)
    return write("figure3", surfaces(runs), rows, folder, caption, remarks)


FIGURE = Figure("3", "Two moons: the probability of class 1 in the plane", CELLS, draw)
