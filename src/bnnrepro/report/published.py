"""Figures published by others, from ``published.yaml``: each with source, rule and ddof."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

SPLITS = ("train", "validation", "test")
SELECTIONS = {
    "best": "at the first epoch of the best validation value",
    "final": "at the last epoch",
}
"""The epochs that figures are taken at, in words."""


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
    """Return the figures that come with the package; a test checks the file."""
    text = resources.files("bnnrepro.report").joinpath("published.yaml").read_text("utf-8")
    content = yaml.load(text, yaml.BaseLoader)  # plain strings, so that 99.50 keeps its digits
    figures = {
        name: {
            key: _quoted(values, runs, group)
            for key, values, runs in entries(group["figures"], group["runs"])
        }
        for name, group in content["groups"].items()
    }
    runs = {name: tuple(map(float, values)) for name, values in content["runs"].items()}
    return Published(figures, content["sources"], runs)


def entries(
    node: Mapping[str, Any], runs: str, key: Key = ()
) -> Iterator[tuple[Key, list[str], str]]:
    """Yield key, printed values and number of runs of each figure below a node of the file."""
    for part, child in node.items():
        if part in SPLITS:
            yield (*key, part), child, node.get("runs", runs)
        elif part != "runs":
            yield from entries(child, runs, (*key, part))


def _quoted(values: Sequence[str], runs: str, group: Mapping[str, str]) -> Quoted:
    return Quoted(
        mean=float(values[0]),
        std=float(values[1]) if len(values) > 1 else None,
        runs=None if runs == "null" else int(runs),
        ddof=None if group["ddof"] == "null" else int(group["ddof"]),
        selection=group["selection"],
        source=group["source"],
        digits=len(values[0].partition(".")[2]),
    )
