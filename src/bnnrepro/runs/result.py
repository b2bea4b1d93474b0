"""A run's ``result.json``: the figures for tables, written last."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError, cannot_read
from bnnrepro.runs import atomic, reading

_NUMBER = (int, float)
_TEXT = (str,)
_ANYTHING = (object,)

_KEYS: dict[str, tuple[type, ...]] = {
    "signature": _TEXT,
    "preset": _TEXT,
    "seed": (int,),
    "task": _TEXT,
    "dataset": _TEXT,
    "model": _TEXT,
    "method": _TEXT,
    "epochs": (int,),
    "n_train": (int,),
    "n_validation": (int,),
    "n_test": (int,),
    "final": (dict,),
    "parameters": (dict,),
    "parameters.binary": (int,),
    "parameters.real": (int,),
    "parameters.bits": (int,),
    "seconds": _NUMBER,
    "device": _TEXT,
    "stands_for": _ANYTHING,
}

_SETTINGS: dict[str, tuple[type, ...]] = {
    "evaluate": (dict,),
    "evaluate.samples": (int,),
    "evaluate.average": _TEXT,
}
_SPLITS = ("train", "validation", "test")


class DamagedResultError(UserError):
    """A file whose content is not a result."""


def write_result(path: str | Path, result: Mapping[str, object]) -> None:
    """Write a run's result as JSON, atomically.

    Raises:
        ValueError: a key of the contract is missing or of another type.
    """
    fault = _fault(result)
    if fault:
        raise ValueError(f"result: {fault}")
    atomic.write_json(path, dict(result))


def read_result(path: str | Path) -> dict[str, Any]:
    """Return a run's result; the contract's keys are checked.

    ``best`` is present only if a validation split chose it; ``final`` and ``best`` have ``epoch``,
    ``train`` with its metrics, and for each of ``validation`` and ``test`` that the run had the
    metrics at the ``mode`` (and at the ``mean``, where the method has a posterior). Without a
    test set, ``train`` has these two beside its metrics.

    Raises:
        DamagedResultError: it is not a result; names the file and the wrong key.
        UserError: the file is missing, or the system does not give it.
    """
    try:
        content: dict[str, Any] = reading.parsed(Path(path))
    except (OSError, ValueError) as error:
        reason = cannot_read(error)
        if reason:
            raise UserError("result", str(path), f"cannot be read ({reason})") from error
        raise DamagedResultError("result", str(path), "damaged: it is not JSON") from error
    fault = _fault(content)
    if fault:
        raise DamagedResultError("result", str(path), f"damaged: {fault}")
    return content


def headline(result: Mapping[str, Any]) -> dict[str, object]:
    """Return the epoch that a result reports, and its own metric there on each held-out split."""
    moment = result.get("best", result["final"])
    metric = next((key for key in moment["train"] if key not in ("loss", "mode", "mean")), "")
    modes = {split: (moment.get(split) or {}).get("mode", {}) for split in _SPLITS[1:]}
    shown = {f"{s} {metric}": f"{m[metric]:.6g}" for s, m in modes.items() if metric in m}
    return {"epoch": moment["epoch"], **shown}


def settings_of(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``evaluate`` settings of a result or one of its ``evaluations``.

    A result older than a key was evaluated with that key's default.
    """
    return {"ood": None, "batch_statistics": False, **evaluation["evaluate"]}


def _fault(result: object) -> str | None:
    """Return the fault of a result, with its key; None if it has none."""
    if not isinstance(result, Mapping):
        return "it must be a mapping"
    fault = _wrong_keys(result, _KEYS) or _wrong_figures(result)
    again = result.get("evaluations", [])
    if not isinstance(again, list):
        return fault or f"'evaluations' is {again!r}, not list"
    for number, evaluation in enumerate(again):
        expected = _SETTINGS | {key: (dict,) for key in ("final", "best") if key in result}
        wrong = _wrong_keys(evaluation, expected) or _wrong_figures(evaluation)
        fault = fault or (wrong and f"evaluations[{number}]: {wrong}")
    return fault


def _wrong_figures(evaluation: Mapping[str, Any]) -> str | None:
    """Return the fault of the figures of a result or of one of its ``evaluations``."""
    expected = _SETTINGS if "evaluate" in evaluation else {}
    for moment in ("final", "best"):
        if moment in evaluation:
            expected = expected | _moment_keys(moment, evaluation[moment])
    fault = _wrong_keys(evaluation, expected)
    if fault:
        return fault
    figures = {
        f"{moment}.{split}": evaluation.get(moment, {}).get(split)
        for moment in ("final", "best")
        for split in (*_SPLITS, "ood")
    }
    for key, value in chain.from_iterable(leaves(node, key) for key, node in figures.items()):
        if not is_number(value):
            return f"'{key}' is {value!r}, not a number"
    return None


def leaves(node: object, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the figures below a result's ``key`` with their dotted keys; lists belong to tasks."""
    if isinstance(node, Mapping):
        for word, below in node.items():
            yield from leaves(below, f"{key}.{word}")
    elif node is not None and not isinstance(node, list):
        yield key, node


def is_number(value: object) -> bool:
    """Return whether a value is a number; a bool, an int to Python, is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment_keys(moment: str, content: object) -> dict[str, tuple[type, ...]]:
    """Return the keys that ``final`` or ``best`` must have, given the splits that it has."""
    keys: dict[str, tuple[type, ...]] = {
        moment: (dict,),
        f"{moment}.epoch": (int,),
        f"{moment}.train": (dict,),
    }
    for split in _SPLITS[1:]:
        if isinstance(content, Mapping) and content.get(split) is not None:
            keys |= {f"{moment}.{split}": (dict,), f"{moment}.{split}.mode": (dict,)}
    return keys


def _wrong_keys(result: object, expected: Mapping[str, tuple[type, ...]]) -> str | None:
    faults = (_wrong(result, key, types) for key, types in expected.items())
    return next((fault for fault in faults if fault), None)


def _wrong(result: object, key: str, types: tuple[type, ...]) -> str | None:
    value = result
    for word in key.split("."):
        if not isinstance(value, Mapping) or word not in value:
            return f"'{key}' is missing"
        value = value[word]
    wrong_bool = isinstance(value, bool) and types != _ANYTHING  # a bool is an int to Python
    if wrong_bool or not isinstance(value, types):
        names = " or ".join(t.__name__ for t in types)
        return f"'{key}' is {value!r}, not {names}"
    return None
