"""Predictions of a network with one or two inputs on a grid, as in figures 2 and 3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bnnrepro.errors import UserError
from bnnrepro.runs import atomic
from bnnrepro.runs.layout import MAP

if TYPE_CHECKING:
    from bnnrepro.training.task import Training

REACH = 4.0  # standard deviations of the inputs, from their mean
STEPS = {1: 401, 2: 121}  # grid points per axis, by the number of inputs


def write(training: Training, folder: Path, *, samples: int, average: str) -> None:
    """Write ``map.npz`` if the training inputs are points in one or two dimensions.

    It holds float32 arrays, all standardised: ``inputs`` (N, D) and ``targets`` (N,) of training,
    ``grid`` (M, D), evenly spaced over [-4, 4] in each input, and the predictions there (M,):
    ``mode``; for a method with a posterior the ``mean`` of draws, the draws' standard deviation
    ``spread`` (of the averaged quantity), and the settings of both, ``samples`` and ``average``. A
    prediction is a value, or the probability of class 1.

    Args:
        training: trained, on ``training.source``.
        folder: the run's.
        samples: draws for the mean, >= 1.
        average: the quantity averaged over them, ``probabilities`` or ``logits``.
    """
    assert training.source is not None
    if not _of_points(training):
        return  # images, whose training set would fill the memory as float32
    inputs, targets = (torch.cat(parts) for parts in zip(*training.source.epoch(0), strict=True))
    points = grid(inputs.shape[1])
    mode = training.predict(points)
    assert isinstance(mode, Tensor)
    arrays = {"inputs": inputs, "targets": targets.flatten(), "grid": points, "mode": mode[:, -1]}
    settings: dict[str, Any] = {}
    if training.optimizer.has_posterior:
        prediction = training.predict(points, samples=samples, average=average)
        assert not isinstance(prediction, Tensor)
        arrays |= {"mean": prediction.mean[:, -1], "spread": prediction.std[:, -1]}
        settings = {"samples": np.array(samples), "average": np.array(average)}
    with atomic.replacing(folder / MAP) as handle:
        np.savez_compressed(handle, **_numpy(arrays), **settings)


def is_current(training: Training, folder: Path, *, samples: int, average: str) -> bool:
    """Return whether ``write`` has nothing to do: the file is complete and of these settings."""
    if not _of_points(training):
        return True
    from bnnrepro.runs.reading import read_arrays

    try:
        arrays = read_arrays(folder / MAP)
    except UserError:
        return False
    if not training.optimizer.has_posterior:
        return "mode" in arrays
    return [str(arrays.get(key)) for key in ("samples", "average")] == [str(samples), average]


def _of_points(training: Training) -> bool:
    """Return whether the training inputs are points in one or two dimensions."""
    assert training.source is not None
    first, _ = next(training.source.epoch(0))
    return first.ndim == 2 and first.shape[1] in STEPS


def grid(dimensions: int) -> Tensor:
    """Return the grid's points (M, D); the last input changes fastest."""
    axis = torch.linspace(-REACH, REACH, STEPS[dimensions])
    return torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions)


def _numpy(arrays: dict[str, Tensor]) -> dict[str, Any]:
    return {name: array.float().cpu().numpy() for name, array in arrays.items()}
