"""Figures by name: every ``Figure`` of a module in this folder is registered automatically."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnnrepro.report.collect import CellResults


@dataclass(frozen=True)
class Figure:
    """A figure made from run folders alone.

    Attributes:
        name: its name on the command line.
        title: the line above it.
        cells: names of its experiments.
        plot: writes PNG, PDF and CSV to a folder and returns the files; imports matplotlib when
            called.
        seeds: runs of each cell at the preset ``paper``.
    """

    name: str
    title: str
    cells: tuple[str, ...]
    plot: Callable[[Sequence[CellResults], Path], list[Path]]
    seeds: int = 5


def _figures() -> dict[str, Figure]:
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.iter_modules(__path__, f"{__name__}.")
    ]
    values = [value for module in modules for value in vars(module).values()]
    figures = {figure.name: figure for figure in values if isinstance(figure, Figure)}
    return dict(sorted(figures.items()))


FIGURES: dict[str, Figure] = _figures()
"""All figures, by name."""
