"""Find runs by folder, by sweep, or by filters: ``dataset=mnist method=ste``."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError, nearest
from bnnrepro.runs import reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.liveness import STATES, RunState, queue_of, run_state
from bnnrepro.runs.stored_config import read_config, settings_of
from bnnrepro.screen import printable

SUBMISSION = "submission.json"
_SIGNATURE = re.compile(r"[0-9a-f]{10}")
_DEPTH = 4  # dataset/model/method/signature
PATH_KEYS = {"dataset": -4, "model": -3, "method": -2}
_STATUS_KEYS = ("state", "sweep")
FINGERPRINT = "dataset.fingerprint"
"""First digits of the hash of a user's own data; no setting, but used as one."""


class Run:
    """A run folder with its status, state and, read on demand, its configuration."""

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
    def settings(self) -> dict[str, Any]:
        """The settings by dotted keys, with ``FINGERPRINT`` once the run is finished."""
        try:
            content = reading.parsed(self.folder.result)["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            content = None
        return settings_of(self.config) | ({FINGERPRINT: str(content)[:10]} if content else {})

    @property
    def name(self) -> str:
        """The last four parts of the path, safe to print."""
        return printable("/".join(self.folder.path.parts[-_DEPTH:]))

    def value(self, key: str) -> object:
        """Return this run's value of a filter's key; None if it has no such key."""
        if key == "state":
            return self.state.name
        if key == "sweep":
            return self.status.submission
        parts = self.folder.path.absolute().parts
        if key in PATH_KEYS:
            return parts[PATH_KEYS[key]] if len(parts) >= _DEPTH else None
        if key == FINGERPRINT:
            return self.settings.get(key)
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node["name"] if isinstance(node, dict) and "name" in node else node


def find(folders: Sequence[Path], filters: dict[str, list[str]]) -> tuple[list[Run], list[Path]]:
    """Return the runs in some folders that pass all filters, and the folders that are left out.

    Left out are folders that are no runs, and runs without a readable configuration where a filter
    needs it.

    Args:
        folders: of runs at any level, run folders, or sweeps' folders.
        filters: for each key its allowed values, written as in YAML.

    Raises:
        UserError: a folder cannot be read, ``state`` is none of the states, or a key is in none of
            the runs' configurations.
    """
    for state in filters.get("state", []):
        if state not in STATES:
            raise UserError("state", state, f"must be one of {', '.join(STATES)}")
    left_out: list[Path] = []
    paths = dict.fromkeys(path for folder in folders for path in _paths(folder, left_out))
    every = [Run(RunFolder(path)) for path in paths]
    runs = [run for run in every if _passes(run, filters, PATH_KEYS)]
    settings = [key for key in filters if key not in (*PATH_KEYS, *_STATUS_KEYS)]
    for key in settings:
        _check_key(key, ",".join(filters[key]), runs or every)
    if settings:
        left_out += [run.folder.path for run in runs if not run.config]
        runs = [run for run in runs if run.config and _passes(run, filters, settings)]
    update_states(runs)
    return [run for run in runs if _passes(run, filters, _STATUS_KEYS)], left_out


def _check_key(key: str, value: str, runs: Sequence[Run]) -> None:
    known: set[str] = set()
    for run in runs:
        settings = run.settings if key == FINGERPRINT else settings_of(run.config)
        known |= {*settings, *(word.rpartition(".")[0] for word in settings)}
        if key in known:
            return
    if known:  # else no configuration can be read
        near = nearest(key, ["seed", *PATH_KEYS, *_STATUS_KEYS, *sorted(known - {""})])
        raise UserError(key, value, f"no run here has this setting{near}")


def update_states(runs: Sequence[Run]) -> None:
    """Set the state of each run; SLURM is asked once for all."""
    queue = queue_of(run.status for run in runs)
    for run in runs:
        run.state = run_state(run.folder, run.status, queue)


def parse(words: Sequence[str], out: str) -> tuple[list[Path], dict[str, list[str]]]:
    """Sort a command line's words into folders (``out`` if none is given) and filters."""
    folders, filters = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if key == "out" and equals:
            folders.append(Path(value))
        elif equals and not Path(word).is_dir():
            filters[key] = value.split(",")
        else:
            folders.append(Path(word))
    return folders or [Path(out)], filters


def _passes(run: Run, filters: dict[str, list[str]], keys: Collection[str]) -> bool:
    chosen = (key for key in filters if key in keys)
    return all(_spellings(run.value(key)) & set(filters[key]) for key in chosen)


def _spellings(value: object) -> set[str]:
    """Return the spellings of a value on a command line."""
    if value is None or isinstance(value, bool):
        return {str({None: "null", True: "true", False: "false"}[value])}
    words = {str(value)}
    if isinstance(value, float):
        words |= {f"{value:g}", f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")}
    return words


def _paths(folder: Path, left_out: list[Path]) -> Iterator[Path]:
    try:
        if not folder.is_dir():
            raise UserError("folder", str(folder), "there is no such folder of runs")
        is_sweep = (folder / SUBMISSION).is_file()
    except OSError as error:
        raise UserError("folder", str(folder), f"cannot be read ({error.strerror})") from error
    if is_sweep:
        yield from submitted_runs(folder)
    elif is_run(folder.absolute().name):
        yield folder
    else:
        yield from _below(folder, _DEPTH, left_out)


def submitted_runs(sweep: Path) -> list[Path]:
    """Return the run folders of a sweep's folder, ``<out>/.hydra/<name>``.

    Raises:
        UserError: its record is damaged, or names a path that is not a run folder in ``out``.
    """
    out = sweep.resolve().parent.parent
    try:
        content = reading.parsed(sweep / SUBMISSION)
        runs = [Path(run) for job in content["jobs"] for run in job["runs"]]
        outside = [
            run for run, real in zip(runs, _resolved(runs), strict=True) if not _is_in(out, real)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError("sweep", str(sweep), f"{SUBMISSION} cannot be read ({error})") from error
    if outside:
        allowed = f"{SUBMISSION} names it, but it is not a run folder in {out}"
        raise UserError("sweep", str(outside[0]), allowed)
    return runs


def _resolved(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the paths with links resolved; a common parent is looked up once."""
    real = cache(os.path.realpath)
    for path in paths:
        yield Path(real(path)) if path.is_symlink() else Path(real(path.parent), path.name)


def _below(folder: Path, depth: int, left_out: list[Path]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        left_out.append(folder)
        return
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if is_run(entry.name):
            yield Path(entry.path)
        elif depth > 1:
            yield from _below(Path(entry.path), depth - 1, left_out)
        else:
            left_out.append(Path(entry.path))


def is_run(name: str) -> bool:
    """Return whether a folder's name is a run's: a signature."""
    return _SIGNATURE.fullmatch(name) is not None


def _is_in(out: Path, path: Path) -> bool:
    """Return whether a path without links is that of a run folder in ``out``."""
    return path.parents[_DEPTH - 1 : _DEPTH] == (out,) and is_run(path.name)
