"""From a composed config to the typed one: types, keys, ranges, then what may go with what."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config import datasets, models, schema
from bnnrepro.config.constraints import build, refuse_unknown, shown
from bnnrepro.config.schema import REGISTRY, Config
from bnnrepro.errors import UserError

GROUPS = ("dataset", "model", "method", "scheduler", "logger")
DROPPED = ("hydra", "protocol", "experiment")  # serve composition only
# Keys that tell bnnrepro about a part; the part's own function need not know them.
DECLARED = {"dataset": ("name", "shape", "classes", "validation_split")}


def check(cfg: DictConfig) -> Config:
    """Return the typed config of a composed one.

    Raises:
        UserError: as ``typed``, and for an interpolation that leads nowhere.
    """
    return typed(_resolved(cfg))


def typed(values: Mapping[str, Any]) -> Config:
    """Return the typed config of plain values, of which nothing is resolved.

    Raises:
        UserError: for the first key that is unknown, missing, of the wrong type, out of range, or
            that does not go with another one.
    """
    tree = {**values}
    names = [each.name for each in fields(Config)]
    refuse_unknown("", tree, names)
    for group in GROUPS:
        if not isinstance(tree.get(group), Mapping):
            allowed = "must be one option, a mapping of keys; --help lists them"
            raise UserError(group, shown(tree.get(group)), allowed)
        tree[group] = part(group, tree[group])
    config: Config = build("", tree, Config)
    for rule in COMBINATIONS:
        rule(config)
    return config


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    try:
        for key in cfg:
            if key not in DROPPED:
                tree[str(key)] = _plain(cfg[key])
    except MissingMandatoryValue as error:
        raise UserError(str(error.full_key), "???", "needs a value") from error
    except OmegaConfBaseException as error:
        reason, key = str(error).splitlines()[0], str(error.full_key)
        raise UserError(key, _unresolved(cfg, key), f"cannot be resolved: {reason}") from error
    return tree


def _unresolved(cfg: DictConfig, key: str) -> str:
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        node = node.get(part, "") if isinstance(node, dict) else node
    return shown(node)


def _plain(node: Any) -> Any:
    if OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    return node


def part(group: str, values: Mapping[Any, Any]) -> Any:
    """Return one part of a run as its dataclass, checked by itself; UserError if it is wrong."""
    target = values.get("_target_", values.get("name"))
    if not isinstance(target, str):
        raise UserError(f"{group}._target_", shown(target), "must name a Python class or function")
    cls = REGISTRY.get((group, target))
    if cls is None and "_target_" not in values:
        names = [key for registered, key in REGISTRY if registered == group and "." not in key]
        raise UserError(f"{group}.name", target, f"must be one of {', '.join(names)}")
    other = next((each for each, key in REGISTRY if key == target and each != group), None)
    if other is not None:
        raise UserError(f"{group}._target_", target, f"is a {other}, not a {group}")
    return build(group, values, cls or _from_signature(group, target, values))


def _from_signature(group: str, target: str, values: Mapping[Any, Any]) -> type:
    """Make the schema of a part that is not registered: the parameters of its signature."""
    built = locate(f"{group}._target_", target)
    declared = DECLARED.get(group, ("name",))
    parameters = inspect.signature(built).parameters
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    if not open_ended:
        refuse_unknown(group, values, ["_target_", *declared, *parameters])
    hints = _hints(built)
    base = {"model": models.Model, "method": schema.Method}.get(group, schema.Part)
    extra: dict[str, Any] = {"group": group}
    if group == "method":
        extra["scheduled"] = getattr(built, "scheduled", "lr" if "lr" in parameters else None)
    if group == "model":
        smallest = getattr(built, "minimum_size", 1)
        extra["minimum_size"] = lambda self: smallest
        extra["tasks"] = getattr(built, "tasks", None)
        extra["inputs"] = getattr(built, "inputs", None)
    own = [
        (str(key), hints.get(key, Any), field())
        for key in values
        if key not in ("_target_", "name")
    ]
    return make_dataclass(getattr(built, "__name__", "Part"), own, bases=(base,), namespace=extra)


def locate(key: str, target: str) -> Callable[..., Any]:
    """Import the class or function of a ``_target_``; UserError if there is none."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(key, target, f"cannot be imported: {reason}") from error
    if not callable(found):
        raise UserError(key, target, "must be a class or a function")
    return typing.cast(Callable[..., Any], found)


def _hints(built: Callable[..., Any]) -> dict[str, Any]:
    try:
        function = built.__init__ if inspect.isclass(built) else built
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # annotations that only a type checker can see
        return {}


def _stop_after(config: Config) -> None:
    epochs = config.effective_epochs
    if config.stop_after is not None and config.stop_after > epochs:
        raise UserError("stop_after", config.stop_after, f"must be <= {epochs}, the epochs run")


def _paper_is_whole(config: Config) -> None:
    preset = config.preset
    whole = {"epochs": None, "train_limit": None, "test_limit": None, "width": 1, "stand_in": None}
    for key, nothing in whole.items():
        value = getattr(preset, key)
        if preset.name == "paper" and value != nothing:
            allowed = (
                "preset=paper shortens nothing; give the shortened one a name: preset.name=short"
            )
            raise UserError(f"preset.{key}", value, allowed)


