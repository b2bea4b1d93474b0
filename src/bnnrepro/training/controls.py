"""Controls of training: early stopping, averages of real-valued weights, weights of classes.

An average of weights w by its decay d starts as w and follows after every step:

    e <- d e + (1 - d) w

It is of real-valued weights only: the mean of +1 and -1 is no binary weight.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.training.task import EpochRow, Task, best_row

ClassWeight = str | Mapping[int, float] | Sequence[float] | None


def stopped_early(rows: list[EpochRow], task: Task, patience: int | None) -> bool:
    """Return whether the last ``patience`` epochs were no better than one before, on validation.

    The rows of all epochs are part of a checkpoint, so a resumed run stops where it would have.
    """
    best = None if patience is None else best_row(rows, task)
    return best is not None and rows[-1]["epoch"] - best["epoch"] >= (patience or 0)


class WeightAverage:
    """The averages e of some parameters w; see the module.

    The parameters hold e, the weights to be evaluated and deployed, except within ``training``,
    where they hold w; ``others`` has the other one of each.

    Args:
        decay: d, in [0, 1).
        named: the real-valued parameters, with their names.
    """

    def __init__(self, decay: float, named: Iterable[tuple[str, Parameter]]) -> None:
        self.decay, self.parameters, self._inside = decay, dict(named), False
        if not self.parameters:
            raise ValueError(f"ema={decay}: all parameters are binary, there is nothing to average")
        self.others = {name: p.detach().clone() for name, p in self.parameters.items()}

    @contextmanager
    def training(self) -> Iterator[None]:
        """Put w into the parameters for the length of the context."""
        self._exchange()
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self.parameters.items():
            other = self.others[name]
            held = parameter.clone()
            parameter.copy_(other)
            other.copy_(held)

    @torch.no_grad()
    def update(self) -> None:
        """Move e towards w, after a step."""
        for name, parameter in self.parameters.items():
            self.others[name].lerp_(parameter, 1 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        """Return what, beside the model's own state, restores both e and w."""
        return {"others": self.others, "inside": self._inside}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; the model's own has been loaded."""
        for name, other in self.others.items():
            other.copy_(state["others"][name])
        if state["inside"]:
            self._exchange()


def class_weights(setting: ClassWeight, counts: Tensor | None) -> Tensor | None:
    """Return the factor of each class's losses, float32 (K,).

    Args:
        setting: ``balanced``, N / (K count) of each class, whose mean over the samples is 1; or
            each class's weight, as a list or by class number (those left out are 1); None: none.
        counts: samples of each class; None: unknown.

    Raises:
        ValueError: weights that are negative, or too few or many; ``balanced`` without counts.
    """
    if setting is None:
        return None
    if setting == "balanced":
        if counts is None:
            raise ValueError("class_weight=balanced: needs data whose targets are in memory")
        occurring = counts > 0
        weights = counts.sum() / (occurring.sum() * counts.clamp_min(1))
        return torch.where(occurring, weights, 1.0).float()
    if isinstance(setting, str):
        raise ValueError(f"class_weight={setting}: must be balanced, or a weight for each class")
    known = 0 if counts is None else len(counts)
    if isinstance(setting, Mapping):
        length = max(known, *(int(number) + 1 for number in setting))
        setting = [float(setting.get(number, 1.0)) for number in range(length)]
    weights = torch.as_tensor(setting, dtype=torch.float32)
    if known not in (0, len(weights)) or not (weights >= 0).all() or not weights.isfinite().all():
        allowed = f"a finite weight >= 0 for each of {known or 'the'} classes is needed"
        raise ValueError(f"class_weight={list(setting)}: {allowed}")
    return weights
