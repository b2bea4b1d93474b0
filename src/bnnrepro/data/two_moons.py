"""scikit-learn's two moons: two interleaving half circles, nothing to download."""

from __future__ import annotations

import torch
from sklearn.datasets import make_moons
from torch import Tensor

from bnnrepro.data.toy import Points, TwoClassData, standardised

TRAIN_SEED, TEST_SEED = 0, 1  # the same points whatever the run's seed


def load(
    *, name: str = "two_moons", points: int = 200, test_points: int = 1000, noise: float = 0.1
) -> TwoClassData:
    """Return the moons, inputs standardised by the training points.

    The test points have a seed of their own: with the training points' seed, as many test points
    would be the training points.

    Args:
        name: the data set's name.
        points: number of training points, >= 2.
        test_points: number of test points, >= 2.
        noise: standard deviation of the points around the half circles (radius 1), >= 0.
    """
    train, labels = _moons(points, noise, TRAIN_SEED)
    test, test_labels = _moons(test_points, noise, TEST_SEED)
    (train, test), mean, std = standardised(train, test)
    return TwoClassData(
        name=name,
        train=Points(train, labels),
        test=Points(test, test_labels),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def _moons(points: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    inputs, labels = make_moons(points, noise=noise, random_state=seed)
    return torch.from_numpy(inputs), torch.from_numpy(labels).long()
