"""Points in a few dimensions, each with a class or a value: their data sets and batches."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bnnrepro.constraints import Name
from bnnrepro.data.batches import Batches, Changes, Indices, Pair, Samples
from bnnrepro.data.dataset import Arrays, DataSet, Facts, check_batch


class PointSet(DataSet):
    """Points, standardised by the training points: mean 0 and standard deviation 1.

    A single batch has the data's order.

    Args:
        arrays: see ``DataSet``, also for ``name``. Inputs are best float64, not yet standardised.

    Attributes:
        scaled_targets: whether targets, which are values then, are standardised too.

    Raises:
        ValueError: a column that is constant.
    """

    task: str | None = "classification"
    inputs: ClassVar[str] = "points"
    scaled_targets: bool = False

    def __init__(self, arrays: Arrays, *, name: Name) -> None:
        parts = [part for part in (arrays.train, arrays.test) if part is not None]
        inputs, mean, std = standardised(*(part.inputs for part in parts))
        targets = [part.targets for part in parts]
        scale: tuple[float, ...] = ()
        if self.scaled_targets:
            targets, *moments = standardised(*targets)
            scale = tuple(map(float, moments))
        samples = list(map(Samples, inputs, targets))
        self.train, self.test = samples[0], samples[1] if len(samples) > 1 else None
        classes = arrays.classes
        assert self.task is not None
        self.facts = Facts(
            name=name,
            task=self.task,
            fingerprint=arrays.fingerprint,
            shape=(self.train.inputs.shape[1],),
            outputs=len(classes) if len(classes) > 2 else 1,  # one logit is enough for two
            classes=classes or None,
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            target_mean=scale[0] if scale else None,
            target_std=scale[1] if scale else None,
        )

    def training(self, samples: Samples, batch_size: int, seed: int, margin: int = 0) -> Batches:
        """Return shuffled batches: float32 (B, D), and the points' targets."""
        check_batch(batch_size, len(samples))
        if batch_size >= len(samples) - 1:
            return self.evaluation(samples)
        return point_batches(samples, batch_size, seed=seed, shuffle=True)

    def evaluation(self, samples: Samples, seed: int = 0, margin: int = 0) -> Batches:
        """Return all points as one batch."""
        return point_batches(samples, len(samples))


class RegressionSet(PointSet):
    """Points with a value each, targets standardised as the inputs are.

    Args:
        arrays: see ``PointSet``.
    """

    task = "regression"
    scaled_targets = True


def point_batches(
    samples: Samples, batch_size: int, *, seed: int = 0, shuffle: bool = False
) -> Batches:
    """Return batches of points as they are."""

    def fetch(indices: Indices, changes: Changes) -> Pair:
        return samples[indices]

    device = samples.inputs.device
    return Batches(len(samples), fetch, batch_size, seed=seed, shuffle=shuffle, device=device)


def standardised(train: Tensor, *others: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Standardise the columns to mean 0 and standard deviation 1, all by those of ``train``.

    Args:
        train: floating, shape (N, D), N >= 2.
        others: further points, with the same columns.

    Returns:
        All of them as float32, the mean and the standard deviation (N - 1), float64 of shape (D,).

    Raises:
        ValueError: a column that is constant.
    """
    mean, std = train.double().mean(0), train.double().std(0)
    if not (std > 0).all():
        raise ValueError("a column is constant")
    return [((points - mean) / std).float() for points in (train, *others)], mean, std
