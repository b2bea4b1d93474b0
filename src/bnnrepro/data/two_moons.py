"""scikit-learn's two moons: two interleaving half circles, nothing to download."""

from __future__ import annotations

from typing import Annotated

import torch

from bnnrepro.constraints import Ge, NotNegative
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.points import PointSet

TRAIN_SEED, TEST_SEED = 0, 1  # the same points whatever the run's seed


@dataset(PointSet, fixed=True, name="two_moons")
def load(
    points: Annotated[int, Ge(2)] = 200,
    test_points: Annotated[int, Ge(2)] = 1000,
    noise: NotNegative = 0.1,
) -> Arrays:
    """Return the moons.

    The test points have a seed of their own: with the training points' seed, as many test points
    would be the training points.

    Args:
        points: number of training points
        test_points: number of test points, drawn with another seed
        noise: standard deviation of the points around the half circles, whose radius is 1
    """
    train, test = _moons(points, noise, TRAIN_SEED), _moons(test_points, noise, TEST_SEED)
    return Arrays(train, test, ("0", "1"))


def _moons(points: int, noise: float, seed: int) -> Samples:
    from sklearn.datasets import make_moons  # brings 160 MB, which other runs do not need

    inputs, classes = make_moons(points, noise=noise, random_state=seed)
    return Samples(torch.from_numpy(inputs), torch.from_numpy(classes).long())
