"""What every loader does last: measure what is not given, check what is declared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnrepro.data.dataset import Augmentation, ImageData, Split
from bnnrepro.errors import UserError, nearest

AUGMENT_KEYS = ("pad", "flip")


def assemble(
    train: Split,
    test: Split,
    found_classes: Sequence[str],
    *,
    name: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    augment: Mapping[str, Any] | None,
    shape: Sequence[int] | None,
    classes: int | None,
    fingerprint: str | None = None,
) -> ImageData:
    """Return the data set, checked against what its configuration declares.

    Args:
        train: the training images.
        test: the test images, of the same shape.
        found_classes: the classes' names as the data have them.
        name: the data set's name.
        mean: each channel's mean in 0..1, or None: measured from the training images.
        std: each channel's standard deviation in 0..1, or None: measured likewise.
        augment: ``{"pad": pixels, "flip": bool}``, or None.
        shape: the declared (C, H, W), or None: as found.
        classes: the declared number of classes, or None: as found.
        fingerprint: a hash of the content, for data given by a path.

    Raises:
        UserError: a declared value that the data contradict, or that is out of range.
    """
    found_shape = tuple(train.images.shape[1:])
    if shape is not None and tuple(shape) != found_shape:
        raise UserError("dataset.shape", list(shape), f"{name} has images of {list(found_shape)}")
    if classes is not None and classes != len(found_classes):
        raise UserError("dataset.classes", classes, f"{name} has {len(found_classes)} classes")
    if mean is None or std is None:
        measured_mean, measured_std = channel_statistics(train.images)
        mean = measured_mean if mean is None else mean
        std = measured_std if std is None else std
    return ImageData(
        name=name,
        train=train,
        test=test,
        classes=tuple(found_classes),
        mean=per_channel("mean", mean, found_shape[0]),
        std=per_channel("std", std, found_shape[0]),
        augmentation=parse_augment(augment, min(found_shape[1:])),
        fingerprint=fingerprint,
    )


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and (population) standard deviation, exact, in 0..1.

    Args:
        images: uint8, shape (N, C, H, W).
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # A histogram of 256 values holds everything, and no float copy of the data is made.
        counts = torch.bincount(channel.flatten(), minlength=256).double().cpu()
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        stds.append(math.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
    return tuple(means), tuple(stds)


def per_channel(key: str, given: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return the checked statistics of one kind, ``mean`` or ``std``."""
    values = tuple(float(value) for value in given)
    if len(values) != channels:
        raise UserError(f"dataset.{key}", list(values), f"{channels} numbers, one a channel")
    if not all(math.isfinite(value) and (key == "mean" or value > 0) for value in values):
        kind = "finite numbers" if key == "mean" else "positive numbers (0: a constant channel)"
        raise UserError(f"dataset.{key}", list(values), kind)
    return values


def parse_augment(augment: Mapping[str, Any] | None, side: int) -> Augmentation | None:
    """Return the augmentation that a configuration asks for; None if it changes nothing.

    Args:
        augment: ``{"pad": pixels, "flip": bool}``, either may be left out; or None.
        side: the images' shorter side; a pad must be smaller, else a crop may miss the image.
    """
    if augment is None:
        return None
    for key in augment:
        if key not in AUGMENT_KEYS:
            allowed = f"pad and flip are the keys{nearest(str(key), AUGMENT_KEYS)}"
            raise UserError(f"dataset.augment.{key}", augment[key], allowed)
    pad, flip = augment.get("pad", 0), augment.get("flip", False)
    if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad < side:
        raise UserError("dataset.augment.pad", pad, f"whole pixels, 0 to {side - 1}")
    if not isinstance(flip, bool):
        raise UserError("dataset.augment.flip", flip, "true or false")
    return Augmentation(pad, flip) if pad or flip else None
