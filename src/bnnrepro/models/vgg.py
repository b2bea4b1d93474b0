"""The VGG of the CIFAR experiments (BayesBiNN, arXiv 2002.10778, appendix B), and VGG-16."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

from bnnrepro.constraints import Count, Len, Positive, Share
from bnnrepro.models.blocks import (
    Bias,
    ConvolutionalNetwork,
    NormPosition,
    PoolPosition,
    check_blocks,
)


class VGG(ConvolutionalNetwork):
    """128-128-P-256-256-P-512-512-P-1024-1024-K, 3x3 convolutions, no biases.

    14,022,016 weights on CIFAR-10 and 14,114,176 on CIFAR-100. A block is convolution, pooling
    (after every second one), BatchNorm without affine, ReLU; then linear layer, BatchNorm, ReLU;
    the last linear layer has BatchNorm too. This is the order in which the published figures were
    made; ``norm_position="after_activation"`` is the one that the paper prints.

    Args:
        shape: (C, H, W) of an image.
        classes: Number of logits.
        channels: output channels of each convolution; every second one halves H and W.
        hidden: units of each hidden linear layer.
        norm_eps: BatchNorm's addition to the variance.
        conv_norm_momentum: weight of the newest batch in BatchNorm's running statistics after
            convolutions.
        linear_norm_momentum: the same after linear layers.
        norm_position: before_activation (as the published programs run) or after_activation (as
            the paper's tables print).

    Raises:
        ValueError: The image is smaller than the poolings need (8x8 for the default channels),
            or ``norm_position`` is unknown.
    """

    minimum_size = 8
    pool_every = 2

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (128, 128, 256, 256, 512, 512),
        hidden: Sequence[Count] = (1024, 1024),
        norm_eps: Positive = 1e-5,
        conv_norm_momentum: Share = 0.2,
        linear_norm_momentum: Share = 0.1,
        norm_position: NormPosition = "before_activation",
    ) -> None:
        super().__init__(
            shape,
            classes,
            channels,
            hidden,
            kernel=3,
            norm_eps=norm_eps,
            conv_norm_momentum=conv_norm_momentum,
            linear_norm_momentum=linear_norm_momentum,
            norm_position=norm_position,
        )


class VGG16(ConvolutionalNetwork):
    """VGG-16 (arXiv 1409.1556) as binary networks use it on CIFAR: 15,239,872 weights, 10 classes.

    64-64-P-128-128-P-256-256-256-P-512-512-512-P-512-512-512-P-512-512-K, 3x3 convolutions. The
    defaults are AdaSTE's form (arXiv 2112.02880): convolution, pooling, BatchNorm without affine,
    ReLU, BatchNorm after the logits, no biases. MD's and PMF's (arXiv 1910.08237) has
    ``pool_position="after_activation"``, ``bias="binary"``, ``conv_norm_momentum=0.1`` and no
    ``logit_norm``.

    Args:
        shape: (C, H, W) of an image, H and W of at least 32 at five stages.
        classes: Number of logits.
        channels: output channels of each stage's convolutions; a pooling ends each stage.
        blocks: convolutions of each stage.
        hidden: units of each hidden linear layer.
        norm_eps: BatchNorm's addition to the variance.
        conv_norm_momentum: weight of the newest batch in BatchNorm's running statistics after
            convolutions.
        linear_norm_momentum: the same after linear layers.
        norm_affine: BatchNorm learns a real scale and shift.
        logit_norm: the last linear layer has BatchNorm too.
        pool_position: before_norm or after_activation, of the pooling in its block.
        bias: of every layer: none, real (trained by Adam) or binary.

    Raises:
        ValueError: The image is smaller than the poolings need, or ``blocks`` has not an entry for
            each stage.
    """

    minimum_size = 32

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (64, 128, 256, 512, 512),
        blocks: Sequence[Count] = (2, 2, 3, 3, 3),
        hidden: Sequence[Count] = (512, 512),
        norm_eps: Positive = 1e-5,
        conv_norm_momentum: Share = 0.2,
        linear_norm_momentum: Share = 0.1,
        norm_affine: bool = False,
        logit_norm: bool = True,
        pool_position: PoolPosition = "before_norm",
        bias: Bias = "none",
    ) -> None:
        check_blocks(channels, blocks)
        super().__init__(
            shape,
            classes,
            [width for width, number in zip(channels, blocks, strict=True) for _ in range(number)],
            hidden,
            kernel=3,
            norm_eps=norm_eps,
            conv_norm_momentum=conv_norm_momentum,
            linear_norm_momentum=linear_norm_momentum,
            pool_after=list(accumulate(blocks)),
            pool_position=pool_position,
            norm_affine=norm_affine,
            logit_norm=logit_norm,
            bias=bias,
        )

    @classmethod
    def minimum_size_of(cls, channels: Sequence[int]) -> int:
        """Return the smallest H and W of which the poolings, one a stage, leave a pixel."""
        return int(2 ** len(channels))
