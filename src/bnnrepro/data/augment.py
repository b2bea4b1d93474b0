"""Augmentation and normalisation of a whole batch at once, on the batch's device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.data.types import Augmentation


def augment(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return a random crop of each zero-padded image, mirrored or not.

    The zeros are black pixels, put there before normalisation, as the published programs do.
    Crop and mirroring are drawn for each image by itself, uniformly. The same generator state
    gives the same changes on every device.

    Args:
        images: uint8, shape (B, C, H, W).
        augmentation: how far to pad, and whether to mirror.
        generator: a generator on the CPU.

    Returns:
        A new tensor of the same dtype, shape and device.
    """
    batch, channels, height, width = images.shape
    down, right, mirrored = draw(batch, augmentation, generator).to(images.device)
    columns = torch.arange(width, device=images.device)
    columns = torch.where(mirrored[:, None] == 1, width - 1 - columns, columns) + right[:, None]
    rows = torch.arange(height, device=images.device) + down[:, None]

    pad = augmentation.pad
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    places = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    places = places.view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.gather(2, places).view(images.shape)


def draw(batch: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return the crops' offsets down and right and whether to mirror: int64, shape (3, B)."""
    offsets = torch.randint(2 * augmentation.pad + 1, (2, batch), generator=generator)
    mirrored = torch.randint(1 + augmentation.flip, (1, batch), generator=generator)
    return torch.cat([offsets, mirrored])


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ``(images / 255 - mean) / std``.

    Args:
        images: uint8, shape (B, C, H, W).
        mean: float32, shape (C,), in units where 255 is 1, on the images' device.
        std: likewise, positive.

    Returns:
        float32, shape (B, C, H, W).
    """
    scaled = images.to(torch.float32).div_(255)
    return scaled.sub_(mean[:, None, None]).div_(std[:, None, None])
