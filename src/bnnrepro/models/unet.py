"""The U-Net (Ronneberger et al. 2015, arXiv 1505.04597) without biases and learned scales.

Convolutions are valid: each removes a pixel on every side, and no output depends on padded zeros.
The output is smaller than the input by ``margin`` pixels on each side, so the input is an image
with that much of its surroundings, mirrored at the image's edge.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnrepro.constraints import Count, Fraction, Len, Positive, Share
from bnnrepro.models.blocks import Dropout, check_size


def margin_of(depth: int) -> int:
    """Return the pixels by which ``depth`` poolings make the output smaller on each side.

    Two convolutions remove 4 pixels of a height, below a pooling 4 of a height twice as coarse:
    8, 20, 44, 92 on each side for 1, 2, 3, 4 poolings.
    """
    return 2 if depth == 0 else 4 + 2 * margin_of(depth - 1)


def whole_size(size: int, depth: int) -> int:
    """Return the least output size >= ``size`` at which every pooling halves an even size.

    These are 4 + k 2^depth; 388 for four poolings, where the input is 572.
    """
    step: int = 2**depth
    return 4 + step * max(0, -(-(size - 4) // step))


class UNet(nn.Module):
    """Images (N, C, H + 2 margin, W + 2 margin) to logits (N, K, H, W), for any H and W.

    A level is two blocks of 3x3 convolution, BatchNorm, ReLU, then dropout. Levels are joined by
    2x2 maximum pooling on the way down, and by a transposed 2x2 convolution with BatchNorm on the
    way up, whose result follows the centre of the same level's features. A 1x1 convolution and
    BatchNorm give the logits.

    If H or W is not a ``whole_size``, the input is continued by its mirror image below and to the
    right, and the output is cut to H and W.

    Args:
        shape: (C, H, W) of an image.
        classes: K, number of logits of a pixel.
        channels: of every level, from the top; one more level than poolings.
        dropout: rate after each level.
        norm_eps: BatchNorm's addition to the variance.
        norm_momentum: weight of the newest batch in BatchNorm's running statistics.

    Raises:
        ValueError: the image is smaller than ``minimum_size``, or no channels are given.
    """

    tasks = ("segmentation",)
    inputs = "images"

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (64, 128, 256, 512, 1024),
        dropout: Fraction = 0.05,
        norm_eps: Positive = 1e-5,
        norm_momentum: Share = 0.1,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels=[]: at least one level is needed")
        self.depth = len(channels) - 1
        self.margin = margin_of(self.depth)
        self.minimum_size = self.minimum_size_of(channels)
        check_size(type(self).__name__, shape, self.minimum_size)

        def norm(width: int) -> nn.BatchNorm2d:
            return nn.BatchNorm2d(width, eps=norm_eps, momentum=norm_momentum, affine=False)

        def level(inputs: int, outputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for width in (inputs, outputs):
                layers += [nn.Conv2d(width, outputs, 3, bias=False), norm(outputs), nn.ReLU()]
            return nn.Sequential(*layers, Dropout(dropout))

        def up(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False), norm(outputs)
            )

        self.down = nn.ModuleList(level(i, o) for i, o in pairwise([shape[0], *channels]))
        self.pool = nn.MaxPool2d(2)
        rising = list(pairwise(reversed(channels)))
        self.up = nn.ModuleList(up(i, o) for i, o in rising)
        self.merge = nn.ModuleList(level(2 * o, o) for _, o in rising)
        self.head = nn.Sequential(nn.Conv2d(channels[0], classes, 1, bias=False), norm(classes))

    @staticmethod
    def minimum_size_of(channels: Sequence[int]) -> int:
        """Return the smallest H and W that the mirrored margin allows."""
        return 2 * margin_of(len(channels) - 1) + 1

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of all pixels except the margin's."""
        height, width = (side - 2 * self.margin for side in images.shape[2:])
        below, right = (whole_size(side, self.depth) - side for side in (height, width))
        features = F.pad(images, (0, right, 0, below), mode="reflect") if below or right else images
        kept = []
        for index, level in enumerate(self.down):
            features = level(self.pool(features) if index else features)
            kept.append(features)
        del kept[-1]
        for up, merge in zip(self.up, self.merge, strict=True):
            features = up(features)
            features = merge(torch.cat([centre(kept.pop(), features), features], 1))
        logits: Tensor = self.head(features)[:, :, :height, :width]
        return logits


def centre(features: Tensor, like: Tensor) -> Tensor:
    """Return the centre of features (N, C, H, W), as high and wide as ``like``."""
    top, left = (
        (ours - theirs) // 2
        for ours, theirs in zip(features.shape[2:], like.shape[2:], strict=True)
    )
    return features[:, :, top : top + like.shape[2], left : left + like.shape[3]]
