"""The arithmetic of training steps: float32, TF32 or bfloat16.

bfloat16 halves the time of a step on processors and GPUs that support it, and multiplies it on
others (by 45 on a CPU with AVX2 only): ``auto`` measures first. Weights, the method's state and
every evaluation are always in float32, so that runs are comparable. Without this module, torch
would let a GPU's convolutions use TF32.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

log = logging.getLogger(__name__)
PRECISIONS = ("float32", "tf32", "bf16", "auto")
WORTHWHILE = 0.9  # auto takes bfloat16 where it needs at most this share of float32's time


def unsupported(precision: str, device: torch.device) -> str:
    """Return the reason why a device cannot train at a precision; an empty text if it can."""
    if precision == "tf32" and device.type != "cuda":
        return f"needs a GPU that has it, this is {device}; float32 or bf16 works"
    if precision == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
        return "needs a GPU of compute capability 8.0 or more; float32 or bf16 works"
    return ""


def resolve(precision: str, device: torch.device) -> str:
    """Return the precision to train at; ``auto`` measures, a slower bfloat16 logs a warning."""
    if precision not in ("bf16", "auto"):
        return precision
    factor = bf16_factor(device)
    if precision == "auto":
        return "bf16" if factor <= WORTHWHILE else "float32"
    if factor > 1:
        log.warning(
            "precision=bf16: matrix products take %.1f times as long as in float32 on this %s; "
            "precision=auto or float32 is faster",
            factor,
            "processor" if device.type == "cpu" else "GPU",
        )
    return precision


@cache
def bf16_factor(device: torch.device) -> float:
    """Return the time of a linear layer's product in bfloat16, as a multiple of float32's."""
    inputs, weights = torch.ones(100, 1024, device=device), torch.ones(1024, 1024, device=device)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(8):
        for bf16 in seconds:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                started = time.perf_counter()
                float(torch.nn.functional.linear(inputs, weights)[0, 0])  # waits for the device
                seconds[bf16].append(time.perf_counter() - started)
    return min(seconds[True]) / min(seconds[False])  # the minimum leaves out other load


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Compute float32 matrix products and convolutions exactly, or in TF32, in the context."""
    if device.type != "cuda":
        yield
        return
    matmul, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolutions


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a forward pass; for ``bf16``, bfloat16 where it is safe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def no_denormals() -> Iterator[None]:
    """Treat denormal numbers as 0: Adam's moments of dead inputs decay into them, 20x slower.

    torch's worker threads inherit the mode from the thread that starts them and never update it, so
    a run enters this context before torch computes anything.
    """
    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
