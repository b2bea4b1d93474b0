"""Generated cells with dark membranes, similar to electron micrographs.

Cells are Voronoi cells of random centres; pixels almost equally near to two centres are membrane.
Cells differ in brightness, and hold dark discs, which brightness alone does not separate from
membrane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from bnnrepro.data.label_folder import build_segmentation_data
from bnnrepro.data.label_maps import Pairs, SegmentationData
from bnnrepro.errors import UserError

MIN_SIZE = 16  # pixels per side, for some cells at least
SPACING = 18.0  # pixels between centres, on average
MEMBRANE = 1.6  # difference of the distances to the nearest two centres, in pixels


def load(
    *,
    name: str = "shapes",
    size: int = 64,
    images: int = 48,
    test_images: int = 12,
    generator_seed: int = 0,
    crop: int | None = None,
    crops: int = 1,
    augment: Mapping[str, bool] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> SegmentationData:
    """Return generated images, the same ones for every seed of a run.

    Args:
        name: the data set's name.
        size: an image's side in pixels, >= 16.
        images: number of training images.
        test_images: number of test images.
        generator_seed: seed of the images.
        crop: see :func:`bnnrepro.data.label_folder.load`, also for what follows.
        crops: likewise.
        augment: likewise.
        mean: likewise.
        std: likewise.
        shape: likewise.
        classes: likewise.

    Raises:
        UserError: a value out of range, or a declared one that the images contradict.
    """
    if size < MIN_SIZE:
        raise UserError("dataset.size", size, f"a side in pixels, at least {MIN_SIZE}")
    source = np.random.default_rng(generator_seed)
    whole = generate(images + test_images, size, source)
    return build_segmentation_data(
        whole.subset(torch.arange(images)),
        whole.subset(torch.arange(images, images + test_images)),
        None,
        name=name,
        crop=crop,
        crops=crops,
        augment=augment,
        mean=mean,
        std=std,
        shape=shape,
        classes=classes,
    )


def stand_in(crop: int | None, crops: int, augment: Mapping[str, bool]) -> SegmentationData:
    """Return a few images of 96x96 that stand in for another data set; see ``load``."""
    return load(size=96, images=8, test_images=2, crop=crop, crops=crops, augment=augment)


def generate(count: int, size: int, source: np.random.Generator) -> Pairs:
    """Return ``count`` images (N, 1, size, size) with their labels: 0 membrane, 1 cell."""
    images = [generate_image(size, source) for _ in range(count)]
    pixels, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*images, strict=True))
    return Pairs(pixels[:, None], labels, tuple(f"shape_{number}" for number in range(count)))


def generate_image(size: int, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its label, both uint8 (size, size)."""
    centres = source.uniform(-SPACING, size + SPACING, (round((size / SPACING + 2) ** 2), 2))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1)
    distances = np.linalg.norm(grid[:, :, None] - centres, axis=-1)
    nearest = np.sort(distances, -1)
    cell = nearest[..., 1] - nearest[..., 0] > MEMBRANE
    brightness = source.uniform(130, 200, len(centres))[distances.argmin(-1)]
    for row, column in source.uniform(0, size, (round((size / SPACING) ** 2 / 2), 2)):
        disc = np.hypot(grid[..., 0] - row, grid[..., 1] - column) < source.uniform(2, 4)
        brightness[disc] = 80
    brightness[~cell] = 70
    noisy = brightness + source.normal(0, 20, (size, size))
    return noisy.clip(0, 255).astype(np.uint8), cell.astype(np.uint8)
