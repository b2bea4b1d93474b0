"""Check a composed config: types, keys and ranges, then which settings go together."""

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config.parts import BASES, OOD_KEY, check_part, ood_dataset
from bnnrepro.config.schema import RENAMED, Config, Model
from bnnrepro.constraints import build, describe, hints, refuse_unknown, shown
from bnnrepro.errors import UserError
from bnnrepro.importing import locate

DROPPED = ("hydra", "protocol", "experiment")  # serve composition only


def check(cfg: DictConfig) -> Config:
    """Return the typed config of a composed one.

    Raises:
        UserError: as ``typed``, for an interpolation that cannot be resolved, and for a logger
            whose package is not installed.
    """
    _refuse_removals(cfg)
    config = typed(_resolved(cfg))
    _refuse_missing_logger(config.logger.name)
    return config


def _refuse_missing_logger(name: str) -> None:
    """Refuse TensorBoard where it is not installed; stored runs that used it can be read."""
    if "tensorboard" in name.split("+") and find_spec("tensorboard") is None:
        raise UserError("logger", name, "needs TensorBoard: pip install 'bnnrepro[tensorboard]'")


def _refuse_removals(cfg: DictConfig) -> None:
    """Refuse to remove a key of a part (``~method.lr``), whose default would count unseen."""
    words: Any = OmegaConf.to_container(cfg.hydra.overrides.task) if "hydra" in cfg else ()
    for word in words:
        key, (group, _, name) = word.lstrip("~"), word.lstrip("~").partition(".")
        if word.startswith("~") and group in BASES and name:
            types = hints(locate(f"{group}._target_", cfg[group]._target_))
            allowed = f"is missing; must be {describe(types.get(name, Any))}"
            raise UserError(key, "", allowed)


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
    if name is not None and name not in data.stand_ins:
        served = " or ".join(data.stand_ins) or "nothing, as it is at hand"
        raise UserError("preset.stand_in", name, f"dataset={data.name} is replaced by {served}")


def _out_is_a_folder(config: Config) -> None:
    out, names = Path(config.out), (config.dataset.name, config.model.name, config.method.name)
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            out.joinpath(*names, "signature", "longest-name-of-a-file" * 2).stat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                allowed = "is too long for the file system"
                raise UserError("out", f"{config.out[:60]}...", allowed) from error
            raise
    if out.exists() and not out.is_dir():
        raise UserError("out", config.out, "must be a folder, not a file")


def _model_fits(config: Config) -> None:
    task, tasks = config.dataset.task, config.model.tasks
    if task is None or tasks is None or task in tasks:
        return
    if find_spec(f"bnnrepro.tasks.{task}") is None:
        return  # a task of one's own, which no model of ours can name
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
    if data.inputs != "images" or data.task != "classification":
        allowed = f"serves image classification, which dataset={data.name} is not; must be null"
        raise UserError(OOD_KEY, name, allowed)
    if ood.name == data.name:
        raise UserError(OOD_KEY, name, "must be another data set than dataset")
    ours, theirs = getattr(data, "shape", None), getattr(ood, "shape", None)
    if ours and theirs and ours[0] != theirs[0]:
        allowed = f"has {theirs[0]} channels, dataset={data.name} {ours[0]}: must agree"
        raise UserError(OOD_KEY, name, allowed)


def minimum_size(model: Model) -> int:
    """Return the smallest height and width of an image of which the model leaves a pixel."""
    target = locate("model._target_", model._target_)
    if hasattr(target, "minimum_size_of"):
        return int(target.minimum_size_of(getattr(model, "channels", ())))
    smallest = getattr(target, "minimum_size", 1)
    return smallest if isinstance(smallest, int) else 1


def _image_size(config: Config) -> None:
    shape, smallest = getattr(config.dataset, "shape", None), minimum_size(config.model)
    if shape and min(shape[1:], default=smallest) < smallest:
        raise UserError(
            "model",
            config.model.name,
            f"needs images of at least {smallest}x{smallest} pixels; dataset="
            f"{config.dataset.name} has {shape[1]}x{shape[2]}",
        )


def _scheduled_key(config: Config) -> None:
    method, scheduler, scheduled = config.method, config.scheduler, config.method.scheduled
    if not scheduler.moves and not getattr(scheduler, "warmup", 0):
        return
    if scheduled is None:
        allowed = f"method={method.name} has nothing that a scheduler moves; use scheduler=constant"
        raise UserError("scheduler", scheduler.name, allowed)
    start, final = getattr(method, scheduled, None), getattr(scheduler, "final", None)
    if start is not None and final is not None and final > start:
        allowed = f"must be <= method.{scheduled}={start:g}, where the schedule starts"
        raise UserError("scheduler.final", final, allowed)


def _controls(config: Config) -> None:
    data = config.dataset
    held_out = getattr(data, "validation_split", 0 if data.task else None)
    refuse_controls(config, data.task, held_out is None or held_out > 0)
    if config.training.accumulate > config.batch_size // 2:
        allowed = f"must be at most {config.batch_size // 2}: a part has two samples or more"
        raise UserError("training.accumulate", config.training.accumulate, allowed)


def refuse_controls(config: Config, task: str | None, validated: bool) -> None:
    """Raise UserError for controls of training that the data cannot have; task None: unknown."""
    controls = config.training
    if controls.early_stopping is not None and not validated:
        allowed = f"needs validation data, which dataset={config.dataset.name} has not as it is"
        raise UserError("training.early_stopping", controls.early_stopping, allowed)
    for key, tasks in (
        ("label_smoothing", ("classification", "continual")),
        ("class_weight", ("classification", "continual", "segmentation")),
    ):
        if getattr(controls, key) and task is not None and task not in tasks:
            allowed = f"is for {' and '.join(tasks)}, not for {task}"
            raise UserError(f"training.{key}", shown(getattr(controls, key)), allowed)


COMBINATIONS: tuple[Callable[[Config], None], ...] = (
    _stop_after,
    _paper_is_unshortened,
    _stand_in,
    _out_is_a_folder,
    _model_fits,
    _inputs_fit,
    _image_size,
    _ood_images,
    _scheduled_key,
    _controls,
)
