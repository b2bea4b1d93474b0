"""Data sets for segmentation, images with a class for every pixel, and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnnrepro.data.augment import normalise
from bnnrepro.data.splits import Sources, hold_out, limit_samples, make_sources
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive


@dataclass(frozen=True)
class Pairs:
    """Images of one size with their labels, in memory.

    Args:
        images: uint8, shape (N, C, H, W).
        labels: uint8, shape (N, H, W), values 0..K-1.
        names: of the images, N.

    Raises:
        ValueError: inconsistent shapes.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or labels.shape != (len(images), *images.shape[2:]):
            raise ValueError(
                f"images {tuple(images.shape)} and labels {tuple(labels.shape)}: "
                "(N, C, H, W) and (N, H, W) are needed"
            )
        if len(self.names) != len(images):
            raise ValueError(f"{len(self.names)} names for {len(images)} images")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> Pairs:
        """Return the pairs at the given indices, in that order."""
        names = tuple(self.names[index] for index in indices.tolist())
        return Pairs(self.images[indices], self.labels[indices], names)

    def to(self, device: torch.device | str) -> Pairs:
        """Return the same pairs on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def content_hash(*splits: Pairs) -> str:
    """Return a sha256 of the images, their labels and names, however they were stored."""
    digest = hashlib.sha256()
    for pairs in splits:
        digest.update(f"{tuple(pairs.images.shape)} {pairs.names}\n".encode())
        digest.update(pairs.images.cpu().numpy().tobytes())
        digest.update(pairs.labels.cpu().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class SegmentationAugment:
    """Random changes of a training crop and of its label alike.

    Args:
        flip: mirror left to right with probability 1/2.
        rotate: rotate by 0, 90, 180 or 270 degrees.
    """

    flip: bool = False
    rotate: bool = False


@dataclass(frozen=True)
class SegmentationData:
    """A data set for segmentation.

    Args:
        name: the data set's name.
        train: the training images; a validation set is split off later.
        test: the test set, its images as large as those of the training set.
        classes: the K classes' names; label k is classes[k].
        mean: each channel's mean, in units where 255 is 1; length C.
        std: each channel's standard deviation, in the same units; positive, length C.
        crop: side of the square training crops, in pixels; None: whole images.
        crops: crops of each image per epoch, each at a random position; >= 1.
        augmentation: random changes of the crops.
        unlabelled: images without labels (their labels are all 0), predicted only.
        fingerprint: a hash of the content, for data given by a path; None for a fixed data set.
    """

    task: ClassVar[str] = "segmentation"

    name: str
    train: Pairs
    test: Pairs
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int | None
    crops: int
    augmentation: SegmentationAugment
    unlabelled: Pairs | None = None
    fingerprint: str | None = None

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

    def without_samples(self) -> SegmentationData:
        """Return the same data set without its samples."""
        nothing = torch.empty(0, dtype=torch.int64)
        return replace(
            self, train=self.train.subset(nothing), test=self.test.subset(nothing), unlabelled=None
        )


def mirrored(images: Tensor, margin: int) -> Tensor:
    """Return images (..., H, W) continued by their mirror image by ``margin`` pixels on each side.

    The edge's own pixels are not repeated. A margin of H or more is mirrored back and forth.
    """
    for dim in (-2, -1):
        size = images.shape[dim]
        indices = torch.arange(-margin, size + margin, device=images.device)
        if size == 1:
            indices = torch.zeros_like(indices)
        else:
            indices = indices % (2 * size - 2)
            indices = torch.where(indices < size, indices, 2 * size - 2 - indices)
        images = images.index_select(dim, indices)
    return images


class WholeImages:
    """Images in order, one per batch, each with its mirrored margin.

    Args:
        pairs: the images and labels.
        mean: each channel's mean, in units where 255 is 1.
        std: each channel's standard deviation, likewise.
        margin: pixels added on each side of an image.
    """

    def __init__(
        self, pairs: Pairs, *, mean: Sequence[float], std: Sequence[float], margin: int = 0
    ) -> None:
        self.pairs = pairs
        self.margin = margin
        self.unlabelled: WholeImages | None = None
        self._mean, self._std = mean, std

    def with_margin(self, margin: int) -> WholeImages:
        """Return the same images with another margin."""
        images = WholeImages(self.pairs, mean=self._mean, std=self._std, margin=margin)
        images.unlabelled = self.unlabelled.with_margin(margin) if self.unlabelled else None
        return images

    @property
    def n_samples(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over (1, C, H + 2 margin, W + 2 margin) and int64 (1, H, W)."""
        images, labels = self.pairs.images, self.pairs.labels
        for k in range(start, len(self.pairs)):
            inputs = mirrored(images[k : k + 1], self.margin)
            yield scaled(inputs, self._mean, self._std), labels[k : k + 1].long()


