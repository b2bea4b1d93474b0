"""What a network of one or two inputs predicts everywhere, as figures 2 and 3 show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bnnrepro.store import atomic

if TYPE_CHECKING:
    from bnnrepro.training.trainer import Trainer

FILE = "map.npz"
REACH = 4.0  # standard deviations of the inputs, from their mean
STEPS = {1: 401, 2: 121}  # grid points an axis, by the number of inputs


def write(trainer: Trainer, folder: Path, samples: int) -> None:
    """Write ``map.npz`` if the training inputs are points in one or two dimensions.

    It holds float32 arrays, all standardised: ``inputs`` (N, D) and ``targets`` (N,) of training,
    ``grid`` (M, D), evenly spaced over [-4, 4] in each input, and the predictions there (M,):
    ``mode``; for a method with a posterior the ``mean`` of ``samples`` draws and their ``spread``,
    the standard deviation. A prediction is a value, or the probability of class 1.

    Args:
        trainer: trained, on ``trainer.source``.
        folder: the run's.
        samples: draws of the mean, >= 1.
    """
    assert trainer.source is not None
    first, _ = next(trainer.source.epoch(0))
    if first.ndim != 2 or first.shape[1] not in STEPS:
        return  # images: their whole training set would be in memory as float32
    inputs, targets = (torch.cat(parts) for parts in zip(*trainer.source.epoch(0), strict=True))
    places = grid(inputs.shape[1])
    mode = trainer.predict(places)
    assert isinstance(mode, Tensor)
    arrays = {"inputs": inputs, "targets": targets.flatten(), "grid": places, "mode": mode[:, -1]}
    if trainer.optimizer.has_posterior:
        drawn = trainer.predict(places, samples=samples)
        assert not isinstance(drawn, Tensor)
        arrays |= {"mean": drawn.mean[:, -1], "spread": drawn.std[:, -1]}
    with atomic.replacing(folder / FILE) as handle:
        np.savez_compressed(handle, allow_pickle=False, **_numpy(arrays))


def grid(dimensions: int) -> Tensor:
    """Return the grid's points (M, D); the last input changes fastest."""
    axis = torch.linspace(-REACH, REACH, STEPS[dimensions])
    return torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions)


def _numpy(arrays: dict[str, Tensor]) -> dict[str, Any]:
    return {name: each.float().cpu().numpy() for name, each in arrays.items()}
