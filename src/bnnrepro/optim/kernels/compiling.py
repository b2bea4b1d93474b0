"""Run the methods' element-wise kernels, block by block or through ``torch.compile``.

A kernel is a function of flat tensors and numbers that works in place. It runs as it is, or as one
generated kernel: compiled once for all shapes and numbers. Random numbers are drawn outside
compiled code.
"""

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import cache
from itertools import takewhile
from typing import Any

import torch

from bnnrepro.optim.kernels.chunks import alike, blocks, flat

log = logging.getLogger(__name__)
Kernel = Callable[..., Any]

COMPILE_MODES = ("auto", "on", "off")

# Updates (weights times steps) of a run from which on compiling pays: it takes up to half a minute.
# A compiled update of 10 million weights saves some tenths of a millisecond on a GPU. On a CPU the
# blocks are as fast, but for methods that compute a tanh of every weight, which save 15 ms on two
# cores (docs/performance.md).
MIN_UPDATES = {"cuda": 2e12, "cpu": 1e11}

# A kernel has another form for each dtype, number of dimensions and kind of prior. torch stops with
# an error at 8 a process; the names of its limit and of the error differ between its versions.
MAX_FORMS = 64
LIMIT_NAMES = ("recompile_limit", "cache_size_limit")
LIMIT_ERRORS = ("FailOnRecompileLimitHit", "FailOnCacheLimitHit", "CacheLimitExceeded")


def run(kernel: Kernel, *arguments: Any, compile: bool) -> list[Any]:
    """Run a kernel on its tensors (they come first) and numbers; return its results, one a block.

    Compiled, it takes the tensors whole, and numbers as tensors: it would be compiled again for
    each value of a number.
    """
    tensors = list(takewhile(lambda argument: isinstance(argument, torch.Tensor), arguments))
    numbers = arguments[len(tensors) :]
    if not compile:
        return [kernel(*parts, *numbers) for parts in blocks(*tensors)]
    whole = map(flat, tensors) if alike(*tensors) else tensors
    scalars = [
        torch.full((), number, dtype=torch.float64, device=tensors[0].device)
        if isinstance(number, float)
        else number
        for number in numbers
    ]
    return [compiled(kernel)(*whole, *scalars)]


@cache
def compiled(kernel: Kernel) -> Kernel:
    """Return the compiled kernel, the same one every time.

    Beyond ``MAX_FORMS`` forms it runs as it is, with a warning.
    """
    form = torch.compile(kernel, dynamic=True, fullgraph=True)

    def run_form(*arguments: Any) -> Any:
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
        log.warning("%s is not compiled any more: it has over %d forms", kernel.__name__, MAX_FORMS)
        form = kernel
        return kernel(*arguments)

    return run_form


def _at_the_limit(error: Exception) -> bool:
    return type(error).__name__ in LIMIT_ERRORS


def _larger_limit() -> AbstractContextManager[None]:
    """Let torch compile more forms; only here, as setting it takes longer than a small kernel."""
    config = torch._dynamo.config
    name = next(limit for limit in LIMIT_NAMES if hasattr(config, limit))
    patch: AbstractContextManager[None] = config.patch(
        {name: max(MAX_FORMS, getattr(config, name))}
    )
    return patch


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
    if work < MIN_UPDATES.get(device.type, float("inf")):
        return False
    return (device.type != "cpu" or pays_on_cpu) and again(True, device)


def again(compiled: bool, device: torch.device) -> bool:
    """Return whether compiling is wanted and possible; log a warning where it is impossible."""
    if compiled and (reason := why_not(device)):
        log.warning("the optimizer is not compiled: %s", reason)
        return False
    return compiled


@cache
def why_not(device: torch.device) -> str:
    """Compile a line and run it; return the reason if that fails, else an empty text."""
    try:
        number = torch.ones((), device=device)
        assert compiled(_probe)(torch.zeros(8, device=device), number).sum() == 8
    except Exception as error:  # whatever a compiler, a linker or a driver may throw
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _probe(tensor: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return tensor.add_(number)