def _stand_in(config: Config) -> None:
    name, data = config.preset.stand_in, config.dataset
    if name == "digits" and not isinstance(data, datasets.Downloaded):
        allowed = f"serves data sets that are downloaded; dataset={data.name} is at hand"
        raise UserError("preset.stand_in", name, allowed)
    if name == "shapes" and not isinstance(data, datasets.ISBI):
        raise UserError("preset.stand_in", name, "serves dataset=isbi_em alone")


def _out_is_a_folder(config: Config) -> None:
    if Path(config.out).exists() and not Path(config.out).is_dir():
        raise UserError("out", config.out, "must be a folder, not a file")


def _model_fits(config: Config) -> None:
    task, tasks = getattr(config.dataset, "task", None), getattr(config.model, "tasks", None)
    if task is None or tasks is None or task in tasks:
        return
    allowed = f"is for {' and '.join(tasks)}; dataset={config.dataset.name} is for {task}"
    raise UserError("model", config.model.name, allowed)


def _inputs_fit(config: Config) -> None:
    given, taken = getattr(config.dataset, "inputs", None), getattr(config.model, "inputs", None)
    if given is None or taken is None or given == taken:
        return
    allowed = f"takes {taken}; dataset={config.dataset.name} has {given}"
    raise UserError("model", config.model.name, allowed)


def _foreign_images(config: Config) -> None:
    name = config.evaluate.ood
    if name is None:
        return
    from bnnrepro.config.ood import foreign_set

    data, other = config.dataset, foreign_set(name)
    if not isinstance(data, datasets.ImageSet) or data.task != "classification":
        allowed = f"serves image classification, which dataset={data.name} is not; must be null"
        raise UserError("evaluate.ood", name, allowed)
    if other.name == data.name:
        raise UserError("evaluate.ood", name, "must be another data set than dataset")
    if data.shape and other.shape and data.shape[0] != other.shape[0]:
        allowed = f"has {other.shape[0]} channels, dataset={data.name} {data.shape[0]}: must agree"
        raise UserError("evaluate.ood", name, allowed)


def _image_size(config: Config) -> None:
    shape = getattr(config.dataset, "shape", None)
    smallest = getattr(config.model, "minimum_size", lambda: 1)()
    if isinstance(smallest, int) and shape and min(shape[1:], default=smallest) < smallest:
        raise UserError(
            "model",
            config.model.name,
            f"needs images of at least {smallest}x{smallest} pixels; dataset="
            f"{config.dataset.name} has {shape[1]}x{shape[2]}",
        )


def _normalisation(config: Config) -> None:
    data = config.dataset
    if not isinstance(data, datasets.Images):
        return
    if (data.mean is None) != (data.std is None):
        key = "dataset.mean" if data.mean is None else "dataset.std"
        raise UserError(key, "null", "mean and std must both be given or both be null")
    for key in ("mean", "std"):
        values = getattr(data, key)
        if values is not None and data.shape is not None and len(values) != data.shape[0]:
            allowed = f"must be a list of length {data.shape[0]}, one number a channel"
            raise UserError(f"dataset.{key}", shown(values), allowed)


def _augmentation(config: Config) -> None:
    data = config.dataset
    if (
        isinstance(data, datasets.ImageSet)
        and data.shape
        and data.augment.pad >= min(data.shape[1:])
    ):
        allowed = f"must be smaller than the image, {data.shape[1]}x{data.shape[2]}"
        raise UserError("dataset.augment.pad", data.augment.pad, allowed)


def _folder_shape(config: Config) -> None:
    data = config.dataset
    if not isinstance(data, datasets.ImageFolder) or not data.size or not data.shape:
        return
    if data.shape[1:] != [data.size, data.size]:
        raise UserError("dataset.size", data.size, f"contradicts dataset.shape={data.shape}")


def _drops(config: Config) -> None:
    step = config.scheduler
    if not isinstance(step, schema.Step):
        return
    if (step.step_size is None) == (step.milestones is None):
        raise UserError(
            "scheduler.milestones",
            shown(step.milestones),
            f"exactly one of milestones and step_size (now {shown(step.step_size)}) must be given",
        )
    if step.milestones is not None and step.milestones != sorted(set(step.milestones)):
        raise UserError("scheduler.milestones", shown(step.milestones), "must increase")


def _something_to_move(config: Config) -> None:
    method, scheduler = config.method, config.scheduler
    moved = getattr(method, "scheduled", None)
    if isinstance(scheduler, schema.Constant):
        return
    if moved is None:
        allowed = f"method={method.name} has nothing that a scheduler moves; use scheduler=constant"
        raise UserError("scheduler", scheduler.name, allowed)
    start = getattr(method, moved, None)
    if isinstance(scheduler, schema.Cosine) and start is not None and scheduler.final > start:
        allowed = f"must be <= method.{moved}={start:g}, where the cosine starts"
        raise UserError("scheduler.final", scheduler.final, allowed)


COMBINATIONS: tuple[Callable[[Config], None], ...] = (
    _stop_after,
    _paper_is_whole,
    _stand_in,
    _out_is_a_folder,
    _model_fits,
    _inputs_fit,
    _image_size,
    _foreign_images,
    _normalisation,
    _augmentation,
    _folder_shape,
    _drops,
    _something_to_move,
)
