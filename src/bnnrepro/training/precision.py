"""The arithmetic of training steps: float32, TF32 or bfloat16.

Whatever it is, weights, the method's state and every evaluation stay in float32, so that figures of
runs are comparable. Without this module, torch itself would let a GPU's convolutions use TF32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = ("float32", "tf32", "bf16")


def refused(precision: str, device: torch.device) -> str:
    """Return why a device cannot train at a precision; an empty text if it can."""
    if precision == "tf32" and device.type != "cuda":
        return f"needs a GPU that has it, this is {device}; float32 or bf16 works"
    if precision == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
        return "needs a GPU of compute capability 8.0 or more; float32 or bf16 works"
    return ""


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Do float32 matrix products and convolutions exactly, or in TF32, within the context."""
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
    """Return the context of a forward pass: bfloat16 where it is safe, if asked for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
