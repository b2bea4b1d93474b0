"""A noisy curve with a gap, in one dimension: nothing to download.

    y = sin(2 x) + x / 2 + e,   e normal with standard deviation ``noise``

x is uniform in [0, 2.2] and [3.8, 6]; there are no points elsewhere.
"""

from __future__ import annotations

from typing import Annotated

import torch

from bnnrepro.constraints import Ge, NotNegative
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.points import RegressionSet

TRAIN_SEED, TEST_SEED = 0, 1  # the same points whatever the run's seed
LENGTH, GAP = 2.2, 1.6


@dataset(RegressionSet, fixed=True, name="toy_regression")
def load(
    points: Annotated[int, Ge(2)] = 200,
    test_points: Annotated[int, Ge(2)] = 1000,
    noise: NotNegative = 0.3,
) -> Arrays:
    """Return the curve's points.

    Args:
        points: number of training points
        test_points: number of test points, with noise too, drawn with another seed
        noise: the targets' standard deviation around the curve
    """
    return Arrays(_curve(points, noise, TRAIN_SEED), _curve(test_points, noise, TEST_SEED))


def _curve(points: int, noise: float, seed: int) -> Samples:
    """Return x and y, float64 of shape (points, 1)."""
    stream = torch.Generator().manual_seed(seed)
    x = 2 * LENGTH * torch.rand(points, 1, generator=stream, dtype=torch.float64)
    x = torch.where(x < LENGTH, x, x + GAP)
    spread = torch.randn(points, 1, generator=stream, dtype=torch.float64)
    return Samples(x, torch.sin(2 * x) + x / 2 + noise * spread)