class Crops:
    """Random square crops of the images, randomly mirrored and rotated, with their labels.

    An epoch has ``data.crops`` crops of every image, in random order. Order, positions and changes
    are functions of the seed and the epoch's number. A crop's margin is filled with the image's own
    pixels, and with their mirror image beyond its edge.

    Args:
        pairs: images and labels to train on.
        data: their data set, which says how to crop.
        batch_size: crops per batch; the last batch may be smaller.
        seed: the run's seed.
        margin: pixels added on each side of a crop.

    Raises:
        UserError: a batch size above the number of crops of an epoch.
    """

    def __init__(
        self, pairs: Pairs, data: SegmentationData, *, batch_size: int, seed: int, margin: int = 0
    ) -> None:
        self.pairs, self.data, self.seed = pairs, data, seed
        self.batch_size, self.margin = batch_size, margin
        if batch_size > self.n_samples:
            allowed = f"at least 1 and at most {self.n_samples}, the training crops of an epoch"
            raise UserError("batch_size", batch_size, allowed)
        self._images = mirrored(pairs.images, margin)

    def with_margin(self, margin: int) -> Crops:
        """Return the same crops with another margin."""
        return Crops(
            self.pairs, self.data, batch_size=self.batch_size, seed=self.seed, margin=margin
        )

    @property
    def n_samples(self) -> int:
        """The number of crops of an epoch."""
        return len(self.pairs) * self.data.crops

    def __len__(self) -> int:
        return -(-self.n_samples // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches, from batch ``start`` (0-based) on.

        Each is float32 (B, C, h + 2 margin, w + 2 margin) and int64 (B, h, w).
        """
        order = torch.randperm(self.n_samples, generator=self._stream("order", number))
        images = (order % len(self.pairs)).tolist()
        changes = self._changes(number).tolist()
        for k in range(start, len(self)):
            batch = slice(k * self.batch_size, (k + 1) * self.batch_size)
            cut = [self._cut(i, *c) for i, c in zip(images[batch], changes[batch], strict=True)]
            inputs, labels = (torch.stack(tensors) for tensors in zip(*cut, strict=True))
            yield scaled(inputs, self.data.mean, self.data.std), labels.long()

    def _changes(self, number: int) -> Tensor:
        """Return each crop's top, left, mirroring (0 or 1), quarter turns: int64 (n_samples, 4)."""
        height, width = self.pairs.labels.shape[1:]
        side, augmentation = self.data.crop, self.data.augmentation
        down, right = (0, 0) if side is None else (height - side, width - side)
        stream = self._stream("augment", number)
        ranges = (down + 1, right + 1, 1 + augmentation.flip, 4 if augmentation.rotate else 1)
        changes = [torch.randint(end, (self.n_samples,), generator=stream) for end in ranges]
        return torch.stack(changes, 1)

    def _cut(
        self, image: int, top: int, left: int, mirror: int, turns: int
    ) -> tuple[Tensor, Tensor]:
        height, width = self.pairs.labels.shape[1:]
        if self.data.crop is not None:
            height = width = self.data.crop
        both = 2 * self.margin
        # The padded image begins a margin before the image: the same offsets apply to both.
        pixels = self._images[image, :, top : top + height + both, left : left + width + both]
        label = self.pairs.labels[image, top : top + height, left : left + width]
        if mirror:
            pixels, label = pixels.flip(-1), label.flip(-1)
        return pixels.rot90(turns, (-2, -1)), label.rot90(turns, (-2, -1))

    def _stream(self, *words: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, *words))


def scaled(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised float32 images of uint8 ones (B, C, H, W)."""
    statistics = [torch.tensor(values, dtype=torch.float32) for values in (mean, std)]
    return normalise(images, *(values.to(images.device) for values in statistics))


@make_sources.register
def _(
    data: SegmentationData,
    *,
    validation_split: float,
    seed: int,
    device: torch.device | str,
    batch_size: int,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Sources:
    available = limit_samples(data.train, "preset.train_limit", train_limit)
    kept, held_out = hold_out(len(available), validation_split, seed)
    train = available.subset(kept)
    check_classes(train, data, "preset.train_limit", train_limit)

    def whole(pairs: Pairs, key: str, value: object) -> WholeImages:
        check_classes(pairs, data, key, value)
        return WholeImages(pairs.to(device), mean=data.mean, std=data.std)

    validation = None
    if len(held_out):
        pairs = available.subset(held_out)
        validation = whole(pairs, "dataset.validation_split", validation_split)
    key = "preset.test_limit"
    test = whole(limit_samples(data.test, key, test_limit), key, test_limit)
    if data.unlabelled is not None:
        test.unlabelled = WholeImages(data.unlabelled.to(device), mean=data.mean, std=data.std)
    crops = Crops(train.to(device), data, batch_size=batch_size, seed=seed)
    return Sources(crops, validation, test)


def check_classes(pairs: Pairs, data: SegmentationData, key: str, value: object) -> None:
    """Raise UserError if one of the classes has no pixel in any of the pairs."""
    counts = torch.bincount(pairs.labels.flatten(), minlength=data.outputs)
    for name, count in zip(data.classes, counts.tolist(), strict=True):
        if not count:
            allowed = f"leaves {len(pairs)} images without a pixel of class {name}; each needs one"
            raise UserError(key, "null" if value is None else value, allowed)
