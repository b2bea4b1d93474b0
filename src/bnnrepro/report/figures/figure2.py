"""Figure 2: regression with STE, BayesBiNN's mode, and the mean of 10 draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.panels import Runs, by_method, plot_curves, rows_of, write
from bnnrepro.report.grid_plot import regression_numbers

CELLS = ("figure2_ste", "figure2_bayesbinn")
CAPTION = (
    "Regression, everything standardised: RMSE, NLL (nats) and ECE of the test points, or of the "
    "training points where there are no others (Snelson's set). The NLL's noise is a Gaussian's of "
    "variance 1/2, which the mean squared error implies; the draws' variance adds to it. Far "
    "from the data is at least 1 standard deviation of the inputs from every training point, "
    "within 4 of the centre; spread is the standard deviation over draws. The picture shows the "
    "first seed; mean ± standard deviation over seeds below."
)


def plot(collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot the curves of collected runs and write the numbers; return the files."""
    return plot_runs(by_method(collected), folder, style.remarks(collected))


def plot_runs(runs: Runs, folder: Path, remarks: Sequence[str] = ()) -> list[Path]:
    """Plot the curves of each method's runs, with remarks above."""
    rows = rows_of(runs, regression_numbers)
    return write("figure2", plot_curves(runs), rows, folder, CAPTION, remarks)


FIGURE = Figure("2", "Regression: STE, BayesBiNN at the mode and at the mean of draws", CELLS, plot)
