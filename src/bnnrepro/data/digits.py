"""scikit-learn's handwritten digits: 1,797 images of 8x8, nothing to download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate

from bnnrepro.data.dataset import ImageData, Split
from bnnrepro.data.metadata import build_image_data
from bnnrepro.errors import UserError

TEST_SIZE = 360
BRIGHTEST = 16  # the source's pixels go from 0 to 16


def load(
    *,
    name: str = "digits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> ImageData:
    """Return the digits: 1,437 training and 360 test images, shape (1, 8, 8), 10 classes.

    The source has no test set, so one is split off here, stratified by class and the same for
    every seed of a run. The arguments are those of
    :func:`bnnrepro.data.metadata.build_image_data`.

    Raises:
        UserError: a declared value that the data contradict.
    """
    train, test = _splits()
    return build_image_data(
        train,
        test,
        [str(digit) for digit in range(10)],
        name=name,
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
    )


def stand_in(
    shape: Sequence[int],
    classes: int,
    *,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    augment: Mapping[str, Any] | None,
) -> ImageData:
    """Return the digits, resized to stand in for another data set.

    Args:
        shape: (C, H, W) of its images; each channel holds the same digit.
        classes: its number of classes, 10 or more; those above 9 have no images.
        mean: its own mean, used for the digits unchanged; see ``build_image_data``, also below.
        std: likewise.
        augment: likewise.

    Raises:
        UserError: fewer classes than digits, or an augmentation that does not fit.
    """
    if classes < 10:
        raise UserError("dataset.classes", classes, "10 or more where digits stand in")
    train, test = (_resized(split, shape) for split in _splits())
    return build_image_data(
        train,
        test,
        [str(number) for number in range(classes)],
        name="digits",
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
    )


def _resized(split: Split, shape: Sequence[int]) -> Split:
    channels, height, width = shape
    images = interpolate(split.images.float(), size=(height, width), mode="bilinear")
    images = images.round().clamp(0, 255).to(torch.uint8)
    return Split(images.expand(-1, channels, -1, -1).contiguous(), split.labels)


def _splits() -> tuple[Split, Split]:
    source = load_digits()
    pixels = np.rint(source.images * (255 / BRIGHTEST)).astype(np.uint8)
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(source.target.astype(np.int64))
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_SIZE, stratify=labels, random_state=0
    )
    whole = Split(images, labels)
    return whole.subset(torch.from_numpy(train)), whole.subset(torch.from_numpy(test))
