"""Batches of data that are on the device: one index operation each, no worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnnrepro.data.augment import augment, normalise, sample_changes
from bnnrepro.data.dataset import Augmentation, Split
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive


class Batches:
    """Normalised batches of a split.

    No state is kept between epochs: the order and the augmentation of an epoch are functions of
    the seed and its number. An epoch started at batch k gives the same bits as one run from 0.

    The last batch may be smaller. With ``shuffle``, a last batch of a single sample joins the one
    before it: BatchNorm cannot train on one sample.

    Args:
        split: the data; batches come on its device.
        batch_size: samples per batch. Without ``shuffle`` it may exceed the number of samples.
        mean: each channel's mean, in units where 255 is 1; length C.
        std: each channel's standard deviation, likewise.
        augmentation: random changes of the images, or None.
        seed: the run's seed.
        shuffle: use a new random order in each epoch (training) instead of the data's own.

    Raises:
        UserError: a batch size below 1, or a shuffled one above the number of samples.
        ValueError: an empty split.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        if not len(split):
            raise ValueError("an empty split has no batches")
        if batch_size < 1 or (shuffle and batch_size > len(split)):
            allowed = f"at least 1 and at most {len(split)}, the number of training samples"
            raise UserError("batch_size", batch_size, allowed)
        device = split.images.device
        self.split = split
        self.batch_size = min(batch_size, len(split))
        self.augmentation = augmentation
        self.seed = seed
        self.shuffle = shuffle
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self._std = torch.tensor(std, dtype=torch.float32, device=device)

    @property
    def n_samples(self) -> int:
        """The number of samples of an epoch."""
        return len(self.split)

    def __len__(self) -> int:
        whole, rest = divmod(self.n_samples, self.batch_size)
        joined = rest == 0 or (self.shuffle and rest == 1)
        return whole if joined else whole + 1

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches, from batch ``start`` (0-based) on.

        Each is ``(x, y)``: float32 of shape (B, C, H, W), and int64 of shape (B,).

        Raises:
            ValueError: a start that is not in 0..len(self).
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start is {start}: an epoch has batches 0 to {len(self) - 1}")
        return self._batches(number, start)

    def _batches(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        order, changes = self._order(number), self._changes(number)
        for k in range(start, len(self)):
            first = k * self.batch_size
            last = self.n_samples if k == len(self) - 1 else first + self.batch_size
            if order is None:
                images, labels = self.split.images[first:last], self.split.labels[first:last]
            else:
                # index_select is ten times as fast as indexing by a tensor on a CPU.
                indices = order[first:last]
                images = self.split.images.index_select(0, indices)
                labels = self.split.labels.index_select(0, indices)
            if self.augmentation is not None and changes is not None:
                images = augment(images, changes[:, first:last], self.augmentation.pad)
            yield normalise(images, self._mean, self._std), labels

    def _order(self, number: int) -> Tensor | None:
        if not self.shuffle:
            return None
        order = torch.randperm(self.n_samples, generator=self._stream("order", number))
        return order.to(self.split.labels.device)

    def _changes(self, number: int) -> Tensor | None:
        """Return an epoch's augmentation, copied to the device once: every copy costs a wait."""
        if self.augmentation is None:
            return None
        changes = sample_changes(self.n_samples, self.augmentation, self._stream("augment", number))
        return changes.to(self.split.labels.device)

    def _stream(self, *words: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, *words))
