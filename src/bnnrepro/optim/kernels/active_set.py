"""Incrementally maintained index of a large tensor's entries near zero, the active ones.

An update that changes millions of values has each of them in the cache once; there it marks, a byte
a value, the values within reach of zero. To list their places is to search the marks: eight at a
time, as one integer, and on the second level eight integers at a time. Where a list exists already,
only marks that changed since are searched.
"""

import numpy as np
import torch
from torch import Tensor

from bnnrepro.optim.kernels.chunks import blocks, dense, flat

SPARSITY = 3  # no places are listed where more than numel // SPARSITY values are active
SAMPLE = 61  # where more than half of every 61st value is active, no marks are made, either
WORD = 8  # bytes of an int64
MAX_PLAIN_SEARCH = 1 << 12  # marks; more are searched by words first


class ActiveSet:
    """The places of a dense tensor's values with an absolute value of at most ``reach``.

    Args:
        values: the tensor, on the CPU; it is searched again after every change.
        reach: >= 0.
    """

    def __init__(self, values: Tensor, reach: float) -> None:
        assert dense(values)
        self.values, self.reach = values, reach
        self._listed, self._written = self._marks(), self._marks()
        self._version = -1  # of the values at the time of the written marks
        self._current = False  # whether the list belongs to the written marks, too
        self.crowded = self._is_crowded()
        self._places: Tensor | None = None

    def _marks(self) -> Tensor:
        """Return flat marks, all off; their number is a multiple of two levels of words."""
        count = -(-self.values.numel() // WORD**2) * WORD**2
        return torch.zeros(count, dtype=torch.bool)

    @property
    def marks(self) -> Tensor:
        """Marks in the layout of the values, for ``mark`` to write; then call ``marked``."""
        return self._written.as_strided(self.values.shape, self.values.stride())

    def marked(self) -> None:
        """Take the marks as those of the present values."""
        self._version, self._current = self.values._version, False

    def _is_crowded(self) -> bool:
        sample = flat(self.values)[::SAMPLE].abs() <= self.reach
        return 2 * int(torch.count_nonzero(sample)) > len(sample)

    def places(self) -> Tensor | None:
        """Return the places, int64, ascending in the order of memory; None if they are many.

        They depend on the values alone, never on those before.
        """
        self.crowded = self._is_crowded()
        if self.crowded:
            return None
        if self._version != self.values._version:
            for part, marks in blocks(self.values, self.marks):
                mark(marks, part, self.reach)
            self.marked()
        if not self._current:
            self._list()
            self._listed, self._written = self._written, self._listed
            self._current = True
        return self._places

    def _list(self) -> None:
        limit = self.values.numel() // SPARSITY
        places = self._places
        if places is not None:
            places = _follow(places, self._listed, self._written, limit)
        elif torch.count_nonzero(self._written) <= limit:
            places = true_places(self._written)
        self._places = places if places is not None and len(places) <= limit else None


def mark(marks: Tensor, values: Tensor, reach: Tensor | float) -> None:
    """Mark the values within reach of zero; NaN is not.

    NumPy compares: torch compares floats into bools six times slower.
    """
    if values.dtype in (torch.float32, torch.float64):
        np.less_equal(values.abs().numpy(), reach, out=marks.numpy())
    else:
        marks.copy_(values.abs().le_(reach))


def true_places(marks: Tensor) -> Tensor:
    """Return where flat marks are on, ascending; their number is a multiple of a word's bytes."""
    if len(marks) <= MAX_PLAIN_SEARCH or len(marks) % WORD:
        return marks.nonzero().squeeze(1)
    return _within(marks, true_places(marks.view(torch.int64) != 0))


def _within(marks: Tensor, words: Tensor) -> Tensor:
    """Return where marks are on within the words at some places, ascending."""
    inside = marks.view(-1, WORD).index_select(0, words).nonzero()
    return words.index_select(0, inside[:, 0]).mul_(WORD).add_(inside[:, 1])


def _follow(places: Tensor, before: Tensor, after: Tensor, limit: int) -> Tensor | None:
    """Return the places of the marks ``after``, given those of the marks ``before``."""
    changed = before.view(torch.int64) != after.view(torch.int64)
    words = true_places(changed)
    if not len(words):
        return places
    if len(words) > max(len(places), limit // 16):
        return true_places(after) if torch.count_nonzero(after) <= limit else None
    kept = places[~changed.index_select(0, places // WORD)]
    return merged(kept, _within(after, words))


def merged(long: Tensor, short: Tensor) -> Tensor:
    """Return the union of two disjoint ascending lists, ascending."""
    if not len(short):
        return long
    targets = torch.searchsorted(long, short) + torch.arange(len(short))
    union = long.new_empty(len(long) + len(short))
    rest = torch.ones_like(union, dtype=torch.bool).index_fill_(0, targets, False)
    return union.masked_scatter_(rest, long).index_copy_(0, targets, short)
