"""What a run leaves that must not depend on how it got there."""

import csv
import json
from typing import Any

import torch

from bnnrepro.runs.layout import RunFolder


def outcome(folder: RunFolder) -> tuple[Any, ...]:
    """Return figures, rows and weights, without the times."""
    result = _timeless(json.loads(folder.result.read_text()))
    with folder.metrics.open() as handle:
        rows = [_timeless(row) for row in csv.DictReader(handle)]
    states = [torch.load(path) for path in (folder.checkpoint, folder.best)]
    weights = [_bits(state["model"]) | _bits(state["optimizer"]) for state in states]
    return result, rows, weights


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "device")}
    return value


def _bits(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v for name, item in value.items() for k, v in _bits(item, f"{key}.{name}").items()
        }
    if isinstance(value, list | tuple):
        return _bits(dict(enumerate(value)), key)
    return {key: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}
