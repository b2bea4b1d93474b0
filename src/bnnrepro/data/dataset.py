"""The interface of a data set, and its form for image classification: splits of uint8 images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class Data(Protocol):
    """The interface of a data set; ``bnnrepro.data.splits`` makes its batches.

    Attributes:
        task: name of the task that is learnt on it.
    """

    task: ClassVar[str]

    @property
    def name(self) -> str:
        """The data set's name."""

    @property
    def fingerprint(self) -> str | None:
        """A hash of the content, for data given by a path; None for a fixed data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape, as the model takes it."""

    @property
    def outputs(self) -> int:
        """The number of the model's outputs: classes, or values of a regression."""

    def about(self) -> dict[str, Any]:
        """Return the metadata that make a checkpoint usable without the data set.

        Plain numbers, strings, lists and dictionaries; ``shape`` and ``outputs`` are among them.
        """

    def without_samples(self) -> Data:
        """Return the same data set without its samples, to free their memory."""


@dataclass(frozen=True)
class Split:
    """Images with their labels, in memory, both on one device.

    Args:
        images: uint8, shape (N, C, H, W), values 0..255.
        labels: int64, shape (N,), values 0..K-1.

    Raises:
        TypeError: a tensor of another dtype.
        ValueError: another shape, unequal lengths, a negative label, or two devices.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8:
            raise TypeError(f"images are {images.dtype}: torch.uint8 is needed")
        if labels.dtype != torch.int64:
            raise TypeError(f"labels are {labels.dtype}: torch.int64 is needed")
        if images.ndim != 4:
            raise ValueError(f"images have shape {tuple(images.shape)}: (N, C, H, W) is needed")
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}: ({len(images)},) is needed, one an image"
            )
        if images.device != labels.device:
            raise ValueError(f"images are on {images.device}, labels on {labels.device}")
        if len(labels) and labels.min() < 0:
            raise ValueError(f"labels go down to {int(labels.min())}: 0 is the least")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """Return the same split on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def subset(self, indices: Tensor) -> Split:
        """Return the samples at the given indices (int64, shape (n,)), in that order."""
        indices = indices.to(self.labels.device)
        return Split(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Args:
        pad: zeros added on each side before a random crop back to size, in pixels; >= 0.
        flip: mirror an image left to right with probability 1/2.
    """

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad is {self.pad}: 0 or more pixels are needed")


@dataclass(frozen=True)
class ImageData:
    """A data set for image classification.

    Args:
        name: the data set's name, as in its configuration.
        train: the training samples; a validation set is split off later.
        test: the test set; its images have the training images' shape.
        classes: the K classes' names; label k is classes[k].
        mean: each channel's mean, in units where 255 is 1; length C.
        std: each channel's standard deviation, in the same units; positive, length C.
        augmentation: random changes of the training images, or None.
        fingerprint: a hash of the content, for data given by a path; None for a fixed data set.

    Raises:
        ValueError: inconsistent splits, classes and statistics.
    """

    task: ClassVar[str] = "classification"

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation | None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        channels = self.shape[0]
        if self.test.images.shape[1:] != self.train.images.shape[1:]:
            test = tuple(self.test.images.shape[1:])
            raise ValueError(f"test images have shape {test}, training images {self.shape}")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean {self.mean} and std {self.std}: one a channel, {channels} each")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std}: each must be positive")
        for split in (self.train, self.test):
            if len(split) and split.labels.max() >= len(self.classes):
                raise ValueError(
                    f"labels go up to {int(split.labels.max())}: "
                    f"{len(self.classes) - 1} is the last class"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """An image's shape (C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def outputs(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def about(self) -> dict[str, Any]:
        """Return the metadata that make a checkpoint usable without the data set."""
        return {
            "shape": list(self.shape),
            "outputs": self.outputs,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def without_samples(self) -> ImageData:
        """Return the same data set without its samples, to free their memory."""
        nothing = torch.empty(0, dtype=torch.int64)
        return replace(self, train=self.train.subset(nothing), test=self.test.subset(nothing))
