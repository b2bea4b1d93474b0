"""Build the parts of a run from its configuration: data, model, method, training loop."""

from dataclasses import dataclass
from typing import Any

import torch

from bnnrepro.config import Config, instantiate
from bnnrepro.config.validation import refuse_controls
from bnnrepro.constraints import shown
from bnnrepro.data.batches import Source
from bnnrepro.data.dataset import DataSet, Facts, Loader, Sources
from bnnrepro.errors import UserError
from bnnrepro.experiment.threads import set_threads
from bnnrepro.experiment.warm_start import WarmStart
from bnnrepro.importing import locate
from bnnrepro.models.summary import ModelSummary, summarise
from bnnrepro.optim import param_groups
from bnnrepro.optim.kernels.compiling import why_not
from bnnrepro.seeds import seed_generators
from bnnrepro.tasks import task_named
from bnnrepro.training.controls import class_weights
from bnnrepro.training.loop import TrainingLoop
from bnnrepro.training.precision import unsupported


@dataclass
class Parts:
    """The parts of a run; ``ood`` is the out-of-distribution test set, ``evaluate.ood``.

    ``class_weight`` has the factor of each class's training loss; None: all are 1.
    """

    cfg: Config
    data: Facts
    sources: Sources
    trainer: TrainingLoop
    summary: ModelSummary
    ood: Source | None = None
    class_weight: list[float] | None = None


def build(cfg: Config) -> Parts:
    """Load the data and build model, method and trainer; nothing is written."""
    set_threads(cfg.threads)
    device = _device(cfg.device)
    _check_device(cfg, device)
    seed_generators(cfg.seed, "data")  # a user's own data set may draw its samples
    data = load_data(cfg)
    facts = data.facts
    ood = _ood_source(cfg, facts, device)
    seed_generators(cfg.seed, "init")
    model = instantiate(cfg.effective_model, shape=facts.shape, classes=facts.outputs)
    try:
        param_groups(model, cfg.real_layers)
    except ValueError as error:  # "real=stem: matches no layer; ..."
        pattern, _, allowed = str(error).removeprefix("real=").partition(": ")
        raise UserError("real_layers", pattern, allowed) from error
    start = None if cfg.init_from is None else WarmStart(cfg)
    if start is not None:
        start.load_weights(model)
    sources = data.sources(
        seed=cfg.seed,
        device=device,
        batch_size=cfg.batch_size,
        train_limit=cfg.preset.train_limit,
        test_limit=cfg.preset.test_limit,
        margin=getattr(model, "margin", 0),
    )
    del data  # the sources hold the samples

    def method(groups: Any, **offered: Any) -> Any:
        return instantiate(cfg.method, params=groups, offered=offered)

    refuse_controls(cfg, facts.task, sources.validation is not None)
    task = task_named(facts.task).of(cfg, facts.about())
    trainer = TrainingLoop(
        model,
        task,
        device=str(device),
        seed=cfg.seed,
        precision=cfg.precision,
        compile_network=cfg.compile.network,
    )
    trainer.compile(
        method,
        scheduler=instantiate(cfg.scheduler),
        compile_optimizer=cfg.compile.optimizer,
        accumulate=cfg.training.accumulate,
        clip_norm=cfg.training.clip_norm,
        ema=cfg.training.ema,
        real_layers=cfg.real_layers,
    )
    trainer.source = sources.train  # set even if a finished run is only evaluated
    try:
        optimizer = trainer.build_optimizer(sources.train.n_samples)
    except TypeError as error:
        raise UserError("method", cfg.method.name, str(error)) from error
    if start is not None:
        start.load_state(optimizer)
    try:
        binary = optimizer.binary_parameters()
        summary = summarise(trainer.model, facts.shape, binary.__contains__)
    except (RuntimeError, ValueError, AssertionError) as error:  # of a model that is not ours
        reason = f"does not take inputs of shape {tuple(facts.shape)}: {error}"
        raise UserError("model", cfg.model.name, " ".join(reason.split())) from error
    if cfg.training.ema is not None and not summary.real:
        raise UserError("training.ema", cfg.training.ema, "all parameters are binary; must be null")
    return Parts(cfg, facts, sources, trainer, summary, ood, _class_weight(cfg, sources))


def _class_weight(cfg: Config, sources: Sources) -> list[float] | None:
    setting = cfg.training.class_weight
    try:
        weights = class_weights(setting, sources.class_counts)
    except ValueError as error:
        allowed = str(error).partition(": ")[2]
        raise UserError("training.class_weight", shown(setting), allowed) from error
    return None if weights is None else weights.tolist()


def _ood_source(cfg: Config, facts: Facts, device: torch.device) -> Source | None:
    if cfg.evaluate.ood is None:
        return None
    from bnnrepro.config.parts import ood_dataset  # few runs need these two
    from bnnrepro.data.images import ood_batches

    try:
        ood_data = instantiate(ood_dataset(cfg.evaluate.ood))
    except UserError as error:
        where = "BNNREPRO_DATA names the folder that holds it"
        raise UserError("evaluate.ood", cfg.evaluate.ood, f"{error}; {where}") from error
    return ood_batches(facts, ood_data, device=device, limit=cfg.preset.test_limit)


def load_data(cfg: Config) -> DataSet:
    """Return the data set, or its stand-in.

    Raises:
        UserError: the data are missing, or contradict their configuration.
    """
    if cfg.preset.stand_in is None:
        data: DataSet = instantiate(cfg.dataset)
        return data
    from bnnrepro.data import digits, shapes  # few runs need these

    loader = locate("dataset._target_", cfg.dataset._target_)
    assert isinstance(loader, Loader)
    common = {key: getattr(cfg.dataset, key) for key in loader.common}
    if cfg.preset.stand_in == "shapes":
        return shapes.stand_in(**common)
    return digits.stand_in(**common)


def _check_device(cfg: Config, device: torch.device) -> None:
    """Raise UserError, before anything is written, for what the device cannot do."""
    if reason := unsupported(cfg.precision, device):
        raise UserError("precision", cfg.precision, reason)
    for key, required in (
        ("compile.optimizer", cfg.compile.optimizer == "on"),
        ("compile.network", cfg.compile.network),
    ):
        if required and (reason := why_not(device)):
            raise UserError(key, "on", f"nothing can be compiled for {device}: {reason}")


def _device(name: str) -> torch.device:
    available = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if available else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if (device.index or 0) >= available:
            raise UserError("device", name, f"there are {available} GPUs here; cpu or auto works")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device
