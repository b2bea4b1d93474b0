"""The interface between data and training: sources of batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Source(Protocol):
    """Batches of (inputs, targets), epoch after epoch."""

    @property
    def n_samples(self) -> int:
        """The number of samples of an epoch."""

    def __len__(self) -> int:
        """The number of batches of an epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches from batch ``start`` on."""


@dataclass(frozen=True)
class CachedBatches:
    """The batches of one epoch, kept in memory to be read many times.

    Args:
        batches: of inputs and targets, all in memory.
        n_samples: number of samples in them.
    """

    batches: list[tuple[Tensor, Tensor]]
    n_samples: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the batches, the same in every epoch."""
        return iter(self.batches[start:])
