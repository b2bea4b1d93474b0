"""A part of a run, such as its method: checked by the declarations of its constructor."""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bnnrepro.config import schema
from bnnrepro.config.instantiation import instantiate, target_of
from bnnrepro.config.protocol import register
from bnnrepro.constraints import build, describe, hints, meanings, refuse_unknown
from bnnrepro.errors import UserError, nearest
from bnnrepro.importing import locate

BASES: dict[str, type[Any]] = {
    "dataset": schema.DataSet,
    "model": schema.Model,
    "method": schema.Method,
    "scheduler": schema.Scheduler,
    "logger": schema.Logger,
}
ROOMS = {
    "bnnrepro.data": "dataset",
    "bnnrepro.models": "model",
    "bnnrepro.optim.schedules": "scheduler",
    "bnnrepro.optim": "method",
    "bnnrepro.training.loggers": "logger",
}
"""The group that each of our packages serves."""

SUPPLIED: dict[str, frozenset[str]] = {
    "model": frozenset({"shape", "classes"}),
    "method": frozenset({"params", "train_set_size", "total_steps", "generator"}),
    "logger": frozenset({"cfg", "folder", "signature"}),
}
"""Parameters that a run fills in; they are no keys."""

NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
OOD_KEY = "evaluate.ood"


def conf_dir() -> Path:
    """Return the folder of the configs: the checkout's ``conf/``, else the installed package's."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


def check_part(group: str, values: Mapping[Any, Any]) -> Any:
    """Return one part of a run as a dataclass of its keys, checked by itself.

    Raises:
        UserError: a key is unknown, of the wrong type or out of range, or the target cannot be
            imported or is of another group.
    """
    target = target_of(group, values)
    owner = next((owner for room, owner in ROOMS.items() if target.startswith(room)), group)
    if owner != group:
        raise UserError(f"{group}._target_", target, f"is a {owner}, not a {group}")
    function = locate(f"{group}._target_", target)
    parameters = _parameters(group, function)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        refuse_unknown(group, values, ["_target_", "name", *parameters])
    for name, parameter in parameters.items():
        if name not in values and parameter.default is parameter.empty and parameter.kind in NAMED:
            allowed = f"is missing; must be {describe(hints(function).get(name, Any))}"
            raise UserError(f"{group}.{name}", "", allowed)
    keys = [name for name in parameters if name in values]
    keys += [str(key) for key in values if key not in keys]
    part = build(group, values, _part_class(group, target, tuple(keys)))
    if group == "scheduler":
        instantiate(part)  # settings that contradict each other
    elif hasattr(function, "check"):
        function.check(vars(part))
    return part


def _parameters(group: str, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that are keys of a config."""
    parameters = inspect.signature(function).parameters
    return {k: p for k, p in parameters.items() if k not in SUPPLIED.get(group, ())}


@functools.cache
def _part_class(group: str, target: str, keys: Sequence[str]) -> type[Any]:
    """Make the dataclass of a part from its target's parameters and attributes."""
    function, base = locate(f"{group}._target_", target), BASES[group]
    types, attributes = hints(function), typing.get_type_hints(base)
    described = {
        name: getattr(function, name)
        for name, kind in attributes.items()
        if typing.get_origin(kind) is typing.ClassVar and hasattr(function, name)
    }
    if group == "method" and "lr" not in types:
        described.setdefault("scheduled", None)
    own = [
        (key, types.get(key, Any), field())
        for key in keys
        if key in types or key not in ("_target_", "name")
    ]
    name = getattr(function, "__name__", "Part")
    namespace = {**described, "config_group": group, "meanings": meanings(function)}
    return make_dataclass(name, own, bases=(base,), namespace=namespace)


def ood_dataset(name: str) -> Any:
    """Return the typed config of the data set that ``evaluate.ood`` names, with its own defaults.

    It is read from ``conf/dataset`` without composing.

    Raises:
        UserError: there is no such data set, it is not of images, or it needs a value.
    """
    register()
    files = sorted((conf_dir() / "dataset").glob("*.yaml"))
    options = {file.stem: options for file in files if _has_images(options := OmegaConf.load(file))}
    if missing := sorted(OmegaConf.missing_keys(options.get(name, OmegaConf.create()))):
        reason = f"its {missing[0]} needs a value, which cannot be given here"
        raise UserError(OOD_KEY, name, reason)
    if name not in options:
        names = [name for name, values in options.items() if not OmegaConf.missing_keys(values)]
        allowed = f"must be null or a data set of images: {', '.join(names)}{nearest(name, names)}"
        raise UserError(OOD_KEY, name, allowed)
    values = OmegaConf.to_container(options[name], resolve=True)
    assert isinstance(values, dict)
    values.pop("defaults", None)
    return check_part("dataset", values)


def _has_images(values: Any) -> bool:
    loader = locate("dataset._target_", values["_target_"])
    described = getattr(loader, "task", None), getattr(loader, "inputs", None)
    return described == ("classification", "images")
