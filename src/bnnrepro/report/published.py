"""Figures published by others, from ``published.yaml``: each with source, rule and ddof."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

SPLITS = ("train", "validation", "test")
SELECTIONS = ("best", "final")
_GROUP = {"source", "selection", "runs", "ddof", "figures"}


@dataclass(frozen=True)
class Quoted:
    """A published figure.

    ``mean`` and ``std`` are in percent, as printed, ``std`` with the given ``ddof``; ``digits`` is
    the number of decimals of the printed mean. ``std``, ``runs`` and ``ddof`` are None where they
    are not given. ``selection`` is ``best`` or ``final``.
    """

    mean: float
    std: float | None
    runs: int | None
    ddof: int | None
    selection: str
    source: str
    digits: int = 2


Key = tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Content of the file: figures by group and key, sources, the authors' single runs."""

    figures: Mapping[str, Mapping[Key, Quoted]]
    sources: Mapping[str, str]
    runs: Mapping[str, tuple[float, ...]]

    def find(self, group: str, *key: str) -> Quoted | None:
        """Return a figure, ``find("table2", "mnist", "ste", "test")``; None where none is given."""
        return self.figures[group].get(key)


@cache
def published() -> Published:
    """Return the figures that come with the package."""
    text = resources.files("bnnrepro.report").joinpath("published.yaml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> Published:
    """Return the figures of a YAML text.

    Raises:
        ValueError: it is not of this form, or a value is impossible; names the place.
    """
    try:
        # Plain strings, so that 99.50 keeps its digits.
        content = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"published figures: {error}") from error
    _need(isinstance(content, dict), "top", "must be a mapping")
    _need(set(content) == {"sources", "groups", "runs"}, "top", "must be sources, groups, runs")
    sources = content["sources"]
    figures = {name: _group(name, group, sources) for name, group in content["groups"].items()}
    runs = {
        name: tuple(_number(value, f"runs.{name}", 0, 100) for value in values)
        for name, values in content["runs"].items()
    }
    return Published(figures, sources, runs)


def _group(name: str, group: Any, sources: Mapping[str, str]) -> dict[Key, Quoted]:
    _need(isinstance(group, dict), name, "must be a mapping")
    _need(set(group) == _GROUP, name, f"must have {', '.join(sorted(_GROUP))}, and no other key")
    _need(group["source"] in sources, f"{name}.source", "must be one of the sources")
    _need(group["selection"] in SELECTIONS, f"{name}.selection", "must be best or final")
    _need(group["ddof"] in ("0", "1", "null"), f"{name}.ddof", "must be 0, 1 or null")
    common = {
        "ddof": None if group["ddof"] == "null" else int(group["ddof"]),
        "selection": group["selection"],
        "source": group["source"],
    }
    return {
        key: _quoted(f"{name}.{'.'.join(key)}", values, runs or group["runs"], common)
        for key, values, runs in _entries(name, group["figures"], ())
    }


def _entries(name: str, node: Any, key: Key) -> Iterator[tuple[Key, Any, str | None]]:
    place = ".".join((name, *key))
    _need(isinstance(node, dict) and bool(node), place, "must be a mapping with entries")
    if not set(node) & set(SPLITS):
        for part, child in node.items():
            yield from _entries(name, child, (*key, part))
        return

    _need(set(node) <= {*SPLITS, "runs"}, place, f"must have {', '.join(SPLITS)} or runs alone")
    for split in SPLITS:
        if split in node:
            yield (*key, split), node[split], node.get("runs")


def _quoted(place: str, values: Any, runs: str, common: Mapping[str, Any]) -> Quoted:
    _need(isinstance(values, list) and len(values) in (1, 2), place, "must be [mean, spread]")
    mean = _number(values[0], place, 0, 100)
    std = _number(values[1], place, 0, 50) if len(values) == 2 else None
    _need(runs == "null" or (runs.isdecimal() and int(runs) > 0), place, "runs must be 1 or more")
    _need(std is None or common["ddof"] is not None, place, "a spread needs its ddof")
    _need(std is None or runs not in ("null", "1"), place, "a spread needs two runs or more")
    digits = len(values[0].partition(".")[2])
    return Quoted(mean, std, None if runs == "null" else int(runs), **common, digits=digits)


def _number(text: Any, place: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    _need(low <= value <= high, place, f"{text!r} must be a number from {low} to {high}")
    return value


def _need(condition: bool, place: str, rule: str) -> None:
    if not condition:
        raise ValueError(f"published figures: {place}: {rule}")
