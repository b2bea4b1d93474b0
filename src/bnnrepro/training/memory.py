"""Memory that training frees and takes again in every step stays with the process.

A step's gradients and activations are tens of megabytes. By default glibc hands such pieces back to
the system when they are freed and has the system clear new ones in the next step: on the MNIST
network that was 8,000 page faults and a tenth of a step's time.
"""

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 1 << 30  # bytes


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 1 GiB of freed memory; elsewhere nothing changes."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT)
