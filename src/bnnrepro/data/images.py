"""Images with a class each: their data sets, normalisation, augmentation and batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.constraints import Count, Fraction, Ge, Len, Name, Positive, shown
from bnnrepro.data.batches import Batches, Changes, Indices, Pair, Samples
from bnnrepro.data.dataset import Arrays, DataSet, Facts, check_batch, limit_samples
from bnnrepro.errors import UserError

EVALUATION_BATCH_SIZE = 500  # large enough to fill a GPU, small enough for VGG on a laptop
_AT_ONCE = 1024  # images
AnyBatches = TypeVar("AnyBatches", bound=Batches)
Shape = Annotated[Sequence[Count], Len(3, 3)]
Mean = Annotated[Sequence[float], Len(1)]
Std = Annotated[Sequence[Positive], Len(1)]


class Images(DataSet):
    """The base of all data sets of images.

    Args:
        arrays: see ``DataSet``, also for ``name``.
        shape: channels, height, width of an image; null: that of the data
        classes: number of classes; null: that of the data
        mean: mean of each channel, of pixels in [0, 1]; null: measured on the training images
        std: standard deviation of each channel; null: measured on the training images

    Raises:
        UserError: a declared value that the data contradict, or a constant channel.
        ValueError: samples and classes that do not fit one another.
    """

    task: str
    inputs: ClassVar[str] = "images"

    def __init__(
        self,
        arrays: Arrays,
        *,
        name: Name,
        shape: Shape | None = None,
        classes: Annotated[int, Ge(2)] | None = None,
        mean: Mean | None = None,
        std: Std | None = None,
    ) -> None:
        super().__init__(arrays, name=name)
        actual, known = tuple(self.train.inputs.shape[1:]), len(arrays.classes)
        if shape is not None and tuple(shape) != actual:
            raise UserError("dataset.shape", list(shape), f"{name} has images of {list(actual)}")
        if classes is not None and classes != known:
            raise UserError("dataset.classes", classes, f"{name} has {known} classes")
        _refuse_misfits(arrays)
        self.check({"shape": actual, "mean": mean, "std": std})
        if mean is None or std is None:
            mean, std = channel_statistics(self.train.inputs)
            if not all(std):
                raise UserError("dataset.std", shown(list(std)), "a constant channel: give it")
        self.facts = Facts(
            name=name,
            task=self.task,
            fingerprint=arrays.fingerprint,
            shape=actual,
            outputs=known,
            classes=tuple(arrays.classes),
            mean=tuple(mean),
            std=tuple(std),
        )

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError for a mean without std, or of another number of channels."""
        given, shape = {key: values.get(key) for key in ("mean", "std")}, values.get("shape")
        for key, numbers in given.items():
            if numbers is None and any(given.values()):
                both = "mean and std must both be given or both be null"
                raise UserError(f"dataset.{key}", "null", both)
            if numbers is not None and shape is not None and len(numbers) != shape[0]:
                allowed = f"must be a list of length {shape[0]}, one number a channel"
                raise UserError(f"dataset.{key}", shown(list(numbers)), allowed)


def _refuse_misfits(arrays: Arrays) -> None:
    """Raise ValueError for test images of another shape, or a class without a name."""
    shape = arrays.train.inputs.shape[1:]
    for samples in (arrays.train, arrays.test):
        if samples is None or not len(samples):
            continue
        if samples.inputs.shape[1:] != shape:
            other = tuple(samples.inputs.shape[1:])
            raise ValueError(f"test images have shape {other}, training images {tuple(shape)}")
        if (highest := int(samples.targets.max())) >= len(arrays.classes):
            last = len(arrays.classes) - 1
            raise ValueError(f"classes go up to {highest}: {last} is the last")


@dataclass(frozen=True)
class Augment:
    """Random changes of the training images, new in every epoch.

    Args:
        pad: zeros added on each side before a random crop back to size, in pixels; 0: no crop
        flip: mirror an image left to right with probability 1/2
    """

    pad: Annotated[int, Ge(0)] = 0
    flip: bool = False


UNCHANGED = Augment()


