"""Cells of tables and figures: the points of a sweep, their runs and their folders."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bnnrepro.config import Config
from bnnrepro.errors import UserError
from bnnrepro.launch.dry_run import points_of
from bnnrepro.launch.plan import run_folder_of
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.signature import signature

Where = Mapping[str, Collection[str]]
"""Of a sweep's points those with these values: ``{"method": ("ste", "bop")}``."""


@dataclass(frozen=True)
class Expected:
    """A run of a cell; its folder follows from ``conf/`` alone."""

    seed: int
    folder: RunFolder
    config: Config


@dataclass(frozen=True)
class Cell:
    """A point of a sweep at a preset; ``dataset`` is the paper's, even where others stand in.

    ``choices`` are the values that ``conf/sweep/`` gives this point, without the seed:
    ``{"dataset": "mnist", "method": "ste"}``; numbers as Python prints them.
    """

    sweep: str
    choices: Mapping[str, str] = field(hash=False)
    preset: str
    dataset: str
    model: str
    method: str
    runs: tuple[Expected, ...]

    @property
    def name(self) -> str:
        """The choices as words: ``dataset=mnist method=ste``."""
        return " ".join(self.words)

    @property
    def words(self) -> list[str]:
        """The overrides that choose this point of the sweep."""
        return [f"{key}={value}" for key, value in self.choices.items()]


def command(cell: Cell, run: Expected) -> str:
    """Return the command that makes a cell's run, or brings it up to date."""
    config = run.config
    words = [f"sweep={cell.sweep}", *cell.words, f"preset={cell.preset}", f"seed={run.seed}"]
    words += [f"out={config.out}"]
    words += [f"evaluate.{key}={getattr(config.evaluate, key)}" for key in ("samples", "average")]
    if root := getattr(config.dataset, "root", None):
        words.append(f"dataset.root={root}")
    return shlex.join(["python", "run.py", *words])


def cells(
    sweep: str,
    *,
    preset: str,
    seeds: int,
    out: str,
    overrides: Sequence[str] = (),
    where: Where | None = None,
) -> list[Cell]:
    """Return the points of a sweep with their runs; only ``conf/`` is read.

    Args:
        sweep: a file of ``conf/sweep/``, without ``.yaml``.
        preset: ``paper``, ``quick``, ``smoke`` or another file of ``conf/preset/``.
        seeds: number of runs of each cell, with the seeds 0 to ``seeds - 1``; >= 1.
        out: the folder of all runs; an ``out=`` among the overrides wins.
        overrides: Hydra's, for all cells; none may change a run's signature.
        where: the points wanted; None: all.

    Raises:
        UserError: a name, a preset or an override is not allowed, or an override would make other
            runs than the cell's.
    """
    fixed = [f"sweep={sweep}", "seed=0", f"preset={preset}", f"out={out}"]
    points = points_of(fixed)
    if overrides:
        plain = _signatures(points)
        points = points_of([*fixed, *overrides])
        if _signatures(points) != plain:
            _refuse(fixed, plain, overrides)
    given = {word.partition("=")[0] for word in (*fixed, *overrides)}
    found = []
    fingerprints: dict[str, str | None] = {}
    for words, config in points:
        choices = dict(word.split("=", 1) for word in words if word.partition("=")[0] not in given)
        if all(choices.get(key) in values for key, values in (where or {}).items()):
            found.append(_cell(sweep, choices, config, seeds, fingerprints))
    return found


def _signatures(points: Sequence[tuple[Sequence[str], Config]]) -> list[str]:
    return [signature(config.identity()) for _, config in points]  # without reading data


def _refuse(fixed: Sequence[str], signatures: Sequence[str], overrides: Sequence[str]) -> None:
    """Raise a UserError that names the first override that changes the signatures."""
    prefixes = (overrides[:count] for count in range(1, len(overrides) + 1))
    culprit = next(p[-1] for p in prefixes if _signatures(points_of([*fixed, *p])) != signatures)
    key, _, value = culprit.partition("=")
    allowed = (
        "would make other runs than the cell's; allowed are settings that change no number: "
        "dataset.root, threads, device, out, cluster, hydra.launcher..., evaluate..."
    )
    raise UserError(key, value, allowed)


def _cell(
    sweep: str,
    choices: Mapping[str, str],
    config: Config,
    seeds: int,
    fingerprints: dict[str, str | None],
) -> Cell:
    parts = (config.preset.name, config.dataset.name, config.model.name, config.method.name)
    seeded = [replace(config, seed=seed) for seed in range(seeds)]
    runs = tuple(Expected(one.seed, run_folder_of(one, fingerprints), one) for one in seeded)
    return Cell(sweep, choices, *parts, runs)
