"""What later work must not change is as it was recorded: see ``golden.py``."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import golden

GOLDEN = json.loads(golden.FILE.read_text())


def numbers(node: object, key: str = "") -> Iterator[tuple[str, float]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, f"{key}.{name}")
        elif isinstance(value, int | float):
            yield f"{key}.{name}", value


def test_every_recorded_choice_still_exists() -> None:
    """A method or data set that is new since then has no names to keep."""
    assert {" ".join(words) for words in golden.choices()} >= set(GOLDEN["signatures"])


@pytest.mark.parametrize("words", GOLDEN["signatures"])
def test_signatures_stay(words: str) -> None:
    assert golden.signature_of(tuple(words.split(" "))) == GOLDEN["signatures"][words]


@pytest.mark.parametrize("name", golden.SHOWN)
def test_settings_stay(name: str) -> None:
    assert golden.settings_of(name) == GOLDEN["settings"][name]


@pytest.mark.usefixtures("code_read_once")
@pytest.mark.parametrize("resumed", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", golden.RUNS)
def test_figures_stay(name: str, resumed: bool, tmp_path: Path) -> None:
    """The same bits on the machine of the record; elsewhere the same but for rounding."""
    if resumed and name != "shapes":  # of a single epoch
        golden.figures_of(name, tmp_path, "stop_after=1")
    found, expected = golden.figures_of(name, tmp_path), GOLDEN["runs"][name]
    assert found["signature"] == expected["signature"]
    if golden.machine() == GOLDEN["machine"]:
        assert recorded(json.loads(json.dumps(found)), expected) == expected
        return
    # at its temperature of 1e-2 a sequence of tasks amplifies rounding, visibly from epoch 3 on
    rows = slice(2) if name == "permuted_digits" else slice(None)
    assert differing(found["rows"][rows], expected["rows"][rows]) == []


def recorded(found: Any, expected: object) -> Any:
    """What was found, without figures that are newer than the record."""
    if not isinstance(expected, dict):
        return found
    return {key: recorded(found[key], expected[key]) for key in expected}


def differing(found: object, expected: object) -> list[str]:
    """The figures that differ by more than rounding does; losses are means of many samples.

    A handful of samples may fall on the other side.
    """
    before = dict(numbers(expected))
    percent = re.compile(r"accuracy$|\.task_\d+$")
    return [
        key
        for key, value in numbers(found)
        if not math.isclose(
            value, before[key], rel_tol=0.05, abs_tol=10 if percent.search(key) else 0.05
        )
    ]


def test_a_difference_beyond_rounding_is_seen() -> None:
    rows = GOLDEN["runs"]["digits_bayesbinn"]["rows"]
    assert differing(rows, rows) == []
    worse = [{**row, "train_loss": 1.1 * row["train_loss"]} for row in rows]
    assert differing(worse, rows) == [f".{place}.train_loss" for place in range(len(rows))]
