"""Pictures of segmentations, as PNG files in a run's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnnrepro.data.batches import Samples
from bnnrepro.data.segmentation import content_hash
from bnnrepro.runs import atomic, reading

MAX_PICTURES = 12  # of a run
CHECKSUM = "images.sha256"  # content of the images, beside their predictions
GAP = 4  # white pixels between the panels
RED, BLUE = (214, 39, 40), (31, 119, 180)


def write_pictures(folder: Path, samples: Samples, predicted: Tensor) -> None:
    """Write ``<name>.png`` for the first images: image, label, prediction, errors side by side.

    A pixel is red where its predicted class is lower than its label, blue where it is higher: of
    membrane (0) and cell (1), a missed cell pixel is red and a missed membrane pixel blue.

    Args:
        folder: the target; created if missing.
        samples: the images with their labels.
        predicted: classes, int64 (N, H, W).
    """
    folder.mkdir(exist_ok=True)
    shown = zip(samples.names, samples.inputs, samples.targets, predicted, strict=True)
    top = int(samples.targets.max()) if len(samples) else 1
    for _, (name, image, label, guess) in zip(range(MAX_PICTURES), shown, strict=False):
        write_png(folder / f"{name}.png", panels(image, label, guess, top))


def panels(image: Tensor, label: Tensor, guess: Tensor, top: int) -> np.ndarray:
    """Return the four panels, uint8 (H, 4 W + 3 gaps, 3); class ``top`` is white."""
    label, guess = label.cpu().long(), guess.cpu()
    pixels = image.cpu().float().mean(0).to(torch.uint8)
    grey = [
        plane.numpy()[..., None].repeat(3, -1)
        for plane in (pixels, shade(label, top), shade(guess, top))
    ]
    errors = np.full_like(grey[0], 255)
    errors[(guess < label).numpy()] = RED
    errors[(guess > label).numpy()] = BLUE
    gap = np.full((len(pixels), GAP, 3), 255, np.uint8)
    joined = [gap] * 7
    joined[::2] = [*grey, errors]
    return np.concatenate(joined, 1)


def write_predictions(folder: Path, samples: Samples, predicted: Tensor) -> None:
    """Write ``<name>.png`` of every prediction: the last class 255, the first 0.

    Predictions of other images are removed. The images' checksum is written last.

    Args:
        folder: the target; created if missing.
        samples: the images.
        predicted: classes, int64 (N, H, W).
    """
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.png"):
        if path.stem not in samples.names:
            path.unlink()
    for name, guess in zip(samples.names, predicted.cpu(), strict=True):
        write_png(folder / f"{name}.png", shade(guess, max(1, int(predicted.max()))).numpy())
    atomic.write_text(folder / CHECKSUM, content_hash(samples))


def are_predicted(folder: Path, samples: Samples) -> bool:
    """Return whether a folder has the predictions of exactly these images."""
    try:
        return reading.text(folder / CHECKSUM) == content_hash(samples)
    except (OSError, ValueError):
        return False


def shade(classes: Tensor, top: int) -> Tensor:
    """Return grey values, uint8: 0 for class 0, 255 for class ``top``."""
    return (classes * 255 // top).to(torch.uint8)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write grey (H, W) or colour (H, W, 3) pixels, atomically."""
    with atomic.replacing(path) as handle:
        Image.fromarray(pixels).save(handle, "PNG", optimize=True)
