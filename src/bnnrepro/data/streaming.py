"""Images that stay in their files: each batch is read when it is needed, ahead of training."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

A = TypeVar("A")
T = TypeVar("T")
SHARE = 0.25
"""Part of the machine's memory that a data set may take before it is streamed by itself."""


class Streamed:
    """Images that are read when they are asked for: what ``Samples`` uses of a tensor, and no more.

    Args:
        read: returns the images at some places, uint8 (B, C, H, W); it is called in a thread.
        shape: (N, C, H, W) of all images.
        places: the images, by their places for ``read``; None: all N.
        device: on which images are handed out.
    """

    dtype, ndim = torch.uint8, 4
    ahead = 2  # batches

    def __init__(
        self,
        read: Callable[[list[int]], np.ndarray],
        shape: Sequence[int],
        places: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._read, self._image, self.device = read, tuple(shape[1:]), torch.device(device)
        self._places = torch.arange(shape[0]) if places is None else places

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return len(self), *self._image

    def __len__(self) -> int:
        return len(self._places)

    def is_floating_point(self) -> bool:
        """Return False: images are of uint8."""
        return False

    def subset(self, places: Tensor) -> Streamed:
        """Return the images at some places, still in their files."""
        return Streamed(self._read, self.shape, self._places[places.cpu()], self.device)

    def to(self, device: torch.device | str) -> Streamed:
        """Return the images, to be handed out on a device."""
        return Streamed(self._read, self.shape, self._places, device)

    def __getitem__(self, places: Tensor | slice) -> Tensor:
        wanted = self._places[places.cpu() if isinstance(places, Tensor) else places]
        return torch.from_numpy(self._read(wanted.tolist())).to(self.device)

    def index_select(self, dimension: int, places: Tensor) -> Tensor:
        """Return the images at some places, read."""
        assert dimension == 0
        return self[places]


def streamed(read: Callable[[list[int]], np.ndarray], shape: Sequence[int]) -> Tensor:
    """Return ``Streamed`` images, typed as the tensor that they stand for."""
    return cast(Tensor, Streamed(read, shape))


def fits_in_memory(count: int) -> bool:
    """Return whether so many bytes take at most ``SHARE`` of this machine's memory."""
    return count <= SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fetched_ahead(work: Callable[[A], T], items: Iterable[A], ahead: int) -> Iterator[T]:
    """Return ``work`` of each item, in order, done in a thread up to ``ahead`` items early."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
