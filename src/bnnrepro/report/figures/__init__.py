"""The figures by name: each is a module here with a ``FIGURE``, and is found by itself."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnnrepro.report.collect import Collected


@dataclass(frozen=True)
class Figure:
    """A figure that run folders alone are enough for.

    Attributes:
        name: what it is called for.
        title: a line that stands above it.
        cells: the experiments that it is drawn from.
        draw: writes PNG, PDF and CSV to a folder and returns the files; matplotlib is imported
            within.
        seeds: runs of each cell at the preset ``paper``.
    """

    name: str
    title: str
    cells: tuple[str, ...]
    draw: Callable[[Sequence[Collected], Path], list[Path]]
    seeds: int = 5


def _found() -> dict[str, Figure]:
    figures = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        figure: Figure | None = getattr(importlib.import_module(module.name), "FIGURE", None)
        if figure is not None:  # else a module that figures share, or one drawn otherwise
            figures[figure.name] = figure
    return figures


FIGURES: dict[str, Figure] = _found()
"""All figures, by name."""
