"""torch.compile for the methods' element-wise kernels: one generated kernel instead of many.

A kernel is a function of flat tensors and numbers that works in place. It runs as it is, or
compiled: once for all shapes and numbers. Random numbers are drawn outside.
"""

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch

log = logging.getLogger(__name__)
Kernel = Callable[..., Any]

COMPILE_MODES = ("auto", "on", "off")

# Updates (weights times steps) of a run from which on compiling pays: it takes up to half a minute.
# A compiled update of 10 million weights saves some tenths of a millisecond on a GPU. On a CPU the
# blocks are as fast, but for methods that compute a tanh of every weight, which save 15 ms on two
# cores (docs/performance.md).
WORTHWHILE = {"cuda": 2e12, "cpu": 1e11}


# A kernel has another form for each dtype, number of dimensions and kind of prior. torch stops with
# an error at 8 a process; the names of its limit and of the error are those of its versions.
FORMS = 64
LIMITS = ("recompile_limit", "cache_size_limit")
AT_THE_LIMIT = ("FailOnRecompileLimitHit", "FailOnCacheLimitHit", "CacheLimitExceeded")


@cache
def compiled(kernel: Kernel) -> Kernel:
    """Return the compiled kernel, the same one every time.

    Beyond ``FORMS`` forms it runs as it is, with a warning.
    """
    form = torch.compile(kernel, dynamic=True, fullgraph=True)

    def run(*arguments: Any) -> Any:
        nonlocal form
        try:
            return form(*arguments)
        except Exception as error:
            if not _at_the_limit(error):  # which is met before anything is computed
                raise
        try:
            with _larger_limit():
                return form(*arguments)
        except Exception as error:
            if not _at_the_limit(error):
                raise
        log.warning("%s is not compiled any more: it has over %d forms", kernel.__name__, FORMS)
        form = kernel
        return kernel(*arguments)

    return run


def _at_the_limit(error: Exception) -> bool:
    return type(error).__name__ in AT_THE_LIMIT


def _larger_limit() -> AbstractContextManager[None]:
    """Let torch compile more forms; only here, as to set it takes longer than a small kernel."""
    config = torch._dynamo.config
    name = next(limit for limit in LIMITS if hasattr(config, limit))
    return config.patch({name: max(FORMS, getattr(config, name))})


def decide(
    mode: str, weights: Collection[torch.Tensor], *, updates: float, pays_on_cpu: bool
) -> bool:
    """Return whether a run's kernels are compiled.

    Args:
        mode: one of ``COMPILE_MODES``.
        weights: the binary weights.
        updates: steps of the whole run times draws a step.
        pays_on_cpu: whether the method's kernels are faster compiled on a CPU too.

    Raises:
        RuntimeError: for ``on`` where nothing can be compiled.
    """
    if mode == "off" or not weights:
        return False
    device = next(iter(weights)).device
    if mode == "on":
        if reason := why_not(device):
            raise RuntimeError(f"nothing can be compiled for {device}: {reason}")
        return True
    work = updates * sum(weight.numel() for weight in weights)
    if work < WORTHWHILE.get(device.type, float("inf")):
        return False
    return (device.type != "cpu" or pays_on_cpu) and again(True, device)


def again(compiled: bool, device: torch.device) -> bool:
    """Return whether what was compiled (or shall be) can be; a warning where it cannot."""
    if compiled and (reason := why_not(device)):
        log.warning("the optimizer is not compiled: %s", reason)
        return False
    return compiled


@cache
def why_not(device: torch.device) -> str:
    """Compile a line and run it; return the reason if that fails, else an empty text."""
    try:
        one = torch.ones((), device=device)
        assert compiled(_probe)(torch.zeros(8, device=device), one).sum() == 8
    except Exception as error:  # whatever a compiler, a linker or a driver may throw
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _probe(tensor: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return tensor.add_(number)
