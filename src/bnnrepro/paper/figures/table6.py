"""Table 6 as a plot: BayesBiNN on MNIST by learning rate."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.paper import sweep
from bnnrepro.paper.collect import Collected
from bnnrepro.paper.figures import Figure
from bnnrepro.paper.tables import TABLES

_TABLE = TABLES["6"]


def draw(collected: Sequence[Collected], folder: Path) -> list[Path]:
    """Draw train, validation and test accuracy against the learning rate."""
    return sweep.draw(
        _TABLE, collected, folder, title=FIGURE.title, axis="learning rate", name="table6"
    )


FIGURE = Figure(
    "table6", "BayesBiNN on MNIST by learning rate (temperature 1e-10)", _TABLE.cells, draw
)
