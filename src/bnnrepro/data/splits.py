"""Split a data set, and make the batches that a run trains, validates and tests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from bnnrepro.data.batch_source import Source
from bnnrepro.data.batches import Batches
from bnnrepro.data.dataset import Data, ImageData, Split
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive

EVALUATION_BATCH_SIZE = 500  # large enough to fill a GPU, small enough for VGG on a laptop
LIMIT_SEED = 0  # a shortened run has the same samples whatever its seed


class Subsettable(Protocol):
    """Samples of which a subset can be taken."""

    def __len__(self) -> int: ...

    def subset(self: Samples, indices: Tensor) -> Samples:
        """Return the samples at the given indices, in that order."""


Samples = TypeVar("Samples", bound=Subsettable)


@dataclass(frozen=True)
class Sources:
    """A run's batches, all on its device.

    Args:
        train: shuffled and augmented.
        validation: in the data's order, never augmented; None without a validation split.
        test: in the data's order, never augmented; None where there is no test set.
    """

    train: Source
    validation: Source | None
    test: Source | None

    def with_margin(self, margin: int) -> Sources:
        """Return sources whose inputs are ``margin`` pixels larger on each side.

        A network whose output is smaller than its input needs it; data with such surroundings
        have sources with a method ``with_margin``.
        """
        if not margin:
            return self

        def wider(source: Any) -> Any:
            return source.with_margin(margin) if hasattr(source, "with_margin") else source

        return Sources(wider(self.train), wider(self.validation), wider(self.test))


@singledispatch
def make_sources(data: Data, **settings: Any) -> Sources:
    """Return the batches for training, validation and test.

    Args:
        data: the data set; dispatches on its type.
        **settings: ``validation_split``, the fraction of the training set held out, in [0, 1);
            ``seed``, the run's, which fixes the split, the order and the augmentation;
            ``device``, of the batches; ``batch_size``, samples per training batch;
            ``train_limit``, maximum number of samples of the training set, validation included,
            the same for every seed (None: all); ``test_limit``, likewise of the test set.

    Raises:
        UserError: a split, limit or batch size that does not fit the data.
    """
    raise TypeError(f"{type(data).__name__} is not a kind of data that batches can be made of")


@make_sources.register
def _(
    data: ImageData,
    *,
    validation_split: float,
    seed: int,
    device: torch.device | str,
    batch_size: int,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Sources:
    available = limit_samples(data.train, "preset.train_limit", train_limit)
    kept, held_out = hold_out(len(available), validation_split, seed)

    def evaluation(split: Split) -> Batches:
        split = split.to(device)
        return Batches(split, batch_size=EVALUATION_BATCH_SIZE, mean=data.mean, std=data.std)

    train = Batches(
        available.subset(kept).to(device),
        batch_size=batch_size,
        mean=data.mean,
        std=data.std,
        augmentation=data.augmentation,
        seed=seed,
        shuffle=True,
    )
    validation = evaluation(available.subset(held_out)) if len(held_out) else None
    test = evaluation(limit_samples(data.test, "preset.test_limit", test_limit))
    return Sources(train, validation, test)


def limit_samples(samples: Samples, key: str, limit: int | None) -> Samples:
    """Return ``limit`` random samples in their order, the same ones every time; None: all."""
    if limit is not None and limit < 1:
        raise UserError(key, limit, "at least 1, or null for all")
    if limit is None or limit >= len(samples):
        return samples
    generator = torch.Generator().manual_seed(derive(LIMIT_SEED, key))
    return samples.subset(torch.randperm(len(samples), generator=generator)[:limit].sort().values)


def hold_out(n: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and of the validation samples.

    Args:
        n: the number of samples.
        fraction: fraction held out, in [0, 1): round(n * fraction) samples, whatever the seed.
        seed: the run's seed, which chooses the samples.

    Returns:
        Two sorted int64 tensors that partition 0..n-1. The second is empty if the fraction is 0.

    Raises:
        UserError: a fraction out of range, or one that leaves either side empty.
    """
    key = "dataset.validation_split"
    if not 0 <= fraction < 1:
        raise UserError(key, fraction, "a fraction of the training set, 0 or more and less than 1")
    held = round(n * fraction)
    if held >= n:
        raise UserError(key, fraction, f"leaves none of {n} samples for training; less is needed")
    if fraction > 0 and held == 0:
        raise UserError(key, fraction, f"holds none of {n} samples out; 0, or at least {1 / n:.2g}")
    generator = torch.Generator().manual_seed(derive(seed, "split"))
    shuffled = torch.randperm(n, generator=generator)
    return shuffled[held:].sort().values, shuffled[:held].sort().values
