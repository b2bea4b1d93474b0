"""Draws from the posterior, packed: an ensemble of S networks at S bits a weight."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from bnnrepro.data.batches import Batches
from bnnrepro.errors import UserError
from bnnrepro.export import gate
from bnnrepro.export.packed import pack, read, unpack
from bnnrepro.export.subject import Subject
from bnnrepro.training import evaluation
from bnnrepro.training.loop import Prediction


class _Recorder(nn.Module):
    """In place of the network, keeps the weights that each prediction would be made with."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        assert subject.run is not None
        parameters = dict(subject.run.model.named_parameters())
        self.read = {name: parameters[name] for name in subject.binary}
        self.packed: dict[str, list[Tensor]] = {name: [] for name in subject.binary}

    def forward(self, inputs: Tensor) -> Tensor:
        for name, parameter in self.read.items():
            self.packed[name].append(pack(parameter))
        return inputs


def drawn(subject: Subject, count: int) -> dict[str, Tensor]:
    """Return packed draws, uint8 (S, bytes) for each binary parameter.

    They are those that ``predict(samples=S)`` of the loaded run averages.

    Args:
        subject: of a run.
        count: S, >= 1.

    Raises:
        UserError: the count is below 1, or there is no posterior.
    """
    if count < 1:
        raise UserError("--draws", count, "must be >= 1")
    if subject.run is None or not subject.run.trainer.optimizer.has_posterior:
        raise UserError("--draws", count, "needs a run of a method with a posterior")
    trainer, recorder = subject.run.trainer, _Recorder(subject)
    nothing = torch.zeros(1), torch.zeros(1)
    source = Batches(1, lambda *_: nothing, 1)
    settings = {"samples": count, "seed": trainer.seed}
    for _ in evaluation.draws(recorder, trainer.optimizer, source, trainer.device, **settings):
        pass
    return {name: torch.stack(rows) for name, rows in recorder.packed.items()}


def state_of(
    state: Mapping[str, Tensor], draws: Mapping[str, Tensor], draw: int
) -> dict[str, Tensor]:
    """Return a state dict with the binary weights of a draw, counted from 0."""
    return {
        **state,
        **{name: unpack(rows[draw], state[name].shape) for name, rows in draws.items()},
    }


def check(path: Path, subject: Subject) -> str:
    """Compare the mean prediction of a file's draws with the run's; return a line.

    Args:
        path: the packed file.
        subject: of a run; the samples are those of its first batch.

    Raises:
        UserError: they differ.
    """
    assert subject.run is not None
    state, about = read(path)
    trainer, inputs, model = subject.run.trainer, subject.batches[0], copy.deepcopy(subject.model)
    count, total = len(next(iter(subject.draws.values()))), torch.zeros(())
    for draw in range(count):
        model.load_state_dict(state_of(state, about["draws"], draw))
        total = total + trainer.task.predict(gate.computed(model, inputs)).double()
    mean, _ = cast(Prediction, trainer.predict(inputs, samples=count))
    error = float((total / count - mean).abs().max())
    if not error <= gate.METRIC_TOLERANCE:
        gate.refuse(path.name, f"off by {error:.3g}", "the draws' mean must be the run's")
    return f"{count} draws: their mean prediction is off the run's by {error:.1e} at most"
