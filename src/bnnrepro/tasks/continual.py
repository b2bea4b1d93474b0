"""Continual learning: classification tasks in sequence, with one network and one head for all.

Section 4.3 of BayesBiNN (arXiv 2002.10778): after a task its posterior becomes the prior of the
next one. Every task has the same number of epochs and restarts the schedule; weights, moments and
momentum carry over, as in the published program, which keeps one optimizer for all tasks.

With R[i, j] the accuracy on task j after training on task i (both from 1 to T):

    average accuracy    mean over j of R[T, j]
    forgetting          mean over j < T of  max over i < T of R[i, j]  -  R[T, j]
    backward transfer   mean over j < T of  R[T, j] - R[j, j]

(Chaudhry et al. 2018, arXiv 1801.10112; Lopez-Paz & Ranzato 2017, arXiv 1706.08840).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bnnrepro.constraints import Fraction
from bnnrepro.data.batches import Batches, Changes, Indices, Pair
from bnnrepro.runs import atomic
from bnnrepro.runs.layout import POSTERIOR
from bnnrepro.tasks.classification import Classification

if TYPE_CHECKING:
    from bnnrepro.config import Config
    from bnnrepro.data.batches import Source
    from bnnrepro.data.permuted import PermutedBatches
    from bnnrepro.training.task import Training

EPOCH_DRAWS = 5  # of the posterior, for each task's accuracy after an epoch
BINS = 50  # of the histogram of P(w = +1)


class Continual(Classification):
    """Tasks in sequence; a source's ``of(task)`` returns the same samples as that task sees them.

    The state holds a copy of method and model after each finished task. It gives the running
    statistics of earlier tasks, the matrix R at the end with any number of draws, and the
    histograms.

    Args:
        tasks: their number T, >= 2.
        epochs: of each task, >= 1.
        prior: of every task after the first: the ``posterior`` of the task before, or ``fixed``,
            that of the first. It has no effect on a method without a posterior.
        norm_statistics: BatchNorm's running statistics: ``shared`` by the tasks, as in the
            published program, or one set ``per_task``, which is used to test that task.
        ece_bins: see ``Classification``, also for ``label_smoothing``.
    """

    name = "continual"
    samples = "images"

    def __init__(
        self,
        tasks: int,
        epochs: int,
        *,
        prior: str = "posterior",
        norm_statistics: str = "shared",
        ece_bins: int = 15,
        label_smoothing: Fraction = 0.0,
    ) -> None:
        super().__init__(ece_bins, label_smoothing=label_smoothing)
        self.tasks = tasks
        self.period: int = epochs
        self.prior = prior
        self.norm_statistics = norm_statistics
        self.finished: list[dict[str, Any]] = []
        self._latest: list[float] = []

    @classmethod
    def of(cls, cfg: Config, about: Mapping[str, Any]) -> Continual:
        """Return the task of a configuration."""
        dataset: Any = cfg.dataset
        return cls(
            about["tasks"],
            cfg.effective_epochs // about["tasks"],
            prior=dataset.prior,
            norm_statistics=dataset.norm_statistics,
            ece_bins=cfg.evaluate.ece_bins,
            label_smoothing=cfg.training.label_smoothing,
        )

    # -- around the epochs --------------------------------------------------------------------

    def training_source(self, source: Source, epoch: int) -> Source:
        """Return the batches of the task that an epoch (from 0) belongs to."""
        return _tasks_of(source).of(epoch // self.period)

    def before_epoch(self, training: Training) -> None:
        """Make the posterior the prior where a new task begins; repeating it is harmless."""
        if training.epoch == 0 or training.epoch % self.period:
            return
        if self.prior == "posterior" and training.optimizer.has_posterior:
            cast(Any, training.optimizer).set_prior_to_posterior()
        if self.norm_statistics == "per_task":
            for module in _norms(training.model).values():
                module.reset_running_stats()

    def epoch_metrics(self, training: Training, source: Source) -> dict[str, float]:
        """Return loss and accuracy at the mode, averaged over the tasks seen so far."""
        rows, self._latest = [], []
        for task in range(training.epoch // self.period + 1):
            with self._statistics_of(training, task):
                of_task = _cached(source, task)
                rows.append(training.validate(of_task))
                self._latest.append(self._few_draws(training, of_task, rows[-1]))
        return {key: _mean([row[key] for row in rows]) for key in rows[0]}

    def _few_draws(self, training: Training, source: Source, row: Mapping[str, float]) -> float:
        if not training.optimizer.has_posterior:
            return row[self.metric]
        return training.evaluate(source, samples=EPOCH_DRAWS)[self.metric]

    def after_epoch(self, training: Training, held_out: Mapping[str, Source]) -> dict[str, Any]:
        """Return each seen task's test accuracy over few draws; keep a copy of a finished task."""
        if (training.epoch + 1) % self.period == 0:
            self.finished.append(_snapshot(training))
        seen = self._latest if "test" in held_out else ()
        return {f"task_{task}": accuracy for task, accuracy in enumerate(seen, start=1)}

    def state_dict(self) -> dict[str, Any]:
        """Return the copies of model and method after each finished task."""
        return {"finished": self.finished}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.finished = list(state["finished"])

    @contextmanager
    def _statistics_of(self, training: Training, task: int) -> Iterator[None]:
        """Put a finished task's running statistics into the model, if they are kept per task."""
        if self.norm_statistics == "shared" or task >= len(self.finished):
            yield
            return
        buffers = _statistics(training.model)
        present = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            for name, buffer in buffers.items():
                buffer.copy_(self.finished[task]["model"][name])
            yield
        finally:
            for name, buffer in buffers.items():
                buffer.copy_(present[name])

    # -- a trained network --------------------------------------------------------------------

    def evaluate(
        self, training: Training, source: Source, *, samples: int, average: str
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics over all tasks, forgetting, backward transfer, and the matrix.

        Row i of the matrix holds the accuracy on each task so far after task i + 1.
        """
        kinds: dict[str, dict[str, Any]] = {"mode": {}}
        if training.optimizer.has_posterior:
            kinds["mean"] = {"samples": samples, "average": average}
        measured: dict[str, list[list[dict[str, float]]]] = {kind: [] for kind in kinds}
        for last in range(len(self.finished)):
            with self._as_after(training, last):
                for kind, settings in kinds.items():
                    measured[kind].append(self._on_tasks(training, source, last + 1, settings))
        return {kind: summary(rows) for kind, rows in measured.items()}

    def _on_tasks(
        self, training: Training, source: Source, seen: int, settings: Mapping[str, Any]
    ) -> list[dict[str, float]]:
        figures = []
        for task in range(seen):
            with self._statistics_of(training, task):
                figures.append(training.evaluate(_cached(source, task), **settings))
        return figures

    @contextmanager
    def _as_after(self, training: Training, task: int) -> Iterator[None]:
        """Restore model and method as they were after a finished task (from 0)."""
        present = _snapshot(training)
        try:
            training.load_weights(copy.deepcopy(self.finished[task]))
            yield
        finally:
            training.load_weights(present)

    def finish(self, training: Training, test: Source | None, folder: Path) -> None:
        """Write ``posterior.json``: histogram and entropy of P(w = +1) after each task."""
        if not training.optimizer.has_posterior:
            return
        counts, entropies = [], []
        for task in range(len(self.finished)):
            with self._as_after(training, task):
                posterior = cast(Any, training.optimizer).probabilities().values()
                probabilities = torch.cat([p.flatten().cpu() for p in posterior])
            counts.append(torch.histc(probabilities, bins=BINS, min=0, max=1).long().tolist())
            entropies.append(entropy_bits(probabilities))
        edges = [number / BINS for number in range(BINS + 1)]
        content = {"edges": edges, "counts": counts, "entropy_bits": entropies}
        atomic.write_json(folder / POSTERIOR, content)


def summary(rows: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Return the metrics of a run from those on each task after each task.

    Args:
        rows: row i has the metrics on the tasks 0 to i after training on task i.
    """
    last = rows[-1]
    figures: dict[str, Any] = {key: _mean([row[key] for row in last]) for key in last[0]}
    matrix = [[metrics["accuracy"] for metrics in row] for row in rows]
    earlier = range(len(matrix) - 1)
    lost = [max(row[j] for row in matrix[j:-1]) - matrix[-1][j] for j in earlier]
    gained = [matrix[-1][j] - matrix[j][j] for j in earlier]
    return figures | {
        "forgetting": _mean(lost),
        "backward_transfer": _mean(gained),
        "matrix": matrix,
    }


def entropy_bits(probabilities: Tensor) -> float:
    """Return the average entropy of Bernoulli distributions, in bits, in [0, 1]."""
    p = probabilities.double()
    nats = -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p))
    return float(nats.mean() / torch.log(torch.tensor(2.0, dtype=torch.float64)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _tasks_of(source: Source) -> PermutedBatches:
    return cast("PermutedBatches", source)


def _cached(source: Source, task: int) -> Batches:
    """Return a held-out split's batches of one task, kept in memory for several passes."""
    kept = list(_tasks_of(source).of(task).epoch(0))
    size = len(kept[0][1])

    def fetch(indices: Indices, changes: Changes) -> Pair:
        number: int = cast(slice, indices).start // size
        return kept[number]

    return Batches(source.n_samples, fetch, size)


def _norms(model: nn.Module) -> dict[str, Any]:
    """Return the BatchNorm layers that have running statistics, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    }


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return BatchNorm's running statistics by their names in the model's state."""
    return {
        f"{layer}.{name}": buffer
        for layer, module in _norms(model).items()
        for name, buffer in module.named_buffers(recurse=False)
    }


def _snapshot(training: Training) -> dict[str, Any]:
    state = {"model": training.model.state_dict(), "optimizer": training.optimizer.state_dict()}
    return copy.deepcopy(state)
