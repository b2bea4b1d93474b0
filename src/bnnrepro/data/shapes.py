"""Generated cells with dark membranes, similar to electron micrographs.

Cells are Voronoi cells of random centres; pixels almost equally near to two centres are membrane.
Cells differ in brightness, and hold dark discs, which brightness alone does not separate from
membrane.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch

from bnnrepro.constraints import Count, Ge
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.segmentation import SegmentationSet

CLASSES = ("membrane", "cell")
SPACING = 18.0  # pixels between centres, on average
MEMBRANE = 1.6  # difference of the distances to the nearest two centres, in pixels


@dataset(SegmentationSet, fixed=True, name="shapes", classes=2, validation_split=0.25)
def load(
    size: Annotated[int, Ge(16)] = 64,
    images: Annotated[int, Ge(2)] = 48,
    test_images: Count = 12,
    generator_seed: Annotated[int, Ge(0)] = 0,
) -> Arrays:
    """Return generated images, the same ones for every seed of a run.

    Args:
        size: side of an image in pixels
        images: number of training images
        test_images: number of test images
        generator_seed: seed of the images; the run's seed does not change them
    """
    whole = generate(images + test_images, size, np.random.default_rng(generator_seed))
    places = torch.arange(len(whole))
    return Arrays(whole.subset(places[:images]), whole.subset(places[images:]), CLASSES)


def stand_in(**common: Any) -> SegmentationSet:
    """Return a few images of 96x96 that stand in for another data set.

    Args:
        **common: the keys of that data set, those of a ``SegmentationSet``; its name, shape and
            normalisation are not used.
    """
    own = {"name": "shapes", "shape": None, "mean": None, "std": None}
    return SegmentationSet(load.arrays(96, 8, 2), **common | own)


def generate(count: int, size: int, source: np.random.Generator) -> Samples:
    """Return ``count`` images (N, 1, size, size) with their labels: 0 membrane, 1 cell."""
    images = [generate_image(size, source) for _ in range(count)]
    pixels, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*images, strict=True))
    return Samples(pixels[:, None], labels, tuple(f"shape_{number}" for number in range(count)))


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
