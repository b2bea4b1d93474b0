"""Out-of-distribution images: another data set's, as inputs of a network trained on this one."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnrepro.data.batches import Batches
from bnnrepro.data.dataset import ImageData
from bnnrepro.data.splits import EVALUATION_BATCH_SIZE, limit_samples
from bnnrepro.errors import UserError

KEY = "evaluate.ood"


def ood_batches(
    own: ImageData, ood: ImageData, *, device: torch.device | str, limit: int | None = None
) -> Batches:
    """Return another data set's test images, resized and normalised as the network's own.

    Args:
        own: the data set that the network is trained on; its samples are not needed.
        ood: the out-of-distribution data set, with as many channels.
        device: the device of the images.
        limit: number of test images, the same ones every time; None: all.

    Raises:
        UserError: another number of channels.
    """
    channels, height, width = own.shape
    if ood.shape[0] != channels:
        allowed = f"has {ood.shape[0]} channels, {own.name} {channels}: must agree"
        raise UserError(KEY, ood.name, allowed)
    split = limit_samples(ood.test, "preset.test_limit", limit).to(device)
    split = replace(split, images=resized(split.images, height, width))
    return Batches(split, batch_size=EVALUATION_BATCH_SIZE, mean=own.mean, std=own.std)


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Return uint8 images (N, C, H, W) in another size, bilinear, antialiased."""
    if images.shape[2:] == (height, width):
        return images
    values = F.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8)
