"""scikit-learn's handwritten digits: 1,797 images of 8x8, nothing to download.

They are those of its ``load_digits``, the test set of Alpaydin and Kaynak, Optical Recognition of
Handwritten Digits (UCI Machine Learning Repository, 1998, CC BY 4.0), split by its
``train_test_split``, stratified, seed 0. ``digits.npz`` holds the two parts: to import scikit-learn
would take a tenth of a default run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.images import ImageSet, resized
from bnnrepro.errors import UserError

BRIGHTEST = 16  # the source's pixels go from 0 to 16


@dataset(ImageSet, fixed=True, name="digits", shape=(1, 8, 8), classes=10, validation_split=0.2)
def load() -> Arrays:
    """Return the digits: 1,437 training and 360 test images, shape (1, 8, 8), 10 classes.

    The source has no test set, so one is split off here, stratified by class and the same for
    every seed of a run.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as source:
        train, test = (_samples(source, part) for part in ("train", "test"))
    return Arrays(train, test, tuple(map(str, range(10))))


def _samples(source: Mapping[str, Any], part: str) -> Samples:
    pixels = np.rint(source[f"{part}_images"] * (255 / BRIGHTEST)).astype(np.uint8)
    labels = source[f"{part}_labels"].astype(np.int64)
    return Samples(torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(labels))


def stand_in(shape: Sequence[int], classes: int, **common: Any) -> ImageSet:
    """Return the digits, resized to stand in for another data set.

    Args:
        shape: (C, H, W) of its images; each channel holds the same digit.
        classes: its number of classes, 10 or more; those above 9 have no images.
        **common: its other keys, those of an ``ImageSet``.

    Raises:
        UserError: fewer classes than digits, or an augmentation that does not fit.
    """
    if classes < 10:
        raise UserError("dataset.classes", classes, "10 or more where digits stand in")
    channels, height, width = shape

    def enlarged(samples: Samples) -> Samples:
        images = resized(samples.inputs, height, width, antialias=False)
        return Samples(images.expand(-1, channels, -1, -1).contiguous(), samples.targets)

    read = load.arrays()
    assert read.test is not None
    names = tuple(map(str, range(classes)))
    arrays = Arrays(enlarged(read.train), enlarged(read.test), names)
    return ImageSet(arrays, **common | {"name": "digits"})
