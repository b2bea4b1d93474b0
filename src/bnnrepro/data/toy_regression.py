"""A noisy curve with a gap, in one dimension: nothing to download.

    y = sin(2 x) + x / 2 + e,   e normal with standard deviation ``noise``

x is uniform in [0, 2.2] and [3.8, 6]; there are no points elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnnrepro.data.toy import Points, RegressionData, standardised

TRAIN_SEED, TEST_SEED = 0, 1  # the same points whatever the run's seed
LENGTH, GAP = 2.2, 1.6


def load(
    *, name: str = "toy_regression", points: int = 200, test_points: int = 1000, noise: float = 0.3
) -> RegressionData:
    """Return the curve's points, inputs and targets standardised by the training points.

    Args:
        name: the data set's name.
        points: number of training points, >= 2.
        test_points: number of test points, with noise too, >= 2.
        noise: the targets' standard deviation around the curve, >= 0.
    """
    train, targets = _curve(points, noise, TRAIN_SEED)
    test, test_targets = _curve(test_points, noise, TEST_SEED)
    (train, test), mean, std = standardised(train, test)
    (targets, test_targets), target_mean, target_std = standardised(targets, test_targets)
    return RegressionData(
        name=name,
        train=Points(train, targets),
        test=Points(test, test_targets),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        target_mean=float(target_mean),
        target_std=float(target_std),
    )


def _curve(points: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return x and y, float64 of shape (points, 1)."""
    stream = torch.Generator().manual_seed(seed)
    x = 2 * LENGTH * torch.rand(points, 1, generator=stream, dtype=torch.float64)
    x = torch.where(x < LENGTH, x, x + GAP)
    spread = torch.randn(points, 1, generator=stream, dtype=torch.float64)
    return x, torch.sin(2 * x) + x / 2 + noise * spread
