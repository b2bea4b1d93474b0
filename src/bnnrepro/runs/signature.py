"""A run's signature: a short hash of every setting that can change its numbers."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePath

from bnnrepro.errors import UserError
from bnnrepro.runs.start import start_digest
from bnnrepro.runs.stored_config import settings_of

EXCLUDED = frozenset(
    {
        "out",
        "logger",
        "device",
        "threads",
        "compile",
        "checkpoint_every",
        "checkpoint_seconds",
        "stop_after",
        "evaluate",  # more evaluation of a finished run never trains it again
        "summary",
        "fail_fast",
        "dataset.root",  # data given by a path enter by content: the fingerprint
        "dataset.download",
        "dataset.in_memory",  # the same images in the same order
        *(f"dataset.{part}.{key}" for part in ("train", "test") for key in ("root", "download")),
    }
)
"""Dotted keys, with everything below them, that change no number of a run beyond rounding.

Keys that begin with ``on_`` (``on_done``, ``on_failed``) are excluded too, at any depth.
"""

NEUTRAL: Mapping[str, object] = {
    "preset.width": 1,
    "preset.stand_in": None,
    "dataset.test_split": 0,
    "method.stale_mean": False,
    "scheduler.warmup": 0,
    "training.early_stopping": None,
    "training.label_smoothing": 0,
    "training.class_weight": None,
    "training.accumulate": 1,
    "training.clip_norm": None,
    "training.ema": None,
    "real_layers": [],
    "init_from": None,
}
"""Dotted keys, newer than the first runs, that are left out at the value that changes nothing.

So a run keeps the name that it had before the key existed. A group left empty is left out too.
"""

FORMER = frozenset({"code", "compile_network", "optimizer.compile", "runs_per_job"})
"""Dotted keys of earlier versions that changed no number."""

FORMATS: Mapping[str, int] = {
    # 2: starts from the signs of the model's weights; 3: noise of 16 bits
    "bnnrepro.optim.BayesBiNN": 3,
    "bnnrepro.optim.BiMU": 2,  # 2: noise of 16 bits
    "bnnrepro.optim.Bop": 2,
    "bnnrepro.optim.PMF": 2,
}
"""``_target_`` of parts whose random numbers or decoded data differ from those of format 1, with
their present format: runs of two formats never share a folder.
"""

_LENGTH = 10
_ABSENT = object()


def signature(config: Mapping[str, object], fingerprint: str | None = None) -> str:
    """Return the ten hexadecimal digits that name the runs of a resolved configuration.

    The order of keys does not matter, nor whether a whole number is written ``1`` or ``1.0``, nor
    zero's sign; ``True`` is not 1. Lists and tuples are equal.

    Args:
        config: the resolved configuration: mappings, sequences, strings, numbers, booleans, None,
            enumerations and paths.
        fingerprint: hash of the content of data given by a path; None for other data.

    Raises:
        UserError: a number is NaN or infinite, a mapping's key is not a string, or ``init_from``
            names no checkpoint.
        TypeError: a value is of another type.
    """
    if isinstance(source := config.get("init_from"), str):  # by content, as data are
        config = {**config, "init_from": start_digest(source)}
    content: dict[str, object] = {"config": _canonical_mapping(config, "")}
    if fingerprint is not None:
        content["fingerprint"] = fingerprint
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def comparable(config: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that can change numbers, by dotted keys, as ``differing`` takes them.

    Args:
        config: as a run's folder has it, of any version, or as this version resolves it, without
            what a preset computes.

    Raises:
        UserError: a number is NaN or infinite.
    """
    return {
        key: _canonical(value, key)
        for key, value in settings_of(config).items()
        if not any(is_excluded(above) or above in FORMER for above in _above(key))
    }


def differing(stored: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    """Return the keys by which a run of any version is not the one that is asked for.

    A setting that the stored run lacks has the value that changes nothing; one that this version
    does not know (``unknown``) does not count, nor do formats.

    Args:
        stored: ``comparable`` of a run's folder.
        asked: ``comparable`` of a configuration of this version.
    """
    keys = [
        key for key in asked if not _same(stored.get(key, NEUTRAL.get(key, _ABSENT)), asked[key])
    ]
    return keys + [key for key in stored if key not in asked and _is_known(key, asked)]


def unknown(stored: Mapping[str, object], asked: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a stored run that this version does not know."""
    return {k: v for k, v in stored.items() if k not in asked and not _is_known(k, asked)}


def _is_known(key: str, asked: Mapping[str, object]) -> bool:
    return any(above in asked for above in _above(key))


def _above(key: str) -> list[str]:
    """Return a dotted key and those above it."""
    words = key.split(".")
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def is_excluded(key: str) -> bool:
    """Return whether a dotted key is left out, apart from what an excluded key above it decides."""
    return key in EXCLUDED or key.rpartition(".")[2].startswith("on_")


def _canonical_mapping(mapping: Mapping[str, object], prefix: str) -> dict[str, object]:
    content = {}
    for key in mapping:
        if not isinstance(key, str):
            raise UserError(prefix.rstrip(".") or "config", key, "keys must be strings")
        dotted = prefix + key
        if is_excluded(dotted):
            continue
        content[key] = _canonical(mapping[key], dotted)
        if dotted in NEUTRAL and content[key] == NEUTRAL[dotted]:
            del content[key]
            continue
        if content[key] == {} and mapping[key]:
            del content[key]
    if (target := mapping.get("_target_")) in FORMATS:
        content["format"] = FORMATS[str(target)]
    return content


def _canonical(value: object, key: str) -> object:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return _canonical_number(value, key)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return _canonical_mapping(value, f"{key}.")
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_canonical(item, f"{key}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{key}: {type(value).__name__} cannot be part of a run's signature")


def _canonical_number(value: int | float, key: str) -> int | float:
    if isinstance(value, int):
        return int(value)
    if not math.isfinite(value):
        raise UserError(key, value, "must be a finite number")
    return int(value) if value.is_integer() else float(value)
