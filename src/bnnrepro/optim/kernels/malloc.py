"""Keep the memory that every step frees and takes again with the process.

A step's gradients and activations are tens of megabytes. By default glibc hands such pieces back to
the system when they are freed, if they lie at the end of the heap, and has the system clear new
pages in the next step: with MNIST's network 10,000 page faults and a tenth of a step's time.

A ``Trainer`` has glibc keep freed memory. An optimizer in anybody's program leaves glibc's limits
as they are: there, the gradient at the highest address is kept until the next ones have taken the
memory of the others.
"""

import ctypes
import sys
from collections.abc import Iterable

from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MAX_KEPT = 1 << 30  # bytes
# The largest piece that may come from the heap; 1 << 25 is the limit of glibc before 2.35.
MAX_PIECES = (MAX_KEPT, 1 << 25)

_keeping = False


def keep_freed_memory() -> None:
    """Let glibc keep up to 1 GiB of freed memory; elsewhere nothing changes.

    Setting either limit ends glibc's adapting of both: where pieces may not grow, none is set.
    """
    global _keeping
    if _keeping or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # in musl
        return
    if any(mallopt(M_MMAP_THRESHOLD, piece) for piece in MAX_PIECES):
        _keeping = bool(mallopt(M_TRIM_THRESHOLD, MAX_KEPT))


def to_keep(gradients: Iterable[Tensor]) -> Tensor | None:
    """Return the gradient to keep until the next ones exist: the one at the highest address.

    None on a GPU, and where the process keeps all freed memory. A gradient that is a view into
    larger memory is left out: all of that would be kept.
    """
    if _keeping:
        return None
    fit = (
        g for g in gradients if g.device.type == "cpu" and g.untyped_storage().nbytes() == g.nbytes
    )
    return max(fit, key=Tensor.data_ptr, default=None)
