"""From a data set to the batches that a run trains, selects and tests on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from bnnrepro.data.batch_source import Source
from bnnrepro.data.batches import Batches
from bnnrepro.data.dataset import Data, ImageData, Split
from bnnrepro.data.split import hold_out
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive

EVALUATION_BATCH_SIZE = 500  # large enough to fill a GPU, small enough for VGG on a laptop
LIMIT_SEED = 0  # a shortened run has the same samples whatever its seed


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

    def around(self, margin: int) -> Sources:
        """Return sources whose inputs reach so many pixels further on each side.

        A network whose output is smaller than its input needs it; kinds of data that have such
        surroundings have sources with a method ``around``.
        """
        if not margin:
            return self

        def seen(source: Any) -> Any:
            return source.around(margin) if hasattr(source, "around") else source

        return Sources(seen(self.train), seen(self.validation), seen(self.test))


@singledispatch
def prepare(data: Data, **wanted: Any) -> Sources:
    """Return the batches for training, validation and test.

    Args:
        data: the data set; its kind decides how.
        **wanted: ``validation_split``, the share of the training set held out, in [0, 1);
            ``seed``, the run's, which decides the split, the order and the augmentation;
            ``device``, where the data shall live; ``batch_size``, samples a training batch;
            ``train_limit``, how many samples of the training set are used, validation included,
            the same for every seed (None, or more than there are: all); ``test_limit``, likewise
            of the test set.

    Raises:
        UserError: a split, limit or batch size that does not fit the data.
    """
    raise TypeError(f"{type(data).__name__} is no kind of data that batches can be made of")


@prepare.register
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
    available = limited(data.train, "preset.train_limit", train_limit)
    kept, held = hold_out(len(available), validation_split, seed)

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
    validation = evaluation(available.subset(held)) if len(held) else None
    return Sources(
        train, validation, evaluation(limited(data.test, "preset.test_limit", test_limit))
    )


def limited(split: Split, key: str, limit: int | None) -> Split:
    """Return ``limit`` random samples of a split, the same ones every time; None: all."""
    places = chosen(len(split), key, limit)
    return split if places is None else split.subset(places)


def chosen(count: int, key: str, limit: int | None) -> Tensor | None:
    """Return the places of ``limit`` random ones of so many samples, sorted; None: all."""
    if limit is not None and limit < 1:
        raise UserError(key, limit, "at least 1, or null for all")
    if limit is None or limit >= count:
        return None
    generator = torch.Generator().manual_seed(derive(LIMIT_SEED, key))
    return torch.randperm(count, generator=generator)[:limit].sort().values
