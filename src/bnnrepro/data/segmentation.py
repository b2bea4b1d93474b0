"""Images with a class for every pixel: their data sets and batches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnnrepro.constraints import Count, Fraction
from bnnrepro.data.batches import Batches, Changes, Indices, Pair, Samples
from bnnrepro.data.dataset import Arrays, Sources, check_batch
from bnnrepro.data.images import Images, normaliser
from bnnrepro.errors import UserError


@dataclass(frozen=True)
class Turn:
    """Random changes of the training crops and their labels, new in every epoch.

    Args:
        flip: mirror a crop left to right with probability 1/2
        rotate: rotate by 0, 90, 180 or 270 degrees
    """

    flip: bool = True
    rotate: bool = True


TURNED = Turn()


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeImages(Batches):
    """Images in order, one a batch.

    Args:
        samples: the images, without their margins.
        unlabelled: further images, which have no labels.
    """

    samples: Samples
    unlabelled: WholeImages | None = None


class SegmentationSet(Images):
    """Images with a class for every pixel.

    An epoch of training has ``crops`` random square crops of every image, mirrored and rotated,
    each with its label. A crop's margin is filled with the image's own pixels, and with their
    mirror image beyond its edge. Whole images are evaluated, each with its mirrored margin.

    Args:
        arrays: see ``Images``, also for the other keys.
        validation_split: fraction of the training images held out to choose the best epoch; 0: none
        crop: side of the square training crops, in pixels; null: whole images
        crops: crops of each image per epoch, each at a random position
        augment: random changes of the training crops
    """

    task = "segmentation"

    def __init__(
        self,
        arrays: Arrays,
        *,
        validation_split: Fraction = 0.1,
        crop: Count | None = None,
        crops: Count = 1,
        augment: Turn = TURNED,
        **common: Any,
    ) -> None:
        super().__init__(arrays, **common)
        if not all(len(part.names) for part in (arrays.train, arrays.test) if part):
            raise ValueError("images without names: pictures of predictions are named by them")
        facts, kept = self.facts, {"crop": crop, "augment": augment}
        self.check({"name": facts.name, "shape": facts.shape, **kept})
        self.validation_split, self.unlabelled = validation_split, arrays.unlabelled
        self.crop, self.crops, self.augment = crop, crops, augment

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError as ``Images`` does, and for crops and turns that the images forbid."""
        super().check(values)
        shape, crop, augment = (values.get(key) for key in ("shape", "crop", "augment"))
        if shape is None:
            return
        _, height, width = shape
        if crop is not None and crop > min(height, width):
            allowed = f"at most {min(height, width)}, or null"
            raise UserError(
                "dataset.crop", crop, f"{values['name']} has images of {width}x{height}: {allowed}"
            )
        if augment is not None and augment.rotate and crop is None and height != width:
            allowed = f"images of {width}x{height} cannot be turned: give dataset.crop, or false"
            raise UserError("dataset.augment.rotate", "true", allowed)

    def check_part(self, samples: Samples, key: str, value: object) -> None:
        """Raise UserError if one of the classes has no pixel in any of the images."""
        names = self.facts.classes or ()
        counts = torch.bincount(samples.targets.flatten(), minlength=len(names))
        for name, count in zip(names, counts.tolist(), strict=True):
            if not count:
                images = f"{len(samples)} images without a pixel of class {name}"
                shown = "null" if value is None else value
                raise UserError(key, shown, f"leaves {images}; each needs one")

    def sources(self, *, device: torch.device | str, margin: int = 0, **settings: Any) -> Sources:
        """Add the images without labels to the test set."""
        found = super().sources(device=device, margin=margin, **settings)
        if self.unlabelled is None:
            return found
        assert isinstance(found.test, WholeImages)
        unlabelled = self.evaluation(self.unlabelled.to(device), margin=margin)
        return replace(found, test=replace(found.test, unlabelled=unlabelled))

    def training(self, samples: Samples, batch_size: int, seed: int, margin: int = 0) -> Batches:
        """Return crops: float32 (B, C, h + 2 margin, w + 2 margin) and int64 (B, h, w)."""
        count, scaled = len(samples) * self.crops, normaliser(self.facts, samples)
        check_batch(batch_size, count, "crops", least=1)
        wide, sizes = mirrored(samples.inputs, margin), samples.targets.shape[1:]
        height, width = sizes if self.crop is None else (self.crop, self.crop)
        ranges = (
            sizes[0] - height + 1,
            sizes[1] - width + 1,
            1 + self.augment.flip,
            4 if self.augment.rotate else 1,
        )

        def draw(count: int, generator: torch.Generator) -> Tensor:
            """Return each crop's top, left, mirroring (0 or 1) and quarter turns."""
            return torch.stack([torch.randint(r, (count,), generator=generator) for r in ranges])

        def cut(image: int, top: int, left: int, mirror: int, turns: int) -> Pair:
            # The padded image begins a margin before the image: the same offsets apply to both.
            rows, columns = top + height, left + width
            pixels = wide[image, :, top : rows + 2 * margin, left : columns + 2 * margin]
            label = samples.targets[image, top:rows, left:columns]
            if mirror:
                pixels, label = pixels.flip(-1), label.flip(-1)
            return pixels.rot90(turns, (-2, -1)), label.rot90(turns, (-2, -1))

        def fetch(indices: Indices, changes: Changes) -> Pair:
            assert isinstance(indices, Tensor)
            assert changes is not None
            images = (indices % len(samples)).tolist()
            cuts = [cut(i, *c) for i, c in zip(images, changes.T.tolist(), strict=True)]
            inputs, labels = (torch.stack(tensors) for tensors in zip(*cuts, strict=True))
            return scaled(inputs), labels.long()

        # A crop alone is enough for BatchNorm: it has many pixels.
        return Batches(count, fetch, batch_size, seed=seed, shuffle=True, draw=draw, least=1)

    def evaluation(self, samples: Samples, seed: int = 0, margin: int = 0) -> WholeImages:
        """Return images (1, C, H + 2 margin, W + 2 margin) with their labels, int64 (1, H, W)."""
        scaled = normaliser(self.facts, samples)

        def fetch(indices: Indices, changes: Changes) -> Pair:
            images, labels = samples[indices]
            return scaled(mirrored(images, margin)), labels.long()

        return WholeImages(len(samples), fetch, batch_size=1, samples=samples)


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


def content_hash(*parts: Samples) -> str:
    """Return a sha256 of the images, their labels and names, however they were stored."""
    digest = hashlib.sha256()
    for samples in parts:
        digest.update(f"{tuple(samples.inputs.shape)} {samples.names}\n".encode())
        digest.update(samples.inputs.cpu().numpy().tobytes())
        digest.update(samples.targets.cpu().numpy().tobytes())
    return digest.hexdigest()
