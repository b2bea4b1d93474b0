"""Hold a validation set out of the training set."""

from __future__ import annotations

import torch
from torch import Tensor

from bnnrepro.errors import UserError
from bnnrepro.seeds import derive


def hold_out(n: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the places of the training and of the validation samples.

    Args:
        n: the number of samples.
        fraction: the share held out, in [0, 1); round(n * fraction) samples, whatever the seed.
        seed: the run's seed; it alone decides which samples.

    Returns:
        Two int64 tensors, sorted, that together hold each of 0..n-1 once. The second is empty
        if the fraction is 0.

    Raises:
        UserError: a fraction out of range, or one that leaves either side empty.
    """
    key = "dataset.validation_split"
    if not 0 <= fraction < 1:
        raise UserError(key, fraction, "a fraction of the training set, 0 or more and less than 1")
    held = round(n * fraction)
    if held >= n:
        raise UserError(key, fraction, f"leaves none of {n} samples for training; less is needed")
    if fraction > 0 and held == 0:
        raise UserError(key, fraction, f"holds none of {n} samples out; 0, or at least {1 / n:.2g}")
    generator = torch.Generator().manual_seed(derive(seed, "split"))
    shuffled = torch.randperm(n, generator=generator)
    return shuffled[held:].sort().values, shuffled[:held].sort().values
