"""The VGG of the CIFAR experiments (BayesBiNN, arXiv 2002.10778, appendix B)."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import MinLen

from bnnrepro.constraints import Count, Positive, Share
from bnnrepro.models.blocks import ConvolutionalNetwork, NormPosition


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
        channels: Annotated[Sequence[Count], MinLen(1)] = (128, 128, 256, 256, 512, 512),
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
