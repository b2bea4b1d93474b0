"""Images of another data set, as inputs of a network trained on this one."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.data.batches import Batches
from bnnrepro.data.dataset import ImageData
from bnnrepro.data.splits import EVALUATION_BATCH_SIZE, limited
from bnnrepro.errors import UserError

KEY = "evaluate.ood"


def foreign_batches(
    own: ImageData, other: ImageData, *, device: torch.device | str, limit: int | None = None
) -> Batches:
    """Return the other set's test images, resized and normalised as the own ones are.

    Args:
        own: what the network is trained on; its samples are not needed.
        other: has as many channels.
        device: where the images shall live.
        limit: so many of the test images, the same ones every time; None: all.

    Raises:
        UserError: another number of channels.
    """
    channels, height, width = own.shape
    if other.shape[0] != channels:
        allowed = f"has {other.shape[0]} channels, {own.name} {channels}: must agree"
        raise UserError(KEY, other.name, allowed)
    split = limited(other.test, "preset.test_limit", limit).to(device)
    split = replace(split, images=resized(split.images, height, width))
    return Batches(split, batch_size=EVALUATION_BATCH_SIZE, mean=own.mean, std=own.std)


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Return uint8 images (N, C, H, W) in another size, bilinear, smoothed where it is smaller."""
    if images.shape[2:] == (height, width):
        return images
    values = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8)
