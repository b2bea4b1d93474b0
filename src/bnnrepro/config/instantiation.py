"""Build the object that a part of the typed config describes."""

import inspect
import typing
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from bnnrepro.constraints import shown
from bnnrepro.errors import UserError, nearest, readable
from bnnrepro.importing import locate

if typing.TYPE_CHECKING:
    from bnnrepro.config.schema import Part

LOGGERS = {
    "none": "bnnrepro.training.callbacks.Callback",
    "tensorboard": "bnnrepro.training.loggers.tensorboard.TensorBoard",
    "wandb": "bnnrepro.training.loggers.wandb.WandB",
}
"""Targets of the loggers, whose configs have their names alone; the last has all their keys."""


def instantiate(part: "Part", *, offered: Mapping[str, Any] | None = None, **extra: Any) -> Any:
    """Call a part's ``_target_`` with its keys and the caller's arguments.

    Args:
        part: a group of the typed config; its ``name`` is passed if there is such a parameter.
        offered: arguments passed only if the target has parameters of these names.
        extra: arguments that no config holds (parameters, shapes); they take precedence. A model
            takes ``shape`` and ``classes``; torchvision's take ``num_classes`` instead, timm's
            ``num_classes`` and ``in_chans``.

    Raises:
        UserError: the target refuses its arguments, or the system cannot read the data it needs.
    """
    keys = asdict(part)
    target = locate(f"{part.config_group}._target_", target_of(part.config_group, keys))
    parameters = inspect.signature(target).parameters
    optional = {"name": keys.pop("name"), **(offered or {})}
    package = str(keys.pop("_target_", None)).partition(".")[0]
    if package in ("torchvision", "timm") and "classes" in extra:
        planes = {"in_chans": extra["shape"][0]} if package == "timm" else {}
        extra = {"num_classes": extra["classes"], **planes}
    values = keys | {key: value for key, value in optional.items() if key in parameters} | extra
    data = readable("dataset.root", values["root"]) if "root" in values else nullcontext()
    try:
        with data:
            return target(**values)
    except (TypeError, ValueError) as error:
        words = " ".join(str(error).split())
        key, _, rest = words.partition("=")
        if key in keys:  # "lr=-1: must be ..." names the key itself
            allowed = rest.partition(": ")[2]
            raise UserError(f"{part.config_group}.{key}", shown(keys[key]), allowed) from error
        raise UserError(part.config_group, part.name, words) from error


def target_of(group: str, values: Mapping[Any, Any]) -> str:
    """Return the class or function, by its dotted name, that a part's keys choose."""
    if group == "logger" and "_target_" not in values:
        names = str(values.get("name")).split("+")
        for name in names:
            if name not in LOGGERS:
                allowed = f"must be one of {', '.join(LOGGERS)}{nearest(name, LOGGERS)}"
                raise UserError("logger.name", shown(name), allowed)
        return LOGGERS[max(names, key=[*LOGGERS].index)]
    target = values.get("_target_")
    if not isinstance(target, str):
        raise UserError(f"{group}._target_", shown(target), "must name a Python class or function")
    return target
