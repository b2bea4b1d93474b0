"""The interface between the training loop and a task, which knows its loss and its metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from bnnrepro.data.batches import Source
from bnnrepro.optim import BinaryOptimizer

if TYPE_CHECKING:
    from bnnrepro.config import Config


EpochRow = dict[str, Any]
"""The metrics of an epoch: a row of ``metrics.csv``."""


class Training(Protocol):
    """The training loop as callbacks and tasks see it.

    Attributes:
        device: of the model.
        model: the network; outside a sampling context its parameters are the deployable weights.
        task: loss and metrics.
        source: the training set.
        epoch: number of finished epochs, which is the current epoch counted from 0.
        epochs: length of the whole schedule.
        batches: steps of an epoch.
        rows: metrics of the finished epochs.
        stop: set it to end training after the current epoch.
    """

    device: torch.device
    model: nn.Module
    task: Task
    source: Source | None
    epoch: int
    epochs: int
    batches: int
    rows: list[EpochRow]
    stop: bool

    @property
    def optimizer(self) -> BinaryOptimizer:
        """The method."""

    @property
    def batch(self) -> int:
        """Finished steps of the current epoch."""

    def running_metrics(self) -> tuple[float, float, float]:
        """Return mean loss, metric and samples per second of the current epoch."""

    def validate(self, source: Source) -> dict[str, float]:
        """Return ``loss`` and the metrics of a held-out split at the mode."""

    def evaluate(
        self, data: Any, *, samples: int | None = None, average: str = "probabilities"
    ) -> dict[str, float]:
        """Return the task's metrics at the mode, or at the mean over draws."""

    def predictions(
        self, data: Any, *, samples: int | None = None, average: str = "probabilities"
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return predictions, their standard deviation over draws, and targets."""

    def predict(
        self, inputs: Tensor, *, samples: int | None = None, average: str = "probabilities"
    ) -> Any:
        """Return predictions at the mode, or their mean and spread over draws."""

    def draws(self, data: Any, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return outputs and targets for each draw from the posterior."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training continues."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""

    def load_weights(self, state: dict[str, Any]) -> None:
        """Restore the weights and the posterior of a state."""


class Task(ABC):
    """Loss, metrics, prediction and outer loop of one kind of problem.

    Attributes:
        name: the kind, as data sets and results name it.
        metric: name of the metric that follows the loss in every row and selects the best epoch on
            validation.
        higher_is_better: the direction of that selection.
        samples: what a sample is called, in the plural.
        by_name: every subclass that has a ``name`` of its own.
        period: epochs after which the schedule restarts; None: it spans the whole run.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    samples: str = "samples"
    period: int | None = None
    by_name: ClassVar[dict[str, type[Task]]] = {}

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            Task.by_name[cls.name] = cls

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Task:
        """Return the task of a configuration.

        Args:
            cfg: the run's.
            about: the data set's description of itself (``Facts.about``).
        """
        return cls()

    # -- batches and evaluations -------------------------------------------------------------

    def accept(self, targets: Tensor) -> Tensor:
        """Return a caller's targets, one per sample, as loss and metrics take them.

        Raises:
            ValueError: if they are of a kind that would be misread.
        """
        return targets

    def check_outputs(self, outputs: Tensor, highest: int) -> None:
        """Raise ``ValueError`` if the model has no output for the highest class number of targets.

        Args:
            outputs: the model's, or predictions.
            highest: -1 where no targets were accepted.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    def training_loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss that a batch is trained on, a scalar; by default ``loss``.

        Args:
            outputs: the model's.
            targets: one per sample.
            weights: factors of the samples' losses, or of the pixels'; None: all are 1.

        Raises:
            ValueError: the task has no weights.
        """
        if weights is not None:
            raise ValueError(f"{self.name} has no weights of samples or of classes")
        return self.loss(outputs, targets)

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the metric summed over the samples of a batch, a scalar on their device."""

    def metric_of(self, total: float, count: float) -> float:
        """Return the metric of ``count`` samples from the sum of their scores."""
        return total / count

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Return predictions, the default quantity to average over draws, one row per sample."""

    @abstractmethod
    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return predictions from outputs that were averaged over draws instead."""

    @abstractmethod
    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the task's metrics of predictions, one row per sample."""

    def measure_draws(self, mean: Tensor, spread: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the metrics of predictions averaged over draws.

        Args:
            mean: the averaged predictions, one row per sample.
            spread: the standard deviation over the draws, of the averaged quantity.
            targets: one per sample.
        """
        return self.measure(mean, targets)

    def validate(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return ``loss`` and the metrics of a whole split at the mode, for an epoch's row."""
        loss = float(self.loss(outputs, targets))
        score = float(self.score(outputs, targets))
        return {"loss": loss, self.metric: self.metric_of(score, len(targets))}

    def better(self, new: float, old: float) -> bool:
        """Return whether a value of the metric beats another; NaN beats none, and any beats it."""
        if math.isnan(old):
            return not math.isnan(new)
        return new > old if self.higher_is_better else new < old

    # -- around the epochs --------------------------------------------------------------------

    def before_epoch(self, training: Training) -> None:
        """Prepare epoch ``training.epoch`` (from 0), before its first step."""

    def training_source(self, source: Source, epoch: int) -> Source:
        """Return the source of an epoch (from 0), which depends only on the epoch's number."""
        return source

    def epoch_metrics(self, training: Training, source: Source) -> dict[str, float]:
        """Return ``loss`` and the metrics of a held-out split at the mode, for an epoch's row."""
        return training.validate(source)

    def after_epoch(self, training: Training, held_out: Mapping[str, Source]) -> dict[str, Any]:
        """Finish an epoch after its last step; return further columns of its row.

        Args:
            training: ``training.epoch`` is still the epoch's number, from 0.
            held_out: the sources of ``validation`` and ``test``, those that exist.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the task's own state, which is part of every checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""

    # -- a trained network --------------------------------------------------------------------

    def evaluate(
        self, training: Training, source: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, Any]]:
        """Return a split's final metrics: at the ``mode``, and at the ``mean`` of a posterior.

        Further entries, such as curves, are recorded in the result next to the splits, for the test
        set only.

        Args:
            training: holds the weights.
            source: the split.
            samples: number of draws for the mean.
            average: ``probabilities`` or ``logits``.
        """
        figures = {"mode": training.evaluate(source)}
        if training.optimizer.has_posterior:
            figures["mean"] = training.evaluate(source, samples=samples, average=average)
        return figures

    def ood_scores(
        self, training: Training, test: Source, ood: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, float]]:
        """Return scores of out-of-distribution detection, such as AUROC, at ``mode`` and ``mean``.

        Args:
            training: holds the weights.
            test: the test set.
            ood: the out-of-distribution samples.
            samples: number of draws for the mean.
            average: ``probabilities`` or ``logits``.
        """
        raise NotImplementedError(f"{self.name} has no out-of-distribution detection")

    def finish(self, training: Training, test: Source | None, folder: Path) -> None:
        """Write further files of a finished run, such as pictures of predictions.

        Args:
            training: holds the weights of the best epoch on validation, or of the last one without
                a validation split; ``training.source`` is the training set.
            test: the test set, if there is one.
            folder: the run's.
        """

    def is_finished(self, training: Training, test: Source | None, folder: Path) -> bool:
        """Return whether a finished run's folder has the files that ``finish`` would write now.

        If not, after a change of the evaluation settings for example, ``finish`` is called again.

        Args:
            training: as for ``finish``, but without the weights.
            test: as for ``finish``.
            folder: the run's.
        """
        return True


def best_row(rows: list[EpochRow], task: Task) -> EpochRow | None:
    """Return the first row of the best validation value; None without a validation split."""
    key = f"validation_{task.metric}"
    best: EpochRow | None = None
    for row in rows:
        if key in row and (best is None or task.better(row[key], best[key])):
            best = row
    return best


def class_numbers(targets: Tensor, dims: int) -> Tensor:
    """Return class numbers as int64, without an axis of length 1 after the samples'.

    Args:
        targets: integers or booleans, >= 0.
        dims: number of their dimensions: 1 for samples, 3 for the pixels of images.

    Raises:
        ValueError: for floating numbers, another shape, or a negative number.
    """
    whole = not (targets.is_floating_point() or targets.is_complex())
    flat = targets.squeeze(1) if targets.ndim == dims + 1 and targets.shape[1] == 1 else targets
    if not whole or flat.ndim != dims:
        shape = ("N", "H", "W")[:dims]
        raise ValueError(
            f"targets={str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}: "
            f"must be class numbers, integers of shape ({', '.join(shape)}{',' * (dims == 1)}); "
            "of one-hot vectors or probabilities, targets.argmax(1)"
        )
    flat = flat.long()
    if flat.numel() and (lowest := int(flat.min())) < 0:
        raise ValueError(f"targets={lowest}: class numbers must be >= 0")
    return flat
