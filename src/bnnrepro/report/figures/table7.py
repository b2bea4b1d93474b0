"""Table 7 as a plot: BayesBiNN on MNIST by temperature."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report import sweep_plot
from bnnrepro.report.collect import Collected
from bnnrepro.report.figures import Figure
from bnnrepro.report.tables import TABLES

_TABLE = TABLES["7"]


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw train, validation and test accuracy against the temperature."""
    return sweep_plot.draw(
        _TABLE, collected, folder, title=FIGURE.title, axis="temperature", name="table7"
    )


FIGURE = Figure(
    "table7", "BayesBiNN on MNIST by temperature (learning rate 1e-4)", _TABLE.cells, draw
)
