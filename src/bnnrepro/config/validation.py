"""Check a composed config: types, keys and ranges, then which settings go together."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config import datasets, schema
from bnnrepro.config.constraints import build, refuse_unknown, shown
from bnnrepro.config.parts import BASES, OOD_KEY, check_part, ood_dataset
from bnnrepro.config.schema import RENAMED, Config
from bnnrepro.errors import UserError

DROPPED = ("hydra", "protocol", "experiment")  # serve composition only


def check(cfg: DictConfig) -> Config:
    """Return the typed config of a composed one.

    Raises:
        UserError: as ``typed``, and for an interpolation that cannot be resolved.
    """
    return typed(_resolved(cfg))


def typed(values: Mapping[str, Any]) -> Config:
    """Return the typed config of plain values, in which nothing is interpolated.

    Raises:
        UserError: for the first key that is unknown, missing, of the wrong type, out of range, or
            in conflict with another one.
    """
    tree = {**values}
    for key in RENAMED.keys() & tree.keys():
        raise UserError(key, shown(tree[key]), f"is called {RENAMED[key]} now")
    refuse_unknown("", tree, [field.name for field in fields(Config)])
    for group in BASES:
        if not isinstance(tree.get(group), Mapping):
            allowed = "must be one option, a mapping of keys; --help lists them"
            raise UserError(group, shown(tree.get(group)), allowed)
        tree[group] = check_part(group, tree[group])
    config = build("", tree, Config)
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


def _stop_after(config: Config) -> None:
    epochs = config.effective_epochs
    if config.stop_after is not None and config.stop_after > epochs:
        raise UserError("stop_after", config.stop_after, f"must be <= {epochs}, the epochs run")


def _paper_is_unshortened(config: Config) -> None:
    preset = config.preset
    whole = {"epochs": None, "train_limit": None, "test_limit": None, "width": 1, "stand_in": None}
    for key, neutral in whole.items():
        value = getattr(preset, key)
        if preset.name == "paper" and value != neutral:
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
    task, tasks = config.dataset.task, config.model.tasks
    if task is None or tasks is None or task in tasks:
        return
    allowed = f"is for {' and '.join(tasks)}; dataset={config.dataset.name} is for {task}"
    raise UserError("model", config.model.name, allowed)


def _inputs_fit(config: Config) -> None:
    given, taken = config.dataset.inputs, config.model.inputs
    if given is None or taken is None or given == taken:
        return
    allowed = f"takes {taken}; dataset={config.dataset.name} has {given}"
    raise UserError("model", config.model.name, allowed)


def _ood_images(config: Config) -> None:
    name, data = config.evaluate.ood, config.dataset
    if name is None:
        return
    ood = ood_dataset(name)
    if not isinstance(data, datasets.ImageSet) or data.task != "classification":
        allowed = f"serves image classification, which dataset={data.name} is not; must be null"
        raise UserError(OOD_KEY, name, allowed)
    if ood.name == data.name:
        raise UserError(OOD_KEY, name, "must be another data set than dataset")
    if data.shape and ood.shape and data.shape[0] != ood.shape[0]:
        allowed = f"has {ood.shape[0]} channels, dataset={data.name} {data.shape[0]}: must agree"
        raise UserError(OOD_KEY, name, allowed)


def _image_size(config: Config) -> None:
    shape, smallest = getattr(config.dataset, "shape", None), config.model.minimum_size()
    if shape and min(shape[1:], default=smallest) < smallest:
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


def _step_drops(config: Config) -> None:
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


def _scheduled_key(config: Config) -> None:
    method, scheduler, scheduled = config.method, config.scheduler, config.method.scheduled
    if isinstance(scheduler, schema.Constant):
        return
    if scheduled is None:
        allowed = f"method={method.name} has nothing that a scheduler moves; use scheduler=constant"
        raise UserError("scheduler", scheduler.name, allowed)
    start = getattr(method, scheduled, None)
    if isinstance(scheduler, schema.Cosine) and start is not None and scheduler.final > start:
        allowed = f"must be <= method.{scheduled}={start:g}, where the cosine starts"
        raise UserError("scheduler.final", scheduler.final, allowed)


COMBINATIONS: tuple[Callable[[Config], None], ...] = (
    _stop_after,
    _paper_is_unshortened,
    _stand_in,
    _out_is_a_folder,
    _model_fits,
    _inputs_fit,
    _image_size,
    _ood_images,
    _normalisation,
    _augmentation,
    _folder_shape,
    _step_drops,
    _scheduled_key,
)
