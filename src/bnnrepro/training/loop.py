"""The training loop: epochs, metrics and evaluation of any task."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import cycle
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bnnrepro.constraints import Count, Fraction, Positive, check_arguments
from bnnrepro.data.batches import Source
from bnnrepro.data.dataset import class_counts
from bnnrepro.optim import BinaryOptimizer, param_groups
from bnnrepro.optim.kernels import compiling
from bnnrepro.optim.kernels.malloc import keep_freed_memory
from bnnrepro.optim.schedules import Attached, Constant, Schedule
from bnnrepro.seeds import derive, rng_state, seed_generators, set_rng_state
from bnnrepro.training import checkpoint
from bnnrepro.training.callbacks import Callback, NonFiniteLossError
from bnnrepro.training.controls import ClassWeight, WeightAverage, class_weights, stopped_early
from bnnrepro.training.evaluation import average_outputs, draws, outputs_and_targets
from bnnrepro.training.interrupts import StopRequest
from bnnrepro.training.methods import Factory, method_factory
from bnnrepro.training.precision import (
    PRECISIONS,
    arithmetic,
    autocast,
    no_denormals,
    resolve,
    unsupported,
)
from bnnrepro.training.sources import Converter, as_source, as_tensor, last_fraction, tensors_of
from bnnrepro.training.task import EpochRow, Task

EVALUATION_BATCH = 1000


class History:
    """The metrics of training by epoch, with the columns of ``metrics.csv``."""

    def __init__(self, rows: Sequence[EpochRow]) -> None:
        self.rows = list(rows)

    @property
    def epoch(self) -> list[int]:
        """The epochs, from 1."""
        return [row["epoch"] for row in self.rows]

    @property
    def history(self) -> dict[str, list[Any]]:
        """The columns, each a list with one entry per epoch.

        The entry is NaN where an epoch lacks a column, as one without validation data lacks theirs.
        """
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [row.get(name, math.nan) for row in self.rows] for name in names}


@dataclass
class RunningSums:
    """Sums over the current epoch's samples, and the number of batches done.

    ``sums`` holds loss, metric and number of samples, on the device (float64); ``bad_step`` is the
    first step (from 1) whose loss was not finite, 0 while there is none.
    """

    device: torch.device
    batch: int = 0
    seconds: float = 0.0
    sums: Tensor = field(init=False)
    bad_step: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=self.device)

    def add(self, loss: Tensor, score: Tensor, count: int) -> None:
        """Add a batch, without waiting for the device."""
        self.batch += 1
        self.sums[0] += loss * count
        self.sums[1] += score
        self.sums[2] += count
        first = (self.bad_step == 0) & ~torch.isfinite(loss)
        self.bad_step += first * self.batch


class Prediction(NamedTuple):
    """Predictions averaged over draws, and their standard deviation; one row per sample."""

    mean: Tensor
    std: Tensor


def _whole(name: str, value: Any, least: int = 1) -> int:
    """Return the value as an int; ValueError unless it is a large enough integer (NumPy's too)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value}: must be an integer >= {least}")
    return int(value)


def _progress(verbose: int) -> Callback:
    from bnnrepro.training.progress import Lines, bar  # its import takes a tenth of a second

    return bar() if verbose == 1 else Lines()


def _device(name: str | torch.device) -> torch.device:
    """Return a device of this machine, ``auto`` a GPU if there is one; else ValueError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name}: must be auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: torch sees {torch.cuda.device_count()} GPUs here")
    return device


def _compiled_network(model: nn.Module) -> Any:
    """Return the compiled model, whose dropout draws the same numbers as uncompiled."""
    return torch.compile(model, options={"fallback_random": True})


class TrainingLoop:
    """Train a model by a method on a task; ``bnnrepro.Trainer`` adds defaults.

    Args:
        model: any ``nn.Module``; it is moved to the device.
        task: loss and metrics.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        seed: fixes order, dropout and the method's draws, not the model's initial weights. ``fit``
            seeds the global generators: torch's, which dropout reads, NumPy's and Python's, which
            the caller's own model or data may read.
        precision: arithmetic of the training steps' matrix products: ``float32``, ``tf32`` (GPUs),
            ``bf16`` (autocast), or ``auto``: ``bf16`` if it is measured to be faster here,
            decided when training begins and kept in the state. Evaluation is in float32.
        compile_network: run the training steps' forward and backward pass through
            ``torch.compile``.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        device: str = "auto",
        seed: int = 0,
        precision: str = "float32",
        compile_network: bool = False,
    ) -> None:
        if not isinstance(task, Task):
            raise TypeError(f"task={task!r}: must be one of bnnrepro.tasks, as Regression()")
        self.device = _device(device)
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision}: must be one of {', '.join(PRECISIONS)}")
        if reason := unsupported(precision, self.device):
            raise ValueError(f"precision={precision}: {reason}")
        self.precision = precision
        self._choose_precision = precision == "auto"
        self.model = model.to(self.device)
        self.source: Source | None = None  # the training set of the latest fit
        self._network = _compiled_network(self.model) if compile_network else self.model
        self.task = task
        self.seed = _whole("seed", seed, 0)
        self.schedule: Schedule = Constant()
        self.epoch = 0
        self.rows: list[EpochRow] = []
        self.stop = False
        self.stop_request = StopRequest()
        self._factory: Factory | None = None
        self._compile_mode, self._compile_decided = "auto", False
        self._optimizer: BinaryOptimizer | None = None
        # Passed to the method unless the settings have them.
        self._given = {"train_set_size": 0, "total_steps": 1}
        self._own: set[str] = set()
        self.real_layers: Sequence[str] = ()
        self._generator = torch.Generator(self.device)
        self._attached: Attached | None = None
        self.accumulate = 1
        self.clip_norm: float | None = None
        self.ema: float | None = None
        self.early_stopping: int | None = None
        self._average: WeightAverage | None = None
        self._class_weight: Tensor | None = None
        self._rng: dict[str, Any] | None = None  # between calls of fit
        self._training = False
        self._callbacks: list[Callback] = []
        self._convert = self._new_converter()

    # -- set-up -----------------------------------------------------------------------------

    def compile(
        self,
        method: str | Callable[..., BinaryOptimizer] = "bayesbinn",
        *,
        scheduler: Schedule | None = None,
        compile_optimizer: str = "auto",
        accumulate: Count = 1,
        clip_norm: Positive | None = None,
        ema: Fraction | None = None,
        real_layers: Sequence[str] = (),
        **settings: Any,
    ) -> "TrainingLoop":
        """Choose the method and the schedule; training restarts from epoch 0.

        Args:
            method: a method's name (``bayesbinn``, ``ste``, ``bop``, ``pmf``,
                ``full_precision``), an optimizer class, or any callable that takes the parameter
                groups. ``train_set_size``, ``total_steps`` (of the whole run) and ``generator``
                are given to those that take them.
            scheduler: one of ``bnnrepro.optim.schedules``; constant if None.
            compile_optimizer: ``on``, ``off`` or ``auto``: whether the method's element-wise work
                runs through ``torch.compile``. It is decided when training begins, and kept in the
                state.
            accumulate: parts that a batch is cut into, as many draws of the weights, whose
                gradients are averaged: less memory for the same step.
            clip_norm: largest L2 norm of a draw's gradient over all parameters, before the rule
                takes it; None: no limit.
            ema: decay of the average of the real-valued weights, which is evaluated and deployed;
                None: none. Binary weights are never averaged.
            real_layers: layers that stay real-valued, as ``real`` of
                ``bnnrepro.optim.param_groups``: ``["first", "last", "*.downsample.*"]``.
            settings: the method's settings, such as ``lr=1e-4``.

        Returns:
            The trainer itself.

        Raises:
            ValueError: for an unknown name, or a control out of range.
            TypeError: for a scheduler of another class.
        """
        controls = {"accumulate": accumulate, "clip_norm": clip_norm, "ema": ema}
        check_arguments(TrainingLoop.compile, controls)
        if scheduler is not None and not isinstance(scheduler, Schedule):
            raise TypeError(
                f"scheduler={scheduler!r}: must be one of bnnrepro.optim.schedules, as Cosine()"
            )
        if compile_optimizer not in compiling.COMPILE_MODES:
            allowed = f"must be one of {', '.join(compiling.COMPILE_MODES)}"
            raise ValueError(f"compile_optimizer={compile_optimizer}: {allowed}")
        self._factory = method_factory(method, settings)
        self._own = set(settings)
        self.real_layers = tuple(real_layers)
        self._optimizer = None
        self.accumulate, self.clip_norm, self.ema = accumulate, clip_norm, ema
        self._average = None
        self._compile_mode, self._compile_decided = compile_optimizer, False
        self.schedule = scheduler or Constant()
        self.epoch, self.rows = 0, []
        return self

    @property
    def optimizer(self) -> BinaryOptimizer:
        """The method; it exists once training has begun or a state was loaded."""
        if self._optimizer is None:
            raise RuntimeError("the method has no state yet: call compile(), then fit() or load()")
        return self._optimizer

    def build_optimizer(self, train_set_size: int) -> BinaryOptimizer:
        """Build the method for a training set of this size, unless it is built already.

        Raises:
            ValueError: an entry of ``real_layers`` matches nothing.
        """
        if self._factory is None:
            raise RuntimeError("no method: call compile() first")
        if self._optimizer is None:
            self._generator.manual_seed(derive(self.seed, "method"))
            self._given = {"train_set_size": train_set_size, "total_steps": 1}  # until it begins
            method = self._factory(
                param_groups(self.model, self.real_layers),
                **self._given,
                generator=self._generator,
            )
            if not isinstance(method, BinaryOptimizer):
                raise TypeError(
                    f"method={type(method).__name__}: must make a bnnrepro.optim.BinaryOptimizer; "
                    "full_precision trains real-valued weights"
                )
            self._optimizer = method
            self._attached = self.schedule.attach(method, epochs=1, iterations=1)
            self.running, self._rng = RunningSums(self.device), None
        return self._optimizer

    @property
    def batch(self) -> int:
        """Finished steps of the current epoch."""
        return self.running.batch

    def running_metrics(self) -> tuple[float, float, float]:
        """Return mean loss, metric and samples per second of the current epoch, after a step."""
        loss, score, count = self.running.sums.tolist()
        rate = count / self.running.seconds if self.running.seconds else 0.0
        return loss / count, self.task.metric_of(score, count), rate

    # -- training ---------------------------------------------------------------------------

    def fit(
        self,
        train_data: Any,
        targets: Any = None,
        *,
        validation_data: Any = None,
        validation_split: Fraction = 0.0,
        test_data: Any = None,
        epochs: int = 1,
        batch_size: int = 100,
        early_stopping: Count | None = None,
        class_weight: ClassWeight = None,
        sample_weight: Any = None,
        verbose: Literal[0, 1, 2] = 0,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        """Train until ``epochs`` epochs are done; a second call continues where the first ended.

        Args:
            train_data: ``(inputs, targets)`` tensors, arrays or tables, a Dataset, a DataLoader, or
                a source. The method's ``train_set_size`` is the number of samples that an epoch
                draws, and its ``total_steps`` that of batches times ``epochs``, unless ``compile``
                was given one. Inputs get the model's dtype; integers stay integers where the model
                has an ``nn.Embedding``. Targets are what the task requires, for classification
                integers of shape (N,).
            targets: the targets, where ``train_data`` is the inputs alone.
            validation_data: data of these kinds, evaluated at the mode after each epoch; or None.
            validation_split: fraction of the samples, the last ones as in Keras, that are the
                validation data instead, in [0, 1).
            test_data: as ``validation_data``.
            epochs: length of the whole schedule, >= 1.
            batch_size: samples per batch, unless the data defines it, >= 1.
            early_stopping: stop after so many epochs without a better validation metric.
            class_weight: factors of the classes' training losses: one for each, by number, or
                ``balanced``. The loss is the mean of the weighted ones.
            sample_weight: factors of the samples' training losses, (N,), >= 0.
            verbose: 0: silent; 1: a bar that moves with the batches; 2: one line per epoch.
            callbacks: see ``bnnrepro.training.callbacks``.

        Returns:
            The history of all epochs.

        Raises:
            NonFiniteLossError: at the end of an epoch with a NaN or infinite loss, in training or
                in evaluation, or with such a value in the method's state.
            Interrupted: if a signal asked to stop; the state is consistent.
            ValueError, TypeError: for data that the task refuses, or without samples.
        """
        epochs, batch_size = _whole("epochs", epochs), _whole("batch_size", batch_size)
        given = {"early_stopping": early_stopping, "verbose": verbose}
        check_arguments(TrainingLoop.fit, given | {"validation_split": validation_split})
        if targets is not None:
            train_data = (train_data, targets)
        if isinstance(train_data, Mapping):
            train_data = tensors_of(train_data)
        if validation_split:
            if validation_data is not None:
                raise ValueError(f"validation_split={validation_split}: there is validation_data")
            train_data, validation_data, sample_weight = last_fraction(
                train_data, validation_split, sample_weight
            )
        if early_stopping is not None and validation_data is None:
            raise ValueError(f"early_stopping={early_stopping}: needs validation data")
        self.early_stopping = early_stopping
        convert = self._convert = self._new_converter()
        source = self._as_source(
            train_data, convert, batch_size, shuffle=True, weights=sample_weight
        )
        self._weigh_classes(class_weight, train_data)
        held_out = {
            name: self._as_source(data, convert)
            for name, data in (("validation", validation_data), ("test", test_data))
            if data is not None
        }
        self.source = source
        keep_freed_memory()
        self._begin(source, epochs)
        shown = [_progress(verbose)] if verbose else []
        self._callbacks = [*callbacks, *shown]
        try:
            self._call("on_fit_start")
            self._restore_rng()
            with no_denormals():
                while self.epoch < epochs and not self.stop and not self.stopped_early:
                    self._train_epoch(source)
                    self._finish_epoch(source, held_out)
            self._call("on_fit_end")
        finally:
            self._store_rng()
            for callback in shown:
                callback.close(0)
        return History(self.rows)

    @property
    def stopped_early(self) -> bool:
        """Whether ``early_stopping`` has ended training."""
        return stopped_early(self.rows, self.task, self.early_stopping)

    def _weigh_classes(self, class_weight: ClassWeight, data: Any) -> None:
        counts = None
        if class_weight is not None and isinstance(data, tuple):
            counts = class_counts(self.task.accept(as_tensor("targets", data[1])))
        weights = class_weights(class_weight, counts)
        self._class_weight = None if weights is None else weights.to(self.device)

    def _new_converter(self) -> Converter:
        """Return a converter for the data of one call."""
        floats = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        places = any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in self.model.modules())
        return Converter(next(floats, torch.float32), self.task, places=places)

    def _as_source(
        self,
        data: Any,
        convert: Converter,
        batch_size: int = EVALUATION_BATCH,
        *,
        shuffle: bool = False,
        weights: Any = None,
    ) -> Source:
        return as_source(
            data,
            weights=weights,
            batch_size=batch_size,
            seed=self.seed,
            shuffle=shuffle,
            device=self.device,
            convert=convert,
        )

    def _begin(self, source: Source, epochs: int) -> None:
        self.stop = False
        self.build_optimizer(source.n_samples)
        self._pass_on(train_set_size=source.n_samples, total_steps=epochs * len(source))
        self.precision = resolve(self.precision, self.device)
        assert self._attached is not None
        self.epochs, self.batches = epochs, len(source)
        if not self._compile_decided:
            self.optimizer.compiled = compiling.decide(
                self._compile_mode,
                self.optimizer.binary_parameters(),
                updates=epochs * self.batches * self.optimizer.train_samples,
                pays_on_cpu=self.optimizer.compiling_pays_on_cpu,
            )
            self._compile_decided = True
        self._attached.epochs, self._attached.iterations = self._period, self.batches
        self._start_average()

    def _start_average(self) -> None:
        if self.ema is not None and self._average is None:
            binary = self.optimizer.binary_parameters()
            named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
            self._average = WeightAverage(self.ema, [(n, p) for n, p in named if p not in binary])

    def _pass_on(self, **given: int) -> None:
        """Pass what a run knows to the method, where its groups hold the former value."""
        for key, value in given.items():
            for group in self.optimizer.param_groups:
                if group.get(key) == self._given[key] and key not in self._own:
                    group[key] = value
        self._given = given

    @property
    def _period(self) -> int:
        """Epochs that the schedule spans before it restarts."""
        return self.task.period or self.epochs

    def _restore_rng(self) -> None:
        """Restore the RNG state of the previous ``fit()`` or checkpoint."""
        if self._rng is None:
            seed_generators(self.seed, "dropout")
        else:
            set_rng_state(self._rng, self._generator)
        self._training = True

    def _store_rng(self) -> None:
        if self._training:
            self._rng = rng_state(self._generator)
        self._training = False

    def _train_epoch(self, source: Source) -> None:
        assert self._attached is not None
        if self.running.batch == 0:
            self.task.before_epoch(self)
        self._network.train()
        started, before = time.perf_counter(), self.running.seconds
        with self._average.training() if self._average else nullcontext():
            for batch in self._batches(source):
                self._attached.move_to(self.epoch % self._period, self.running.batch)
                with arithmetic(self.precision, self.device):
                    self._train_batch(*(part.to(self.device) for part in batch))
                self.running.seconds = before + time.perf_counter() - started
                self._call("on_batch_end")
                if self.stop_request:
                    break
        if self.stop_request and self.running.batch < self.batches:
            self._call("on_interrupt")
            raise self.stop_request.interruption()
        step = int(self.running.bad_step)
        if step:
            raise NonFiniteLossError(self.epoch + 1, step, float(self.running.sums[0]))
        if bad := self.optimizer.not_finite():
            what, value = bad
            raise NonFiniteLossError(self.epoch + 1, self.running.batch, value, what)

    def _batches(self, source: Source) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the remaining batches of the epoch."""
        return self.task.training_source(source, self.epoch).epoch(self.epoch, self.running.batch)

    def _train_batch(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Take a step; the batch's mean loss is that of its parts, each by its share."""
        weights = self._weighted(targets, weights)
        count = max(1, min(self.accumulate, len(inputs) // 2))  # BatchNorm needs two samples
        columns = [x.tensor_split(count) for x in (inputs, targets, weights) if x is not None]
        parts, scores = cycle(list(zip(*columns, strict=True))), []

        def closure() -> Tensor:
            part, labels, *factors = next(parts)
            with autocast(self.precision, self.device):
                outputs = self._network(part)
                self.task.check_outputs(outputs, self._convert.highest)
                loss = self.task.training_loss(outputs, labels, *factors)
            if count > 1:
                loss = loss * (len(part) * count / len(inputs))
            torch.autograd.backward(loss)
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            scores.append(self.task.score(outputs.detach(), labels))
            return loss

        loss = self.optimizer.step(closure, parts=count)
        if self._average is not None:
            self._average.update()
        self.running.add(loss, torch.stack(scores).mean() * count, len(inputs))

    def _weighted(self, targets: Tensor, weights: Tensor | None) -> Tensor | None:
        """Return the factors of a batch's losses: the samples' times the classes'."""
        classes = self._class_weight
        if classes is None:
            return weights
        if self._convert.highest >= len(classes):
            raise ValueError(f"class_weight: class {self._convert.highest} has none")
        of_class = classes[targets.long()]
        if weights is None:
            return of_class
        return of_class * weights.view(-1, *[1] * (of_class.ndim - 1))

    def _finish_epoch(self, source: Source, held_out: dict[str, Source]) -> None:
        assert self._attached is not None
        metric = self.task.metric
        loss, score, count = self.running.sums.tolist()
        row: EpochRow = {"epoch": self.epoch + 1, "lr": self._attached.current}
        row |= {"train_loss": loss / count, f"train_{metric}": self.task.metric_of(score, count)}
        for name, data in held_out.items():
            figures = self.task.epoch_metrics(self, data)
            row |= {f"{name}_{key}": value for key, value in figures.items()}
        for name in held_out:
            if not math.isfinite(row[f"{name}_loss"]):
                what, value = f"{name} loss", row[f"{name}_loss"]
                raise NonFiniteLossError(self.epoch + 1, self.running.batch, value, what)
        row |= self.task.after_epoch(self, held_out)
        row["seconds"] = self.running.seconds
        row |= self.optimizer.diagnostics()
        self.rows.append(row)
        self.epoch += 1
        self.stop = self.stop or self.stopped_early
        self.running = RunningSums(self.device)
        for callback in self._callbacks:
            callback.on_epoch_end(self, row)
        if self.stop_request:
            self._call("on_interrupt")
            raise self.stop_request.interruption()

    def _call(self, hook: str) -> None:
        for callback in self._callbacks:
            getattr(callback, hook)(self)

    # -- evaluation and prediction ----------------------------------------------------------

    def validate(self, source: Source) -> dict[str, float]:
        """Return the loss and the metrics of an epoch's row, at the mode."""
        outputs, targets = outputs_and_targets(self.model, source, self.device)
        self.task.check_outputs(outputs, self._convert.highest)
        return self.task.validate(outputs, targets)

    def evaluate(
        self, data: Any, *, samples: int | None = None, average: str = "probabilities"
    ) -> dict[str, float]:
        """Return the task's metrics at the mode, or at the mean over draws if samples are given.

        Args:
            data: as for ``fit``.
            samples: draws from the posterior, >= 1; None is the mode.
            average: the quantity averaged over draws, ``probabilities`` or ``logits``.
        """
        predictions, spread, targets = self.predictions(data, samples=samples, average=average)
        if spread is None:
            return self.task.measure(predictions, targets)
        return self.task.measure_draws(predictions, spread, targets)

    def predictions(
        self, data: Any, *, samples: int | None = None, average: str = "probabilities"
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return predictions, their standard deviation over draws (None at the mode), and targets.

        Args:
            data: as for ``fit``.
            samples: draws from the posterior, >= 1; None is the mode.
            average: the quantity averaged over draws; the spread is that of the same quantity.
        """
        convert = self._new_converter()
        source = self._as_source(data, convert)
        if samples is None:
            outputs, targets = outputs_and_targets(self.model, source, self.device)
            predictions, spread = self.task.predict(outputs), None
        else:
            predictions, spread, targets = self._averaged(source, samples, average)
        self.task.check_outputs(predictions, convert.highest)
        return predictions, spread, targets

    def draws(self, data: Any, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return outputs and targets of all samples for each draw from the posterior.

        These are the draws that ``predictions`` averages.
        """
        source = self._as_source(data, self._new_converter())
        return draws(
            self.model, self.optimizer, source, self.device, samples=samples, seed=self.seed
        )

    def predict(
        self, inputs: Tensor, *, samples: int | None = None, average: str = "probabilities"
    ) -> Tensor | Prediction:
        """Return predictions at the mode, or mean and spread over draws if samples are given.

        Args:
            inputs: (N, ...), as the model takes them.
            samples: draws from the posterior, >= 1; None is the mode.
            average: the quantity averaged over draws; the spread is that of the same quantity.
        """
        unlabelled = (inputs, torch.zeros(len(inputs), dtype=torch.int64))
        convert = self._new_converter()
        convert.task = None
        source = self._as_source(unlabelled, convert)
        mean, std, _ = self.predictions(source, samples=samples, average=average)
        return mean if std is None else Prediction(mean, std)

    def _averaged(
        self, source: Source, samples: int, average: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        samples = _whole("samples", samples)
        if average not in ("probabilities", "logits"):
            raise ValueError(f"average={average}: must be 'probabilities' or 'logits'")
        return average_outputs(
            self.model,
            self.optimizer,
            source,
            self.device,
            task=self.task,
            samples=samples,
            average=average,
            seed=self.seed,
        )

    # -- state ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training continues, as ``torch.save`` takes it."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "compiled": self.optimizer.compiled,
            "precision": self.precision,
            "total_steps": self._given["total_steps"],
            "epoch": self.epoch,
            "batch": self.running.batch,
            "running": {
                "seconds": self.running.seconds,
                "sums": self.running.sums,
                "bad_step": self.running.bad_step,
            },
            "rows": self.rows,
            "task": self.task.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "random": rng_state(self._generator) if self._training else self._rng,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; the method must have been built for the same parameters."""
        self.load_weights(state)
        self._start_average()
        if self._average is not None and state.get("average"):
            self._average.load_state_dict(state["average"])
        self._given["total_steps"] = state.get("total_steps", 1)
        self.optimizer.compiled = compiling.again(state["compiled"], self.device)
        self._compile_decided = True
        if self._choose_precision:  # as chosen when training began
            self.precision = resolve(state["precision"], self.device)
        self.epoch, self.rows = state["epoch"], [dict(row) for row in state["rows"]]
        self.running = RunningSums(self.device, state["batch"], state["running"]["seconds"])
        self.running.sums.copy_(state["running"]["sums"])
        self.running.bad_step.copy_(state["running"]["bad_step"])
        self._rng = state["random"]

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file, atomically."""
        size = {"train_set_size": self._given["train_set_size"]}
        checkpoint.save(Path(path), self.state_dict() | size, "")

    def load(self, path: str | Path) -> "TrainingLoop":
        """Restore the state of a file that ``save`` wrote, for the same model and method.

        Raises:
            FileNotFoundError: there is no such file.
            bnnrepro.training.checkpoint.UnusableError: it is damaged, or of another version.
            UserError: the system cannot read it, for lack of memory for example.
        """
        state = checkpoint.load(Path(path), self.device)
        self.build_optimizer(state["train_set_size"])
        self.load_state_dict(state)
        self._given["train_set_size"] = state["train_set_size"]
        return self

    def load_weights(self, state: dict[str, Any]) -> None:
        """Restore the weights and the posterior of a state, and the task's own state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if "task" in state:
            self.task.load_state_dict(state["task"])
