"""Samples, and the batches that training and evaluation read: no worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor

from bnnrepro.data.streaming import Streamed, fetched_ahead
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive

Pair = tuple[Tensor, Tensor]
Indices: TypeAlias = Tensor | slice
Changes: TypeAlias = Tensor | None


class Source(Protocol):
    """Batches of (inputs, targets), epoch after epoch."""

    @property
    def n_samples(self) -> int:
        """The number of samples of an epoch."""

    def __len__(self) -> int:
        """The number of batches of an epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Pair]:
        """Return an iterator over an epoch's batches from batch ``start`` on."""


@dataclass(frozen=True)
class Samples:
    """Inputs with their targets, both on one device; images may be ``streaming.streamed`` ones.

    Args:
        inputs: images, uint8 (N, C, H, W), values 0..255; or points, floating (N, D), finite.
        targets: of each sample, a class from 0, int64 (N,), or a value, floating (N, 1), finite;
            or of each pixel a class from 0, uint8 (N, H, W).
        names: of the samples; empty where they have none.

    Raises:
        TypeError: a tensor of another dtype.
        ValueError: another shape, unequal lengths, a negative class, a number that is not finite,
            or two devices.
    """

    inputs: Tensor
    targets: Tensor
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inputs, targets = self.inputs, self.targets
        classes = (torch.int64, torch.uint8)
        for name, values, whole in (("inputs", inputs, classes[1:]), ("targets", targets, classes)):
            if values.is_floating_point() and not values.isfinite().all():
                raise ValueError(f"{name} hold a number that is not finite")
            if not values.is_floating_point() and values.dtype not in whole:
                allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in whole)
                raise TypeError(f"{name} are {values.dtype}: floating or {allowed} is needed")
        one = (1,) if targets.is_floating_point() else ()
        shape = (len(inputs), *(inputs.shape[2:] if targets.dtype == torch.uint8 else one))
        if inputs.ndim != (2 if inputs.is_floating_point() else 4):
            needed = "points (N, D), or images of uint8 (N, C, H, W), are needed"
            raise ValueError(f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}: {needed}")
        if targets.shape != shape:
            raise ValueError(f"targets have shape {tuple(targets.shape)}: {shape} is needed")
        if self.names and len(self.names) != len(inputs):
            raise ValueError(f"{len(self.names)} names for {len(inputs)} inputs")
        if inputs.device != targets.device:
            raise ValueError(f"inputs are on {inputs.device}, targets on {targets.device}")
        if targets.dtype == torch.int64 and len(targets) and targets.min() < 0:
            raise ValueError(f"targets go down to {int(targets.min())}: 0 is the least")

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, indices: Indices) -> Pair:
        """Return inputs and targets at int64 indices (B,), copied, or of a slice, as views."""
        if isinstance(indices, slice):
            return self.inputs[indices], self.targets[indices]
        # index_select is ten times as fast as indexing by a tensor on a CPU.
        return self.inputs.index_select(0, indices), self.targets.index_select(0, indices)

    def to(self, device: torch.device | str) -> Samples:
        """Return the same samples on a device."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def subset(self, indices: Tensor) -> Samples:
        """Return the samples at the given indices (int64, shape (n,)), in that order."""
        names = tuple(self.names[index] for index in indices.tolist()) if self.names else ()
        if isinstance(self.inputs, Streamed):
            targets = self.targets[indices.to(self.targets.device)]
            return Samples(cast(Tensor, self.inputs.subset(indices)), targets, names)
        return Samples(*self[indices.to(self.inputs.device)], names)


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of samples that are fetched by their indices.

    No state is kept between epochs: the order and the random changes of an epoch are functions of
    the seed and its number. An epoch started at batch k gives the same bits as one run from 0.

    The last batch may be smaller. With ``shuffle``, one smaller than ``least`` joins the batch
    before it: BatchNorm cannot train on one sample.

    Args:
        n_samples: number of samples of an epoch, >= 1.
        fetch: maps indices, int64 (B,), or a slice in the data's order, and the samples' columns
            of the epoch's changes, or None, to a batch of inputs and targets.
        batch_size: samples per batch, >= 1; it may exceed the number of samples.
        seed: the run's seed.
        shuffle: use a new random order in each epoch (training) instead of the data's own.
        device: of the indices and changes.
        draw: draws the changes of an epoch, a column for each of as many samples, from a generator
            on the CPU: the same on every device. None: no changes.
        least: the smallest last batch of a shuffled epoch.
        ahead: number of batches fetched, in a thread, before they are asked for.

    Raises:
        UserError: a batch size below 1.
        ValueError: no samples.
    """

    n_samples: int
    fetch: Callable[[Indices, Changes], Pair]
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    device: torch.device | str = "cpu"
    draw: Callable[[int, torch.Generator], Tensor] | None = None
    least: int = 2
    ahead: int = 0

    def __post_init__(self) -> None:
        if not self.n_samples:
            raise ValueError("data: an epoch of it has no samples")
        if self.batch_size < 1:
            raise UserError("batch_size", self.batch_size, "at least 1")

    def __len__(self) -> int:
        return len(self._cuts) - 1

    @cached_property
    def _cuts(self) -> list[int]:
        """The place of each batch's first sample, and the number of samples."""
        cuts = list(range(0, self.n_samples, self.batch_size))
        if self.shuffle and len(cuts) > 1 and self.n_samples - cuts[-1] < self.least:
            cuts.pop()
        return [*cuts, self.n_samples]

    def epoch(self, number: int, start: int = 0) -> Iterator[Pair]:
        """Return an iterator over an epoch's batches, from batch ``start`` (0-based) on.

        Raises:
            ValueError: a start that is not in 0..len(self).
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"start is {start}: an epoch has batches 0 to {len(self) - 1}")
        return self._batches(number, start)

    def _batches(self, number: int, start: int) -> Iterator[Pair]:
        # Order and changes are copied to the device once an epoch: every copy costs a wait.
        order = changes = None
        if self.shuffle:
            order = torch.randperm(self.n_samples, generator=self._stream("order", number))
            order = order.to(self.device)
        if self.draw is not None:
            changes = self.draw(self.n_samples, self._stream("augment", number)).to(self.device)

        def fetch(batch: slice) -> Pair:
            indices = batch if order is None else order[batch]
            return self.fetch(indices, None if changes is None else changes[:, batch])

        batches = (slice(first, last) for first, last in pairwise(self._cuts[start:]))
        yield from fetched_ahead(fetch, batches, self.ahead) if self.ahead else map(fetch, batches)

    def _stream(self, *words: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, *words))
