"""Runs of any version for the cells of a table, found by the settings that they were run with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.report.cells import Cell
from bnnrepro.runs import query
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.results import result_of
from bnnrepro.runs.signature import comparable, differing, unknown

_NAMED = 3  # folders that a note names
_Settings = Mapping[str, object]


@dataclass(frozen=True)
class Found:
    """Cells whose runs are those in a folder, and notes on what else is there."""

    cells: list[Cell]
    notes: list[str]


def found_in(folder: Path, wanted: Sequence[Cell]) -> Found:
    """Return cells with the runs in a folder, of whatever version and state.

    A run is a cell's if no setting differs that both versions know. Data given by a path are told
    apart by name alone.

    Args:
        folder: as ``multirun``, or a part of it.
        wanted: the cells, with the runs of this version.

    Raises:
        UserError: the folder cannot be read, holds no run of the cells, or two finished ones of a
            cell and seed; or runs of a cell differ in a setting that this version does not know.
    """
    runs, unreadable = query.find([folder], {})
    stored: dict[Path, _Settings] = {}
    for run in runs:
        try:
            stored[run.folder.path] = comparable(run.config)
        except UserError:  # a number that is none
            stored[run.folder.path] = {}
    unreadable += [path for path, own in stored.items() if not own]
    stored = {path: own for path, own in stored.items() if own}
    done = {run.folder.path for run in runs if result_of(run)[0] == "done"}
    every = [comparable(run.config.to_dict()) for cell in wanted for run in cell.runs]
    used: set[Path] = set()
    ignored: dict[str, None] = {}
    cells, place = [], iter(every)
    for cell in wanted:
        places, more = [], []
        for expected in cell.runs:
            asked = next(place)
            same = [path for path, own in stored.items() if not differing(own, asked)]
            path = _only_one(folder, [path for path in same if path in done] or same[:1])
            if path is not None:
                used.add(path)
                more.append(unknown(stored[path], asked))
            # one that is not there is missing from this folder
            absent = folder.joinpath(*expected.folder.path.parts[-4:])
            places.append(replace(expected, folder=RunFolder(path or absent)))
        _refuse_others(folder, cell, more)
        ignored |= dict.fromkeys(key for own in more for key in own)
        cells.append(replace(cell, runs=tuple(places)))
    others = {path: own for path, own in stored.items() if path not in used}
    nearest = _nearest(others, every)
    if not used:
        allowed = f"has no run of these cells among {len(others)}{nearest}"
        if not stored:
            allowed = "has no run in folders as of multirun: dataset/model/method/signature"
        raise UserError("--from", str(folder), allowed)
    notes = [f"runs there that are not of these cells: {len(others)}{nearest}"] if others else []
    if ignored:
        notes.append(f"settings that this version does not know: {', '.join(ignored)}")
    if unreadable:
        names = ", ".join(map(_name, unreadable[:_NAMED]))
        names += " …" if len(unreadable) > _NAMED else ""
        notes.append(f"folders without readable settings: {len(unreadable)} ({names})")
    return Found(cells, notes)


def _nearest(others: Mapping[Path, _Settings], every: Sequence[_Settings]) -> str:
    """Return in words by what the run that is nearest to a cell's differs; empty without runs."""
    pairs = ((path, own, asked) for path, own in others.items() for asked in every)
    found = [(keys, *pair) for pair in pairs if (keys := differing(*pair[1:]))]
    if not found:
        return ""
    keys, path, own, asked = min(found, key=lambda each: len(each[0]))
    values = (repr(each[keys[0]]) if keys[0] in each else "nothing" for each in (own, asked))
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return "; the nearest, {}, has {} {}, not {}".format(_name(path), keys[0], *values) + more


def _only_one(folder: Path, same: Sequence[Path]) -> Path | None:
    if len(same) > 1:
        names = " and ".join(map(_name, same))
        allowed = f"has two finished runs of the same settings, {names}: move one away"
        raise UserError("--from", str(folder), allowed)
    return same[0] if same else None


def _refuse_others(folder: Path, cell: Cell, unknowns: Sequence[_Settings]) -> None:
    """Raise a UserError if runs of a cell differ in a setting that this version does not know."""
    first: dict[str, object] = {}
    for own in unknowns:
        for key, value in own.items():
            if first.setdefault(key, value) != value:
                both = f"{first[key]!r} and {value!r}"
                allowed = f"runs of {cell.name} differ in {key}, unknown to this version: {both}"
                raise UserError("--from", str(folder), allowed)


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])
