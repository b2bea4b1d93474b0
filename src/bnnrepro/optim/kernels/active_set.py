"""Which of many values are near zero, kept up to date while few of them come and go.

An update that changes millions of values has each of them in the cache once; there it writes down,
a byte a value, which are within reach of zero. To list their places is to search those bytes: eight
at a time, as one integer, and on the second level eight integers at a time. Where a list is there
already, only what differs from its bytes is searched.
"""

import torch
from torch import Tensor

from bnnrepro.optim.kernels.chunks import blocks, dense

SHARE = 3  # no places are listed where more than one in so many values is near
_WORD = 8  # bytes of an int64
_LEAST = 1 << 12  # so many bytes are searched at once


class Near:
    """The places of a dense tensor's values with an absolute value of at most ``reach``.

    Args:
        values: the tensor, on the CPU; it is looked at again whenever it was changed.
        reach: >= 0.
    """

    def __init__(self, values: Tensor, reach: float) -> None:
        assert dense(values)
        self.values, self.reach = values, reach
        self._listed, self._written = self._marks(), self._marks()
        self._version = -1  # of the values that the written marks are of
        self._current = False  # whether the list is of the written marks, too
        self._places: Tensor | None = None
        self._known = False  # whether the listed marks are those of the list

    def _marks(self) -> Tensor:
        """Return flat marks, all off, in number a multiple of two levels of words."""
        count = -(-self.values.numel() // _WORD**2) * _WORD**2
        return torch.zeros(count, dtype=torch.bool)

    @property
    def marks(self) -> Tensor:
        """Marks in the layout of the values, for ``mark`` to write; then call ``marked``."""
        return self._written.as_strided(self.values.shape, self.values.stride())

    def marked(self) -> None:
        """Say that the marks are those of the values as they are now."""
        self._version, self._current = self.values._version, False

    def places(self) -> Tensor | None:
        """Return the places, int64, ascending in the order of memory; None if they are many."""
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
        limit = self.values.numel() // SHARE
        places = self._places
        if places is not None:
            places = _follow(places, self._listed, self._written, limit)
        elif torch.count_nonzero(self._written) <= limit:
            places = true_places(self._written)
        self._places = places if places is not None and len(places) <= limit else None


def mark(marks: Tensor, values: Tensor, reach: Tensor | float) -> None:
    """Write which values are within reach of zero; NaN is not.

    By way of floating-point ones and zeros: torch compares floats into bools six times slower.
    """
    marks.copy_(values.abs().le_(reach))


def true_places(marks: Tensor) -> Tensor:
    """Return where flat marks are on, ascending; their number is a multiple of a word's bytes."""
    if len(marks) <= _LEAST or len(marks) % _WORD:
        return marks.nonzero().squeeze(1)
    return _within(marks, true_places(marks.view(torch.int64) != 0))


def _within(marks: Tensor, words: Tensor) -> Tensor:
    """Return where marks are on in some words, which are given by their places, ascending."""
    inside = marks.view(-1, _WORD).index_select(0, words).nonzero()
    return words.index_select(0, inside[:, 0]).mul_(_WORD).add_(inside[:, 1])


def _follow(places: Tensor, before: Tensor, after: Tensor, limit: int) -> Tensor | None:
    """Return the places of the marks ``after``, knowing those of the marks ``before``."""
    changed = before.view(torch.int64) != after.view(torch.int64)
    words = true_places(changed)
    if not len(words):
        return places
    if len(words) > max(len(places), limit // 16):
        return true_places(after) if torch.count_nonzero(after) <= limit else None
    kept = places[~changed.index_select(0, places // _WORD)]
    return merged(kept, _within(after, words))


def merged(one: Tensor, other: Tensor) -> Tensor:
    """Return two ascending lists of different integers as one; quick where the other is short."""
    if not len(other):
        return one
    targets = torch.searchsorted(one, other) + torch.arange(len(other))
    together = one.new_empty(len(one) + len(other))
    rest = torch.ones_like(together, dtype=torch.bool).index_fill_(0, targets, False)
    return together.masked_scatter_(rest, one).index_copy_(0, targets, other)
