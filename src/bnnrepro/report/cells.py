"""Cells of tables and figures: an experiment, its runs and their folders."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydra.core.config_loader import ConfigLoader

from bnnrepro.config import Config, check
from bnnrepro.config.compose import hydra_session, load
from bnnrepro.errors import UserError
from bnnrepro.launch.plan import run_folder_of
from bnnrepro.runs.layout import RunFolder


@dataclass(frozen=True)
class Expected:
    """A run of a cell; its folder follows from ``conf/`` alone."""

    seed: int
    folder: RunFolder
    config: Config


@dataclass(frozen=True)
class Cell:
    """An experiment at a preset; ``dataset`` is the paper's, even where others stand in."""

    name: str
    preset: str
    dataset: str
    model: str
    method: str
    runs: tuple[Expected, ...]


def command(cell: Cell, run: Expected) -> str:
    """Return the command that makes a cell's run, or brings it up to date."""
    config = run.config
    words = [f"experiment={cell.name}", f"preset={cell.preset}", f"seed={run.seed}"]
    words += [f"out={config.out}"]
    words += [f"evaluate.{key}={getattr(config.evaluate, key)}" for key in ("samples", "average")]
    if root := getattr(config.dataset, "root", None):
        words.append(f"dataset.root={root}")
    return shlex.join(["python", "run.py", *words])


def cells(
    names: Sequence[str], *, preset: str, seeds: int, out: str, overrides: Sequence[str] = ()
) -> list[Cell]:
    """Return cells with their runs; only ``conf/`` is read.

    Args:
        names: files of ``conf/experiment/``, without ``.yaml``.
        preset: ``paper``, ``quick``, ``smoke`` or another file of ``conf/preset/``.
        seeds: number of runs of each cell, with the seeds 0 to ``seeds - 1``; >= 1.
        out: the folder of all runs; an ``out=`` among the overrides wins.
        overrides: Hydra's, for all cells; none may change a run's signature.

    Raises:
        UserError: a name, a preset or an override is not allowed, or an override would make other
            runs than the cell's.
    """
    fixed = [f"preset={preset}", f"out={out}"]
    with hydra_session() as hydra:
        loader = hydra.config_loader
        configs = [_composed(loader, [f"experiment={name}", *fixed]) for name in names]
        if overrides:
            overridden = [
                _composed(loader, [f"experiment={name}", *fixed, *overrides]) for name in names
            ]
            for name, before, after in zip(names, configs, overridden, strict=True):
                if (signature := _signature(before)) != _signature(after):
                    _refuse(loader, [f"experiment={name}", *fixed], signature, overrides)
            configs = overridden
    return [_cell(name, config, seeds) for name, config in zip(names, configs, strict=True)]


def _composed(loader: ConfigLoader, words: Sequence[str]) -> Config:
    return check(load(loader, words))


def _signature(config: Config) -> str:
    return run_folder_of(config, {}).path.name


def _refuse(
    loader: ConfigLoader, words: Sequence[str], signature: str, overrides: Sequence[str]
) -> None:
    """Raise a UserError that names the first override that changes the signature."""
    prefixes = (overrides[:count] for count in range(1, len(overrides) + 1))
    culprit = next(
        p[-1] for p in prefixes if _signature(_composed(loader, [*words, *p])) != signature
    )
    key, _, value = culprit.partition("=")

    allowed = (
        "would make other runs than the cell's; allowed are settings that change no number: "
        "dataset.root, threads, device, out, cluster, hydra.launcher..., evaluate..."
    )
    raise UserError(key, value, allowed)


def _cell(name: str, config: Config, seeds: int) -> Cell:
    runs = []
    fingerprints: dict[str, str | None] = {}
    for seed in range(seeds):
        seeded = replace(config, seed=seed)
        runs.append(Expected(seed, run_folder_of(seeded, fingerprints), seeded))
    return Cell(
        name,
        config.preset.name,
        config.dataset.name,
        config.model.name,
        config.method.name,
        tuple(runs),
    )
