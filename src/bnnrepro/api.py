"""The facade for notebooks and scripts: a Trainer that classifies by default, and ``load``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from torch import Tensor, nn

from bnnrepro.data.augment import normalise
from bnnrepro.errors import UserError, cannot_read
from bnnrepro.models.summary import Summary, summarise
from bnnrepro.store import reading
from bnnrepro.store.folder import RunFolder
from bnnrepro.store.result import read_result
from bnnrepro.tasks import TASKS, Classification, Task
from bnnrepro.training import checkpoint, trainer


class Trainer(trainer.Trainer):
    """Trains a model by a method; classification unless another task is given.

    ::

        trainer = Trainer(model).compile(method="bayesbinn", lr=1e-4)
        history = trainer.fit((x, y), validation_data=(x_val, y_val), epochs=10)
        probabilities = trainer.predict(x_new)

    Args:
        model: any ``nn.Module``; it is moved to the device. Weights of two or more dimensions are
            binarised (except by ``full_precision``), biases and BatchNorm's scales are not.
        task: loss and metrics; ``Classification()`` if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        seed: fixes order, dropout and the method's draws.
        precision: of the training steps, ``float32``, ``tf32`` or ``bf16``.
        compile_network: run forward and backward pass through ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task | None = None,
        *,
        device: str = "auto",
        seed: int = 0,
        precision: str = "float32",
        compile_network: bool = False,
    ) -> None:
        super().__init__(
            model,
            task or Classification(),
            device=device,
            seed=seed,
            precision=precision,
            compile_network=compile_network,
        )

    def summary(self, shape: Sequence[int]) -> Summary:
        """Return the layers with their binary and real parameters, and what they take in bits.

        Args:
            shape: of one input, without the batch: (C, H, W) for images.
        """
        if self._optimizer is None:
            return summarise(self.model, shape)
        return summarise(self.model, shape, self.optimizer.binary_parameters().__contains__)


@dataclass(frozen=True)
class Loaded:
    """A finished run: its trainer (model, method's state), and what belongs to its inputs.

    ``trainer.model`` holds the binary weights, ``trainer.optimizer.probabilities()`` the posterior
    of a method that has one, ``trainer.predict(run.preprocess(images), samples=10)`` predicts.
    ``about`` is what the data set said of itself: shape, number of outputs, classes, normalisation.
    """

    trainer: trainer.Trainer
    config: Any
    result: dict[str, Any]
    about: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; none where the task has no classes."""
        return tuple(self.about.get("classes", ()))

    @property
    def mean(self) -> tuple[float, ...]:
        """What the inputs' channels are normalised by: subtracted."""
        return tuple(self.about["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """What the inputs' channels are normalised by: divided by, after the mean."""
        return tuple(self.about["std"])

    @property
    def model(self) -> nn.Module:
        """The network, its parameters the deployable weights."""
        return self.trainer.model

    def preprocess(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, C, H, W), normalised as in training."""
        device = self.trainer.device
        mean, std = (torch.tensor(values, device=device) for values in (self.mean, self.std))
        return normalise(images.to(device), mean, std)


def load(folder: str | Path, which: str | None = None, *, device: str = "auto") -> Loaded:
    """Return a finished run's model and method, without its data set.

    Args:
        folder: the run's folder, ``multirun/<dataset>/<model>/<method>/<signature>``.
        which: ``best`` (best validation epoch) or ``final``; best where there is one if None.
        device: where the model shall live.

    Raises:
        UserError: if the folder has no finished run, or a file of it cannot be used.
    """
    from bnnrepro.config import check, instantiate

    run = RunFolder(Path(folder))
    result = read_result(run.result)
    which = which or ("best" if "best" in result else "final")
    if which not in ("best", "final"):
        raise UserError("which", which, "must be 'best' or 'final'")
    path = run.best if which == "best" else run.checkpoint
    try:
        state = checkpoint.load(path)
    except (FileNotFoundError, checkpoint.UnusableError) as error:
        raise UserError("folder", str(path), getattr(error, "reason", "is missing")) from error
    try:
        config = check(DictConfig(yaml.safe_load(reading.text(run.config))))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        reason = cannot_read(error)
        line = f"cannot be read ({reason})" if reason else "is damaged"
        raise UserError("folder", str(run.config), line) from error
    about = state["about"]
    if result["task"] not in TASKS:
        raise UserError("folder", str(run.result), f"has a task unknown here, {result['task']}")
    model = instantiate(
        config.effective_model, shape=tuple(about["shape"]), classes=about["outputs"]
    )
    task = TASKS[result["task"]].of(config, about)
    loaded = Trainer(model, task, device=device, seed=config.seed)

    def method(groups: Any, **offered: Any) -> Any:
        return instantiate(config.method, params=groups, offered=offered)

    loaded.compile(method).build_optimizer(result["n_train"])
    loaded.load_weights(state)
    loaded.model.eval()
    return Loaded(loaded, config, result, about)
