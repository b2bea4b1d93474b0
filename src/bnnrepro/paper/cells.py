"""The cells of tables and figures: an experiment, its runs, and where their folders must lie."""

from dataclasses import dataclass

from bnnrepro.config import Config
from bnnrepro.store.folder import RunFolder


@dataclass(frozen=True)
class Expected:
    """A run that belongs to a cell; the folder is known by its signature alone."""

    seed: int
    folder: RunFolder
    config: Config


@dataclass(frozen=True)
class Cell:
    """An experiment at a preset: ``dataset`` is what it is about, even where others stand in."""

    name: str
    preset: str
    dataset: str
    model: str
    method: str
    runs: tuple[Expected, ...]
