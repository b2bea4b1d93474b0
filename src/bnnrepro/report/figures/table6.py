"""Table 6 as a plot: BayesBiNN on MNIST by learning rate."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import sweep_plot
from bnnrepro.report.collect import Collected
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import TABLES

_TABLE = TABLES["6"]


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw train, validation and test accuracy against the learning rate."""
    return sweep_plot.draw(
        _TABLE, collected, folder, title=FIGURE.title, axis="learning rate", name="table6"
    )


FIGURE = Figure(
    "table6", "BayesBiNN on MNIST by learning rate (temperature 1e-10)", _TABLE.cells, draw
)
