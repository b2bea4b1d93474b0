"""Toy data: points in a few dimensions, each with a class or a value, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnnrepro.data.splits import Sources, hold_out, limit_samples, make_sources
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive


@dataclass(frozen=True)
class Points:
    """Points with their targets, in memory, both on one device.

    Args:
        inputs: float32, shape (N, D), finite.
        targets: classes, int64 of shape (N,), or values, float32 of shape (N, 1), finite.

    Raises:
        ValueError: another shape or dtype, unequal lengths, or a number that is not finite.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        inputs, targets = self.inputs, self.targets
        if inputs.dtype != torch.float32 or inputs.ndim != 2:
            kind = f"{inputs.dtype} of shape {tuple(inputs.shape)}"
            raise ValueError(f"inputs are {kind}: torch.float32 of shape (N, D) is needed")
        if (targets.dtype, targets.ndim) not in ((torch.int64, 1), (torch.float32, 2)):
            kind = f"{targets.dtype} of shape {tuple(targets.shape)}"
            raise ValueError(f"targets are {kind}: int64 (N,) or float32 (N, 1) is needed")
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs, but {len(targets)} targets")
        for name, values in (("inputs", inputs), ("targets", targets)):
            if not values.isfinite().all():
                raise ValueError(f"{name} hold a number that is not finite")

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str) -> Points:
        """Return the same points on a device."""
        return Points(self.inputs.to(device), self.targets.to(device))

    def subset(self, indices: Tensor) -> Points:
        """Return the points at the given indices (int64, shape (n,)), in that order."""
        indices = indices.to(self.inputs.device)
        return Points(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True)
class PointData:
    """The base of the data sets of points.

    Args:
        name: the data set's name, as in its configuration.
        train: the training points, standardised.
        test: the test points, standardised likewise; None if there are none with targets.
        mean: subtracted from the inputs, length D.
        std: divisor of the inputs, length D.
        fingerprint: a hash of the content; None for a fixed data set.
    """

    task: ClassVar[str]

    name: str
    train: Points
    test: Points | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """A point's shape, (D,)."""
        return (self.train.inputs.shape[1],)

    @property
    def outputs(self) -> int:
        """The number of outputs: one value, or one logit for two classes."""
        return 1

    def about(self) -> dict[str, Any]:
        """Return the metadata that make a checkpoint usable without the data set."""
        return {
            "shape": list(self.shape),
            "outputs": self.outputs,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def without_samples(self) -> PointData:
        """Return the same data set without its samples."""
        nothing = torch.empty(0, dtype=torch.int64)
        test = None if self.test is None else self.test.subset(nothing)
        return replace(self, train=self.train.subset(nothing), test=test)


@dataclass(frozen=True)
class TwoClassData(PointData):
    """Points of two classes, 0 and 1."""

    task: ClassVar[str] = "classification"

    def about(self) -> dict[str, Any]:
        """Add the classes' names."""
        return super().about() | {"classes": ["0", "1"]}


@dataclass(frozen=True)
class RegressionData(PointData):
    """Points with one value each.

    Args:
        target_mean: subtracted from the values.
        target_std: divisor of the values.
    """

    task: ClassVar[str] = "regression"

    target_mean: float = 0.0
    target_std: float = 1.0

    def about(self) -> dict[str, Any]:
        """Add the values' mean and standard deviation."""
        scale = {"target_mean": self.target_mean, "target_std": self.target_std}
        return super().about() | scale


def standardised(train: Tensor, *others: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Standardise the columns to mean 0 and standard deviation 1, all by those of ``train``.

    Args:
        train: float64, shape (N, D), N >= 2.
        others: further points, with the same columns.

    Returns:
        All of them as float32, the mean and the standard deviation (N - 1), float64 of shape (D,).

    Raises:
        ValueError: a column that is constant.
    """
    mean, std = train.mean(0), train.std(0)
    if not (std > 0).all():
        raise ValueError("a column is constant")
    return [((points - mean) / std).float() for points in (train, *others)], mean, std


class PointBatches:
    """Batches of points; a single batch has the data's order.

    No state is kept between epochs: an epoch's order is a function of the seed and its number.
    With ``shuffle`` a last batch of a single point joins the one before it: BatchNorm cannot train
    on one point.

    Args:
        points: the data; batches come on its device.
        batch_size: points per batch; it may exceed the number of points.
        seed: the run's seed.
        shuffle: use a new random order in each epoch that has several batches.
    """

    def __init__(
        self, points: Points, *, batch_size: int, seed: int = 0, shuffle: bool = False
    ) -> None:
        if not len(points):
            raise ValueError("no points give no batches")
        self.points, self.seed = points, seed
        cuts = list(range(0, len(points), batch_size))
        if shuffle and len(cuts) > 1 and len(points) - cuts[-1] == 1:
            cuts.pop()
        self._cuts = [*cuts, len(points)]
        self.shuffle = shuffle and len(cuts) > 1

    @property
    def n_samples(self) -> int:
        """The number of points of an epoch."""
        return len(self.points)

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches from batch ``start`` on.

        Each is ``(x, y)``: float32 of shape (B, D), and the points' targets.
        """
        points = self.points
        if self.shuffle:
            stream = torch.Generator().manual_seed(derive(self.seed, "order", number))
            points = points.subset(torch.randperm(len(points), generator=stream))
        for first, last in zip(self._cuts[start:-1], self._cuts[start + 1 :], strict=True):
            yield points.inputs[first:last], points.targets[first:last]


@make_sources.register
def _(
    data: PointData,
    *,
    validation_split: float,
    seed: int,
    device: torch.device | str,
    batch_size: int,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Sources:
    if batch_size > len(data.train):  # a preset or a split may leave fewer: one batch
        allowed = f"at least 2 and at most {len(data.train)}, the number of training samples"
        raise UserError("batch_size", batch_size, allowed)
    available = limit_samples(data.train, "preset.train_limit", train_limit)
    kept, held_out = hold_out(len(available), validation_split, seed)
    train = available.subset(kept)

    def evaluation(points: Points | None) -> PointBatches | None:
        if points is None or not len(points):
            return None
        return PointBatches(points.to(device), batch_size=len(points))

    test = data.test and limit_samples(data.test, "preset.test_limit", test_limit)
    return Sources(
        PointBatches(train.to(device), batch_size=batch_size, seed=seed, shuffle=True),
        evaluation(available.subset(held_out)),
        evaluation(test),
    )
