"""A part of a run, such as its data set: checked by its schema, or by its target's signature."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config import (
    datasets,
    models,  # noqa: F401  (registers the models)
    schema,
)
from bnnrepro.config.constraints import build, refuse_unknown, shown
from bnnrepro.config.schema import REGISTRY
from bnnrepro.errors import UserError, nearest

BASES: dict[str, type] = {
    "dataset": schema.DataSet,
    "model": schema.Model,
    "method": schema.Method,
    "scheduler": schema.Scheduler,
    "logger": schema.Logger,
}
# Keys that describe a part to bnnrepro; the part's own function need not accept them.
DECLARED = {"dataset": ("name", "shape", "classes", "validation_split")}
OOD_KEY = "evaluate.ood"


def conf_dir() -> Path:
    """Return the folder of the configs: the checkout's ``conf/``, else the installed package's."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


def check_part(group: str, values: Mapping[Any, Any]) -> Any:
    """Return one part of a run as its dataclass, checked by itself.

    Raises:
        UserError: a key is unknown, missing, of the wrong type or out of range, or the target
            cannot be imported or is of another group.
    """
    target = values.get("_target_", values.get("name"))
    if not isinstance(target, str):
        raise UserError(f"{group}._target_", shown(target), "must name a Python class or function")
    cls = REGISTRY.get((group, target))
    if cls is None and "_target_" not in values:
        names = [key for owner, key in REGISTRY if owner == group and "." not in key]
        raise UserError(f"{group}.name", target, f"must be one of {', '.join(names)}")
    owners = [owner for owner, key in REGISTRY if key == target and owner != group]
    if owners:
        raise UserError(f"{group}._target_", target, f"is a {owners[0]}, not a {group}")
    return build(group, values, cls or _from_signature(group, target, values))


def _from_signature(group: str, target: str, values: Mapping[Any, Any]) -> type:
    """Make the schema of a part that is not registered: the parameters of its signature."""
    function = locate(f"{group}._target_", target)
    parameters = inspect.signature(function).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not open_ended:
        declared = DECLARED.get(group, ("name",))
        refuse_unknown(group, values, ["_target_", *declared, *parameters])
    hints = _hints(function)
    extra: dict[str, Any] = {"group": group}
    if group == "method":
        extra["scheduled"] = getattr(function, "scheduled", "lr" if "lr" in parameters else None)
    if group == "model":
        smallest = getattr(function, "minimum_size", 1)
        extra["minimum_size"] = lambda self: smallest if isinstance(smallest, int) else 1
        extra["tasks"] = getattr(function, "tasks", None)
        extra["inputs"] = getattr(function, "inputs", None)
    own = [
        (str(key), hints.get(key, Any), field())
        for key in values
        if key not in ("_target_", "name")
    ]
    name = getattr(function, "__name__", "Part")
    return make_dataclass(name, own, bases=(BASES[group],), namespace=extra)


def locate(key: str, target: str) -> Callable[..., Any]:
    """Import the class or function of a ``_target_``; UserError if there is none."""
    module, _, name = target.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(key, target, f"cannot be imported: {reason}") from error
    if not callable(function):
        raise UserError(key, target, "must be a class or a function")
    return typing.cast(Callable[..., Any], function)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        annotated = function.__init__ if inspect.isclass(function) else function
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError):  # annotations that only a type checker can see
        return {}


def ood_dataset(name: str) -> datasets.ImageSet:
    """Return the typed config of the data set that ``evaluate.ood`` names, with its own defaults.

    It is read from ``conf/dataset`` without composing.

    Raises:
        UserError: there is no such data set, it is not of images, or it needs a value.
    """
    names = sorted(path.stem for path in (conf_dir() / "dataset").glob("*.yaml"))
    if name in names and isinstance(part := _read_dataset(name), datasets.ImageSet):
        return part
    fitting = [option for option in names if _is_image_set(option)]
    allowed = f"must be null or a data set of images: {', '.join(fitting)}{nearest(name, fitting)}"
    raise UserError(OOD_KEY, name, allowed)


def _is_image_set(name: str) -> bool:
    try:
        return isinstance(_read_dataset(name), datasets.ImageSet)
    except UserError:
        return False


def _read_dataset(name: str) -> Any:
    try:
        content = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
        values = OmegaConf.to_container(content, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = f"its {error.full_key} needs a value, which cannot be given here"
        raise UserError(OOD_KEY, name, reason) from error
    assert isinstance(values, dict)
    values.pop("defaults", None)
    return check_part("dataset", values)
