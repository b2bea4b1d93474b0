"""Process that measures a few steps of each cell: configurations in, costs out.

It reads a JSON list of resolved configurations from its input and writes one line of JSON for each,
as soon as it is measured. It writes nothing to disk and fetches no data, and no thread or memory of
the measurement outlives the process.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bnnrepro.config import Config, typed
from bnnrepro.data.batches import Source
from bnnrepro.errors import UserError
from bnnrepro.experiment.parts import Parts, build
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.loop import TrainingLoop
from bnnrepro.training.task import Training

_WARM_UP, _STEPS = 2, 8
_MAX_SECONDS = 5.0  # after which no further step is measured


class _FirstBatches:
    """First batches of a source; its length and number of samples are the whole source's.

    Args:
        source: the whole source.
        batches: maximum number of batches.
        seconds: time after which no further batch is given.
    """

    def __init__(self, source: Source, batches: int, seconds: float = float("inf")) -> None:
        self._source, self._batches, self._seconds = source, batches, seconds

    @property
    def n_samples(self) -> int:
        return self._source.n_samples

    def __len__(self) -> int:
        return len(self._source)

    def of(self, task: int) -> "_FirstBatches":
        """Return the first batches of one of the tasks of continual learning."""
        source: Any = self._source
        return _FirstBatches(source.of(task), self._batches, self._seconds)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        began = time.perf_counter()
        for batch in islice(self._source.epoch(number, start), self._batches):
            yield batch
            if time.perf_counter() - began > self._seconds:
                return


class _Clock(Callback):
    """Record when training began and when each step ended; stop after one epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_fit_start(self, trainer: Training) -> None:
        self.times.append(time.perf_counter())

    def on_batch_end(self, trainer: Training) -> None:
        _wait(trainer.device)
        self.times.append(time.perf_counter())
        trainer.stop = True


def main() -> None:
    """Measure the configurations of the input."""
    for values in json.load(sys.stdin):
        config = typed(values)
        try:
            cost = _measure(config)
        except (UserError, OSError, RuntimeError) as error:
            cost = {"problem": " ".join(str(error).split())}
        print(json.dumps(cost), flush=True)


def _measure(config: Config) -> dict[str, Any]:
    began = time.perf_counter()
    parts = build(_offline(config))
    building = time.perf_counter() - began
    step = _step_seconds(parts)
    held_out = (parts.sources.validation, parts.sources.test)
    evaluation = sum(
        _evaluation_seconds(parts.trainer, source) for source in held_out if source is not None
    )
    draws = config.evaluate.samples if parts.trainer.optimizer.has_posterior else 0
    epochs = 2 if parts.sources.validation is not None else 1  # the best and the last
    return {
        "step": step,
        "epoch": step * len(parts.sources.train) + evaluation,
        "once": building + epochs * (1 + draws) * evaluation,
    }


def _offline(config: Config) -> Config:
    """Return the configuration changed to fetch no data and compile nothing."""
    changes: dict[str, Any] = {"compile": replace(config.compile, optimizer="off")}
    dataset: Any = config.dataset
    if hasattr(dataset, "download"):
        changes["dataset"] = replace(dataset, download=False)
    return replace(config, **changes)


def _step_seconds(parts: Parts) -> float:
    """Return the seconds of a training step: the median of a few, without the first two."""
    clock = _Clock()
    batches = _FirstBatches(parts.sources.train, _WARM_UP + _STEPS, _MAX_SECONDS)
    parts.trainer.fit(batches, epochs=parts.cfg.effective_epochs, callbacks=[clock])
    steps = [after - before for before, after in pairwise(clock.times)]
    return median(steps[min(_WARM_UP, len(steps) - 1) :])


def _evaluation_seconds(trainer: TrainingLoop, source: Source) -> float:
    """Return the seconds of an evaluation at the mode, extrapolated from its first batch."""
    began = time.perf_counter()
    trainer.evaluate(_FirstBatches(source, 1))

    _wait(trainer.device)
    return (time.perf_counter() - began) * len(source)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
