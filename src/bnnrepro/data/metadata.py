"""The last step of every image loader: measure statistics, check the declared metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnrepro.data.dataset import Augmentation, ImageData, Split
from bnnrepro.errors import UserError, nearest

AUGMENT_KEYS = ("pad", "flip")


def build_image_data(
    train: Split,
    test: Split,
    class_names: Sequence[str],
    *,
    name: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    augment: Mapping[str, Any] | None,
    shape: Sequence[int] | None,
    classes: int | None,
    fingerprint: str | None = None,
) -> ImageData:
    """Return the data set, checked against its configuration.

    Args:
        train: the training images.
        test: the test images, of the same shape.
        class_names: the classes' names in the data.
        name: the data set's name.
        mean: each channel's mean in 0..1, or None: measured from the training images.
        std: each channel's standard deviation in 0..1, or None: measured likewise.
        augment: ``{"pad": pixels, "flip": bool}``, or None.
        shape: the declared (C, H, W), or None: that of the data.
        classes: the declared number of classes, or None: that of the data.
        fingerprint: a hash of the content, for data given by a path.

    Raises:
        UserError: a declared value contradicts the data or is out of range.
    """
    data_shape = tuple(train.images.shape[1:])
    if shape is not None and tuple(shape) != data_shape:
        raise UserError("dataset.shape", list(shape), f"{name} has images of {list(data_shape)}")
    if classes is not None and classes != len(class_names):
        raise UserError("dataset.classes", classes, f"{name} has {len(class_names)} classes")
    if mean is None or std is None:
        measured_mean, measured_std = channel_statistics(train.images)
        mean = measured_mean if mean is None else mean
        std = measured_std if std is None else std
    return ImageData(
        name=name,
        train=train,
        test=test,
        classes=tuple(class_names),
        mean=per_channel("mean", mean, data_shape[0]),
        std=per_channel("std", std, data_shape[0]),
        augmentation=parse_augment(augment, min(data_shape[1:])),
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
        # A histogram of 256 values is enough: no float copy of the data is made.
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
    """Return the augmentation of a configuration; None if it changes nothing.

    Args:
        augment: ``{"pad": pixels, "flip": bool}``, either may be missing; or None.
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
