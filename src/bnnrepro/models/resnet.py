"""Residual networks (He et al. 2016, arXiv 1512.03385) with the stem for small images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bnnrepro.constraints import Count, Len, Positive, Share
from bnnrepro.models.blocks import Bias, check_blocks, check_size, linear_stack

Shortcut = Literal["projection", "padding"]


class ResNet(nn.Module):
    """A 3x3 stem, stages of basic blocks, a global average, a linear layer.

    ``resnet18`` is [2, 2, 2, 2] blocks of 64-128-256-512 channels, 11,164,352 weights at 10
    classes, ``resnet20`` [3, 3, 3] of 16-32-64, 268,336. A block is convolution, BatchNorm, ReLU,
    convolution, BatchNorm; the shortcut is added, then ReLU. Every stage but the first begins with
    stride 2.

    The defaults are AdaSTE's form of ResNet-18 (arXiv 2112.02880): no BatchNorm learns, and one
    follows the logits. MD's and PMF's (arXiv 1910.08237) has ``bias="binary"``,
    ``norm_momentum=0.1`` and no ``logit_norm``; PARQ's (arXiv 2503.15748) ``bias="real"``,
    ``norm_affine`` and no ``logit_norm``.

    Args:
        shape: (C, H, W) of an image.
        classes: Number of logits.
        channels: output channels of each stage; the stem has the first's.
        blocks: residual blocks of each stage.
        stem_stride: of the first convolution: 1, or 2 for images of 64x64 pixels.
        shortcut: where a stage begins: projection (1x1 convolution, BatchNorm) or padding (every
            second pixel, channels of zeros: no parameters).
        norm_eps: BatchNorm's addition to the variance.
        norm_momentum: weight of the newest batch in BatchNorm's running statistics.
        logit_norm_momentum: the same after the logits.
        norm_affine: BatchNorm learns a real scale and shift.
        logit_norm: BatchNorm follows the logits.
        bias: of the last layer: none, real (trained by Adam) or binary.

    Raises:
        ValueError: ``blocks`` has not an entry for each stage.
    """

    tasks = ("classification",)
    inputs = "images"
    minimum_size: int = 1

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (64, 128, 256, 512),
        blocks: Sequence[Count] = (2, 2, 2, 2),
        stem_stride: Count = 1,
        shortcut: Shortcut = "projection",
        norm_eps: Positive = 1e-5,
        norm_momentum: Share = 0.2,
        logit_norm_momentum: Share = 0.1,
        norm_affine: bool = False,
        logit_norm: bool = True,
        bias: Bias = "none",
    ) -> None:
        super().__init__()
        check_size(type(self).__name__, shape, self.minimum_size)
        check_blocks(channels, blocks)
        self.binary_biases = bias == "binary"
        norm = {"eps": norm_eps, "momentum": norm_momentum, "affine": norm_affine}
        self.stem = nn.Sequential(*_convolution(shape[0], channels[0], 3, stem_stride, norm))
        self.stages = nn.Sequential()
        width = channels[0]
        for stage, (outputs, number) in enumerate(zip(channels, blocks, strict=True)):
            rows = nn.Sequential()
            for index in range(number):
                stride = 2 if stage and not index else 1
                rows.append(BasicBlock(width, outputs, stride, shortcut, norm))
                width = outputs
            self.stages.append(rows)
        self.classifier = linear_stack(
            [width, classes],
            norm_eps=norm_eps,
            norm_momentum=logit_norm_momentum,
            norm_position="before_activation",
            affine=norm_affine,
            last_norm=logit_norm,
            bias=bias != "none",
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of float images (N, C, H, W)."""
        features = self.stages(F.relu(self.stem(images)))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (N, C, H, W) to (N, outputs, H/stride, W/stride).

    Sizes are rounded up. The 1x1 convolution of a projection is ``downsample``.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, shortcut: Shortcut, norm: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride, norm),
            nn.ReLU(),
            *_convolution(outputs, outputs, 3, 1, norm),
        )
        self.downsample: nn.Sequential | None = None
        if shortcut == "projection" and (stride > 1 or self.added):
            self.downsample = nn.Sequential(*_convolution(inputs, outputs, 1, stride, norm))

    def forward(self, features: Tensor) -> Tensor:
        """Return ReLU(body + shortcut)."""
        if self.downsample is not None:
            shortcut = self.downsample(features)
        else:
            shortcut = features[:, :, :: self.stride, :: self.stride]
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return F.relu(self.body(features) + shortcut)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, norm: Mapping[str, Any]
) -> list[nn.Module]:
    """Return a convolution without bias, which keeps H and W at stride 1, and its BatchNorm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, **norm)]