class ImageSet(Images):
    """Images with a class each.

    Args:
        arrays: see ``Images``, also for the other keys.
        validation_split: fraction of the training set held out to choose the best epoch; 0: none
        augment: random changes of the training images
    """

    task = "classification"

    def __init__(
        self,
        arrays: Arrays,
        *,
        validation_split: Fraction = 0.1,
        augment: Augment = UNCHANGED,
        **common: Any,
    ) -> None:
        super().__init__(arrays, **common)
        self.check({"shape": self.facts.shape, "augment": augment})
        self.validation_split, self.augment = validation_split, augment

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError as ``Images`` does, and for a padding as large as the image."""
        super().check(values)
        shape, augment = values.get("shape"), values.get("augment")
        if shape is not None and augment is not None and augment.pad >= min(shape[1:]):
            allowed = f"must be smaller than the image, {shape[1]}x{shape[2]}"
            raise UserError("dataset.augment.pad", augment.pad, allowed)

    def training(self, samples: Samples, batch_size: int, seed: int, margin: int = 0) -> Batches:
        """Return shuffled, augmented, normalised batches: float32 (B, C, H, W), int64 (B,)."""
        check_batch(batch_size, len(samples))
        return image_batches(
            samples, self.facts, self.augment, batch_size=batch_size, seed=seed, shuffle=True
        )

    def evaluation(self, samples: Samples, seed: int = 0, margin: int = 0) -> Batches:
        """Return normalised batches."""
        return image_batches(samples, self.facts, batch_size=EVALUATION_BATCH_SIZE)


def image_batches(
    samples: Samples,
    facts: Facts,
    augment: Augment = UNCHANGED,
    make: Callable[..., AnyBatches] = Batches,  # type: ignore[assignment]
    **settings: Any,
) -> AnyBatches:
    """Return normalised batches of images; ``settings`` are those of ``Batches``."""
    scaled = normaliser(facts, samples)

    def fetch(indices: Indices, changes: Changes) -> Pair:
        images, classes = samples[indices]
        if changes is not None:
            images = changed(images, changes, augment.pad)
        return scaled(images), classes

    draw = None if augment == UNCHANGED else partial(sample_changes, augment)
    if ahead := getattr(samples.inputs, "ahead", 0):
        settings["ahead"] = ahead
    return make(len(samples), fetch, device=samples.inputs.device, draw=draw, **settings)


def normaliser(facts: Facts, samples: Samples) -> Callable[[Tensor], Tensor]:
    """Return the function that normalises images on the samples' device; see ``normalise``."""
    device = samples.inputs.device
    mean, std = (torch.tensor(v, dtype=torch.float32).to(device) for v in (facts.mean, facts.std))
    return lambda images: normalise(images, mean, std)


def changed(images: Tensor, changes: Tensor, pad: int) -> Tensor:
    """Return a crop of each zero-padded image, mirrored or not.

    The zeros are black pixels, added before normalisation, as in the published programs.

    Args:
        images: uint8, shape (B, C, H, W).
        changes: of each image, as ``sample_changes`` returns them; on the images' device.
        pad: zeros added on each side of an image, in pixels.

    Returns:
        A new tensor of the same dtype, shape and device.
    """
    batch, channels, height, width = images.shape
    down, right, mirrored = changes
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored[:, None] == 1, width - 1 - columns, columns) + right[:, None]
    rows = torch.arange(height, device=images.device) + down[:, None]

    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    indices = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    indices = indices.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.gather(2, indices).view(images.shape)


def sample_changes(augment: Augment, count: int, generator: torch.Generator) -> Tensor:
    """Return the crops' offsets down and right and whether to mirror: int64, shape (3, count).

    They are independent and uniform, from a generator on the CPU: the same on every device.
    """
    offsets = torch.randint(2 * augment.pad + 1, (2, count), generator=generator)
    mirrored = torch.randint(1 + augment.flip, (1, count), generator=generator)
    return torch.cat([offsets, mirrored])


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``(images / 255 - mean) / std``.

    Args:
        images: shape (B, C, H, W), values 0..255, of any real dtype.
        mean: float32, shape (C,), in units where 255 is 1, on the images' device.
        std: likewise, positive.

    Returns:
        A new tensor, float32, shape (B, C, H, W), contiguous whatever the images' layout: a
        convolution adopts the layout of its input, and on CPUs torch's own channels-last kernels
        have written beyond their memory.
    """
    layout = torch.contiguous_format
    scaled = images.to(torch.float32, copy=True, memory_format=layout).div_(255)
    return scaled.sub_(mean[:, None, None]).div_(std[:, None, None])


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and (population) standard deviation, exact, in 0..1.

    Args:
        images: uint8, shape (N, C, H, W).
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    histograms = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for first in range(0, len(images), _AT_ONCE):
        part = images[first : first + _AT_ONCE]
        # A histogram of 256 values is enough: no float copy of the data is made.
        for histogram, channel in zip(histograms, part.unbind(1), strict=True):
            histogram += torch.bincount(channel.flatten(), minlength=256).cpu()
    means, stds = [], []
    for counts in histograms.double():
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        stds.append(math.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
    return tuple(means), tuple(stds)


def ood_batches(
    own: Facts, ood: ImageSet, *, device: torch.device | str, limit: int | None = None
) -> Batches:
    """Return another data set's test images, resized and normalised as the network's own.

    Args:
        own: of the data set that the network is trained on.
        ood: the out-of-distribution data set, with as many channels.
        device: the device of the images.
        limit: number of test images, the same ones every time; None: all.

    Raises:
        UserError: another number of channels.
    """
    channels, height, width = own.shape
    if ood.facts.shape[0] != channels:
        allowed = f"has {ood.facts.shape[0]} channels, {own.name} {channels}: must agree"
        raise UserError("evaluate.ood", ood.facts.name, allowed)
    assert ood.test is not None
    samples = limit_samples(ood.test, "preset.test_limit", limit).to(device)
    samples = Samples(resized(samples.inputs, height, width), samples.targets)
    return image_batches(samples, own, batch_size=EVALUATION_BATCH_SIZE)


def resized(images: Tensor, height: int, width: int, *, antialias: bool = True) -> Tensor:
    """Return uint8 images (N, C, H, W) in another size, bilinear."""
    if images.shape[2:] == (height, width):
        return images
    values = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=antialias)
    return values.round().clamp(0, 255).to(torch.uint8)
