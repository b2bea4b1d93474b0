"""A run's result: the figures that tables are made of, written last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.store import atomic

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
    """Return a run's result, with the contract's keys sure to be there.

    ``best`` is there only when a validation split chose it; ``final`` and ``best`` have ``epoch``,
    ``train`` with its metrics, and for each of ``validation`` and ``test`` that the run had the
    metrics at the ``mode`` (and at the ``mean``, where the method has a posterior). Where there is
    no test set, ``train`` has these two beside its metrics.

    Raises:
        UserError: the file is missing or damaged; names the file and the key.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError("result", str(path), f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError("result", str(path), "damaged: it is not JSON") from error
    fault = _fault(content)
    if fault:
        raise UserError("result", str(path), f"damaged: {fault}")
    return content


def settings_of(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``evaluate`` settings of a result or one of its ``evaluations``.

    A result that is older than a key was evaluated with what that key's absence meant.
    """
    return {"ood": None, **evaluation["evaluate"]}


def _fault(result: object) -> str | None:
    """Return what is wrong with a result, naming the key; None if nothing is."""
    if not isinstance(result, Mapping):
        return "it must be a mapping"
    wanted = dict(_KEYS)
    for moment in ("final", "best"):
        if moment in result:
            wanted |= _moment_keys(moment, result[moment])
    for key, types in wanted.items():
        fault = _wrong(result, key, types)
        if fault:
            return fault
    return None


def _moment_keys(moment: str, content: object) -> dict[str, tuple[type, ...]]:
    """Return the keys that ``final`` or ``best`` must have, given the splits that it has."""
    keys: dict[str, tuple[type, ...]] = {
        moment: (dict,),
        f"{moment}.epoch": (int,),
        f"{moment}.train": (dict,),
    }
    for split in ("validation", "test"):
        if isinstance(content, Mapping) and content.get(split) is not None:
            keys |= {f"{moment}.{split}": (dict,), f"{moment}.{split}.mode": (dict,)}
    return keys


def _wrong(result: object, key: str, types: tuple[type, ...]) -> str | None:
    value = result
    for word in key.split("."):
        if not isinstance(value, Mapping) or word not in value:
            return f"'{key}' is missing"
        value = value[word]
    wrong_bool = isinstance(value, bool) and types != _ANYTHING  # a bool is an int to Python
    if wrong_bool or not isinstance(value, types):
        names = " or ".join(kind.__name__ for kind in types)
        return f"'{key}' is {value!r}, not {names}"
    return None
