"""Denormal numbers, which make arithmetic many times slower."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def no_denormals() -> Iterator[None]:
    """Take denormal numbers for 0: Adam's moments of dead inputs decay into them, 20x slower.

    torch's worker threads take the mode over from the thread that starts them, and do not learn of
    it later: a run enters this before torch computes anything.
    """
    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
