"""Figures by name: every ``Figure`` of a module in this folder is registered automatically."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnnrepro.report.cells import Where
from bnnrepro.report.collect import CellResults


@dataclass(frozen=True)
class Figure:
    """A figure made from run folders alone.

    Attributes:
        name: its name on the command line.
        title: the line above it.
        sweep: the file of ``conf/sweep/`` that makes its runs.
        plot: writes PNG, PDF and CSV to a folder and returns the files; imports matplotlib when
            called.
        where: the points of the sweep that it shows; all of them unless given.
        seeds: runs of each cell at the preset ``paper``.
    """

    name: str
    title: str
    sweep: str
    plot: Callable[[Sequence[CellResults], Path], list[Path]]
    where: Where = field(default_factory=dict)
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
