"""The process that measures a few steps of each cell: configurations in, costs out.

``bnnrepro.measure_costs`` reads a JSON list of resolved configurations from its input
and writes one line of JSON for each, as soon as it is measured. Nothing is written to disk, no data
are fetched, and no thread or memory of the measurement outlives the process.
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
from bnnrepro.data.batch_source import Source
from bnnrepro.errors import UserError
from bnnrepro.experiment.parts import Parts, build
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.loop import TrainingLoop
from bnnrepro.training.task import Training

_WARM_UP, _STEPS = 2, 8
_ENOUGH = 5.0  # seconds after which no further step is measured


class _Few:
    """The first batches of a source, which says of itself what the whole one would.

    Args:
        whole: the source.
        batches: at most so many.
        seconds: no further batch after so long.
    """

    def __init__(self, whole: Source, batches: int, seconds: float = float("inf")) -> None:
        self._whole, self._batches, self._seconds = whole, batches, seconds

    @property
    def n_samples(self) -> int:
        return self._whole.n_samples

    def __len__(self) -> int:
        return len(self._whole)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        began = time.perf_counter()
        for batch in islice(self._whole.epoch(number, start), self._batches):
            yield batch
            if time.perf_counter() - began > self._seconds:
                return


class _Clock(Callback):
    """Notes when training began and when each step ended; no second epoch follows."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_fit_start(self, trainer: Training) -> None:
        self.times.append(time.perf_counter())

    def on_batch_end(self, trainer: Training) -> None:
        _wait(trainer.device)
        self.times.append(time.perf_counter())
        trainer.stop = True


def main() -> None:
    """Measure what the input asks for."""
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
    step = _step(parts)
    looks = [each for each in (parts.sources.validation, parts.sources.test) if each is not None]
    look = sum(_look(parts.trainer, source) for source in looks)
    draws = config.evaluate.samples if parts.trainer.optimizer.has_posterior else 0
    epochs = 2 if parts.sources.validation is not None else 1  # the best and the last
    return {
        "step": step,
        "epoch": step * len(parts.sources.train) + look,
        "once": building + epochs * (1 + draws) * look,
    }


def _offline(config: Config) -> Config:
    """Return the same run, which fetches no data and compiles nothing."""
    changes: dict[str, Any] = {"optimizer": replace(config.optimizer, compile="off")}
    dataset: Any = config.dataset
    if hasattr(dataset, "download"):
        changes["dataset"] = replace(dataset, download=False)
    return replace(config, **changes)


def _step(parts: Parts) -> float:
    """Return the seconds of a training step: the median of a few, without the first two."""
    clock = _Clock()
    few = _Few(parts.sources.train, _WARM_UP + _STEPS, _ENOUGH)
    parts.trainer.fit(few, epochs=parts.cfg.effective_epochs, callbacks=[clock])
    steps = [after - before for before, after in pairwise(clock.times)]
    return median(steps[min(_WARM_UP, len(steps) - 1) :])


def _look(trainer: TrainingLoop, source: Source) -> float:
    """Return the seconds of an evaluation at the mode, from its first batch."""
    began = time.perf_counter()
    trainer.evaluate(_Few(source, 1))
    _wait(trainer.device)
    return (time.perf_counter() - began) * len(source)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
