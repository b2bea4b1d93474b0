"""Augmentation and normalisation of a whole batch at once, on the batch's device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.data.dataset import Augmentation


def augment(images: Tensor, changes: Tensor, pad: int) -> Tensor:
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


def sample_changes(count: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return the crops' offsets down and right and whether to mirror: int64, shape (3, count).

    They are independent and uniform, from a generator on the CPU: the same on every device.
    """
    offsets = torch.randint(2 * augmentation.pad + 1, (2, count), generator=generator)
    mirrored = torch.randint(1 + augmentation.flip, (1, count), generator=generator)
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
