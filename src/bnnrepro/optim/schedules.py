"""Closed-form schedules of a learning rate, or of Bop's gamma.

A schedule is a function of the position, in epochs or iterations, and of the whole length, so a
resumed run needs no state of it. ``stepped`` sets the position that a step sees: ``before`` counts
the present epoch too (the authors' programs step the schedule before each epoch: epoch 1 runs at
the second value and the last epoch at the final one), ``after`` does not (epoch 1 runs at the base
value). A schedule of a single epoch or iteration has no second value and runs at the base.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from bnnrepro.constraints import Count, Ge, Len, NotNegative, Share, check_arguments
from bnnrepro.optim.base import BinaryOptimizer


@dataclass
class Schedule:
    """Base of the schedules: a constant value.

    Args:
        per: how often the value changes, and the unit of every position and length.
        stepped: before: the first epoch (iteration) already runs at the second value.
        warmup: epochs in which the value grows linearly from 0, step by step, to the schedule's.

    Raises:
        ValueError: a setting is out of range.
    """

    per: Literal["epoch", "iteration"] = "epoch"
    stepped: Literal["before", "after"] = "before"
    warmup: Annotated[int, Ge(0)] = 0
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_arguments(type(self), vars(self))

    def value(self, base: float, position: int, total: int) -> float:
        """Return the value at a position in [0, total] for a base value."""
        return base

    def attach(self, optimizer: BinaryOptimizer, epochs: int, iterations: int) -> "Attached":
        """Attach the schedule to an optimizer for some epochs of some iterations each."""
        return Attached(self, optimizer, epochs, iterations)


@dataclass
class Constant(Schedule):
    """A constant value."""

    moves: ClassVar[bool] = False


@dataclass
class Cosine(Schedule):
    """Half a cosine from the base to the final value (Loshchilov & Hutter 2017, without restarts).

    Args:
        final: value at the end (Table 9 of the BayesBiNN paper: 1e-16).
        span: epochs (iterations) until the final value, which then stays; null: the whole run.
    """

    final: NotNegative = 1e-16
    span: Count | None = None

    def value(self, base: float, position: int, total: int) -> float:
        """Return final + (base - final) (1 + cos(pi position / span)) / 2."""
        share = min(position / (self.span or total), 1.0)
        return self.final + (base - self.final) * (1 + math.cos(math.pi * share)) / 2


@dataclass
class Step(Schedule):
    """Multiply by a factor every ``step_size``, or at each of the milestones.

    Args:
        step_size: epochs (iterations) between two drops; null with milestones.
        milestones: epochs (iterations) after which it drops, increasing; null with step_size.
        factor: factor of each drop.
    """

    step_size: Count | None = 100
    milestones: Annotated[Sequence[Count], Len(1)] | None = None
    factor: Share = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.step_size is None) == (self.milestones is None):
            raise ValueError(
                f"milestones={self.milestones}: exactly one of milestones and step_size "
                f"(now {self.step_size}) must be given"
            )
        if self.milestones is not None and list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)}: must increase")

    def value(self, base: float, position: int, total: int) -> float:
        """Return base factor^(number of drops up to the position)."""
        if self.milestones is not None:
            drops = sum(position >= milestone for milestone in self.milestones)
        else:
            assert self.step_size is not None
            drops = position // self.step_size
        return base * self.factor**drops


@dataclass
class Exponential(Schedule):
    """Geometric from the base value to ``final_factor`` times it at the end of training.

    Args:
        final_factor: ratio of the final value to the first.
    """

    final_factor: Share = 0.1

    def value(self, base: float, position: int, total: int) -> float:
        """Return base final_factor^(position / total)."""
        return float(base * self.final_factor ** (position / total))


@dataclass
class Attached:
    """A schedule that sets an optimizer's groups; base values are those at the start."""

    schedule: Schedule
    optimizer: BinaryOptimizer
    epochs: int
    iterations: int
    base: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.base = [group[self._key(group)] for group in self.optimizer.param_groups]

    def _key(self, group: dict[str, Any]) -> str:
        return self.optimizer.scheduled_key(group)

    def move_to(self, epoch: int, iteration: int) -> None:
        """Set the groups' values for an iteration (from 0) of an epoch (from 0)."""
        per_iteration = self.schedule.per == "iteration"
        position = epoch * self.iterations + iteration if per_iteration else epoch
        total = self.epochs * (self.iterations if per_iteration else 1)
        if self.schedule.stepped == "before" and total > 1:
            position += 1
        growth = 1.0
        if steps := self.schedule.warmup * self.iterations:
            growth = min(1.0, (epoch * self.iterations + iteration + 1) / steps)
        for base, group in zip(self.base, self.optimizer.param_groups, strict=True):
            group[self._key(group)] = growth * self.schedule.value(base, position, total)

    @property
    def current(self) -> float:
        """The value of the first group."""
        group = self.optimizer.param_groups[0]
        return float(group[self._key(group)])
