"""Blocks shared by the image classifiers.

Unless an option says so no layer has a bias and no BatchNorm a learned scale or shift, so every
parameter is a weight that a method may make binary. The names of the weights do not depend on the
order inside a block: a ``state_dict`` fits any order.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormPosition = Literal["before_activation", "after_activation"]
PoolPosition = Literal["before_norm", "after_activation"]
Bias = Literal["none", "real", "binary"]


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) as in ``torch.nn``, with a faster mask on the CPU.

    On most CPUs (Intel's excepted) torch draws a Bernoulli number for every element, sequentially,
    in double precision: a tenth of a training step of MNIST's MLP. This class compares a uniform
    number in float32, a multiple of 2^-24, with the rate, which is so exact to 6e-8. The mask is
    one tensor, kept for the backward pass; the random numbers are the global generator's.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """In training, zero each input with probability ``p`` and divide the others by 1 - p."""
        on_cpu = inputs.device.type == "cpu" and inputs.is_floating_point()
        plain = on_cpu and not inputs.is_nested and not self.inplace
        if not (self.training and plain and 0 < self.p < 1):
            return F.dropout(inputs, self.p, self.training, self.inplace)
        uniform = torch.empty_like(inputs, dtype=torch.float32).uniform_()
        return inputs * uniform.ge_(self.p).to(inputs.dtype).div_(1 - self.p)


def check_size(model: str, shape: Sequence[int], minimum: int) -> None:
    """Raise ``ValueError`` unless ``shape`` is (C, H, W) with H and W of at least ``minimum``."""
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < minimum:
        raise ValueError(
            f"shape={tuple(shape)}: {model} takes images (C, H, W) with C of at least 1 and "
            f"H and W of at least {minimum}"
        )


def check_blocks(channels: Sequence[int], blocks: Sequence[int]) -> None:
    """Raise ``ValueError`` unless ``blocks`` has an entry for each stage of ``channels``."""
    if len(blocks) != len(channels):
        raise ValueError(
            f"blocks={list(blocks)}: must have {len(channels)} entries, one for each of channels"
        )


def linear_stack(
    sizes: Sequence[int],
    *,
    dropout: float = 0.0,
    norm_eps: float,
    norm_momentum: float,
    norm_position: NormPosition,
    affine: bool = False,
    last_norm: bool = True,
    bias: bool = False,
) -> nn.Sequential:
    """Chain linear layers of the given sizes, the input's first: (N, sizes[0]) to (N, sizes[-1]).

    A block is dropout (none at a rate of 0), linear layer, BatchNorm, ReLU; the last has no ReLU,
    and without ``last_norm`` no BatchNorm.
    """
    blocks = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        block: OrderedDict[str, nn.Module] = OrderedDict()
        if dropout:
            block["dropout"] = Dropout(dropout)
        block["linear"] = nn.Linear(inputs, outputs, bias=bias)
        norm = nn.BatchNorm1d(outputs, eps=norm_eps, momentum=norm_momentum, affine=affine)
        block.update(_norm_and_activation(norm, norm_position))
        if index == len(sizes) - 1:
            del block["activation"]
            if not last_norm:
                del block["norm"]
        blocks.append(nn.Sequential(block))
    return nn.Sequential(*blocks)


def convolution_stack(
    channels: Sequence[int],
    *,
    kernel: int,
    pool_after: Collection[int],
    norm_eps: float,
    norm_momentum: float,
    norm_position: NormPosition,
    pool_position: PoolPosition = "before_norm",
    affine: bool = False,
    bias: bool = False,
) -> nn.Sequential:
    """Chain convolutions of the given channels, the input's first, each keeping H and W.

    A block is convolution, 2x2 maximum pooling if its number (from 1) is in ``pool_after``,
    BatchNorm, ReLU; the pooling comes last with ``pool_position="after_activation"``.
    (N, channels[0], H, W) becomes (N, channels[-1], H', W'): pooling halves H and W, rounded down.
    """
    blocks = []
    for index, (inputs, outputs) in enumerate(pairwise(channels), start=1):
        block: OrderedDict[str, nn.Module] = OrderedDict()
        block["convolution"] = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        if index in pool_after:
            block["pool"] = nn.MaxPool2d(2)
        norm = nn.BatchNorm2d(outputs, eps=norm_eps, momentum=norm_momentum, affine=affine)
        block.update(_norm_and_activation(norm, norm_position))
        if index in pool_after and pool_position == "after_activation":
            block.move_to_end("pool")
        blocks.append(nn.Sequential(block))
    return nn.Sequential(*blocks)


class ConvolutionalNetwork(nn.Module):
    """Convolutions, then linear layers; (N, C, H, W) images give (N, classes) logits.

    ``minimum_size`` is the smallest H and W of which the poolings leave a pixel, at the default
    channels or those of the object. A pooling follows every ``pool_every``-th convolution, or those
    whose numbers (from 1) are in ``pool_after``.

    Raises:
        ValueError: The image is smaller than that, or ``norm_position`` is unknown.
    """

    tasks = ("classification",)
    inputs = "images"
    minimum_size: int
    pool_every: int

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Sequence[int],
        hidden: Sequence[int],
        *,
        kernel: int,
        norm_eps: float,
        conv_norm_momentum: float,
        linear_norm_momentum: float,
        norm_position: NormPosition = "before_activation",
        pool_after: Collection[int] | None = None,
        pool_position: PoolPosition = "before_norm",
        norm_affine: bool = False,
        logit_norm: bool = True,
        bias: Bias = "none",
    ) -> None:
        super().__init__()
        if pool_after is None:
            pool_after = range(self.pool_every, len(channels) + 1, self.pool_every)
        shrinkage = self.minimum_size = 2 ** len(pool_after)
        self.binary_biases = bias == "binary"
        check_size(type(self).__name__, shape, shrinkage)
        planes, height, width = shape
        widths = [planes, *channels]
        self.features = convolution_stack(
            widths,
            kernel=kernel,
            pool_after=pool_after,
            norm_eps=norm_eps,
            norm_momentum=conv_norm_momentum,
            norm_position=norm_position,
            pool_position=pool_position,
            affine=norm_affine,
            bias=bias != "none",
        )
        self.flatten = nn.Flatten()
        self.classifier = linear_stack(
            [widths[-1] * (height // shrinkage) * (width // shrinkage), *hidden, classes],
            norm_eps=norm_eps,
            norm_momentum=linear_norm_momentum,
            norm_position=norm_position,
            affine=norm_affine,
            last_norm=logit_norm,
            bias=bias != "none",
        )

    @classmethod
    def minimum_size_of(cls, channels: Sequence[int]) -> int:
        """Return the smallest H and W of which the poolings leave a pixel."""
        return int(2 ** (len(channels) // cls.pool_every))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of float images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.flatten(self.features(images)))
        return logits


def _norm_and_activation(norm: nn.Module, position: NormPosition) -> list[tuple[str, nn.Module]]:
    """Return BatchNorm and ReLU in the given order."""
    if position not in get_args(NormPosition):
        raise ValueError(f"norm_position={position}: one of {', '.join(get_args(NormPosition))}")
    pair = [("norm", norm), ("activation", nn.ReLU())]
    return pair if position == "before_activation" else pair[::-1]
