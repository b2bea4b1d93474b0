"""What gives batches: the seam between data and training."""

from collections.abc import Iterator
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
