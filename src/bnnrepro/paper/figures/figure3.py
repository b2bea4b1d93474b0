"""Figure 3: two moons under STE, BayesBiNN's mode, and the mean of 10 draws."""

from __future__ import annotations

from pathlib import Path

from bnnrepro.paper.figures.panels import Runs, rows_of, surfaces, write
from bnnrepro.paper.maps import class_numbers

CELLS = ("figure3_ste", "figure3_bayesbinn")
CAPTION = (
    "Two moons: accuracy (%), NLL (nats) and ECE of 1,000 test points; far entropy (nats) and far "
    "confidence at least 2 standard deviations from every training point, within 4 of the centre. "
    "The picture shows the first seed; mean ± standard deviation over seeds below."
)


def draw(runs: Runs, folder: Path) -> list[Path]:
    """Draw the three panels and write the numbers; return the files."""
    return write("figure3", surfaces(runs), rows_of(runs, class_numbers), folder, CAPTION)
