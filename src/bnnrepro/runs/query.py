"""Which runs are meant: a folder, a sweep, ``dataset=mnist method=ste``."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.runs import reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.liveness import STATES, RunState, queue_of, run_state
from bnnrepro.runs.stored_config import read_config
from bnnrepro.screen import printable

SUBMISSION = "submission.json"
_SIGNATURE = re.compile(r"[0-9a-f]{10}")
_DEPTH = 4  # dataset/model/method/signature
_PATH_KEYS = {"dataset": -4, "model": -3, "method": -2}


class Run:
    """A run folder with what it says of itself; what is not asked for is not read."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.status = status.read(folder)
        self.state = RunState("new")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty where it is missing or damaged."""
        try:
            return read_config(self.folder.config)
        except UserError:
            return {}

    @property
    def name(self) -> str:
        """The last four parts of the path, safe to print."""
        return printable("/".join(self.folder.path.parts[-_DEPTH:]))

    def value(self, key: str) -> object:
        """Return what a filter's key stands for in this run; None where it has no such key."""
        if key == "state":
            return self.state.name
        if key == "sweep":
            return self.status.submission
        parts = self.folder.path.absolute().parts
        if key in _PATH_KEYS:
            return parts[_PATH_KEYS[key]] if len(parts) >= _DEPTH else None
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node["name"] if isinstance(node, dict) and "name" in node else node


def find(places: Sequence[Path], filters: dict[str, list[str]]) -> tuple[list[Run], list[Path]]:
    """Return the runs of some places that pass all filters, and the folders that are no runs.

    Args:
        places: folders of runs at any level, run folders, or sweeps' folders.
        filters: for each key the values that it may have, written as in YAML.

    Raises:
        UserError: a place is no folder that can be read, or ``state`` is none of the states.
    """
    for state in filters.get("state", []):
        if state not in STATES:
            raise UserError("state", state, f"must be one of {', '.join(STATES)}")
    foreign: list[Path] = []
    paths = dict.fromkeys(path for place in places for path in _paths(place, foreign))
    early = {key: values for key, values in filters.items() if key in _PATH_KEYS}
    late = {key: values for key, values in filters.items() if key not in _PATH_KEYS}
    runs = []
    for path in paths:
        run = Run(RunFolder(path))
        if _passes(run, early):
            runs.append(run)
    look_up(runs)
    return [run for run in runs if _passes(run, late)], foreign


def look_up(runs: Sequence[Run]) -> None:
    """Set the state of each run; SLURM is asked once for all."""
    queue = queue_of(run.status for run in runs)
    for run in runs:
        run.state = run_state(run.folder, run.status, queue)


def parse(words: Sequence[str], out: str) -> tuple[list[Path], dict[str, list[str]]]:
    """Sort a command line's words into places and filters; without a place it is ``out``."""
    places, filters = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not Path(word).is_dir():
            filters[key] = value.split(",")
        else:
            places.append(Path(word))
    return places or [Path(out)], filters


def _passes(run: Run, filters: dict[str, list[str]]) -> bool:
    return all(_written(run.value(key)) & set(values) for key, values in filters.items())


def _written(value: object) -> set[str]:
    """Return the ways to write a value on a command line."""
    if value is None or isinstance(value, bool):
        return {str({None: "null", True: "true", False: "false"}[value])}
    words = {str(value)}
    if isinstance(value, float):
        words |= {f"{value:g}", f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")}
    return words


def _paths(place: Path, foreign: list[Path]) -> Iterator[Path]:
    try:
        if not place.is_dir():
            raise UserError("folder", str(place), "there is no such folder of runs")
        of_a_sweep = (place / SUBMISSION).is_file()
    except OSError as error:
        raise UserError("folder", str(place), f"cannot be read ({error.strerror})") from error
    if of_a_sweep:
        yield from submitted_runs(place)
    elif _is_run(place.absolute().name):
        yield place
    else:
        yield from _below(place, _DEPTH, foreign)


def submitted_runs(place: Path) -> list[Path]:
    """Return the run folders of a sweep's folder, ``<store>/.hydra/<name>``.

    Raises:
        UserError: its record is damaged, or names what is no run's folder in the same store.
    """
    store = place.resolve().parent.parent
    try:
        content = reading.parsed(place / SUBMISSION)
        runs = [Path(run) for job in content["jobs"] for run in job["runs"]]
        strangers = [
            run for run, real in zip(runs, _real(runs), strict=True) if not _is_in(store, real)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError("sweep", str(place), f"{SUBMISSION} cannot be read ({error})") from error
    if strangers:
        allowed = f"{SUBMISSION} names it, and it is no run's folder in {store}"
        raise UserError("sweep", str(strangers[0]), allowed)
    return runs


def _real(paths: Sequence[Path]) -> Iterator[Path]:
    """Return where paths lead, links and all; what is above them is looked up once."""
    real = cache(os.path.realpath)
    for path in paths:
        yield Path(real(path)) if path.is_symlink() else Path(real(path.parent), path.name)


def _below(place: Path, depth: int, foreign: list[Path]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(place), key=lambda each: each.name)
    except OSError:
        foreign.append(place)
        return
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if _is_run(entry.name):
            yield Path(entry.path)
        elif depth > 1:
            yield from _below(Path(entry.path), depth - 1, foreign)
        else:
            foreign.append(Path(entry.path))


def _is_run(name: str) -> bool:
    return _SIGNATURE.fullmatch(name) is not None


def _is_in(store: Path, path: Path) -> bool:
    """Tell whether a path without links is that of a run's folder in a store."""
    return path.parents[_DEPTH - 1 : _DEPTH] == (store,) and _is_run(path.name)
