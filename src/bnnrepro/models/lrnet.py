"""The two networks of the comparison with LR-net (BayesBiNN, arXiv 2002.10778, table 11).

Blocks are in the order of the VGG: convolution, pooling, BatchNorm without affine, ReLU; linear
layer, BatchNorm, ReLU; the last linear layer has BatchNorm too. No biases, no dropout.
"""

from collections.abc import Sequence
from typing import Annotated

from bnnrepro.constraints import Count, Len, Positive, Share
from bnnrepro.models.blocks import ConvolutionalNetwork


class LRNetSmall(ConvolutionalNetwork):
    """32C5-P-64C5-P-512FC-K, convolutions padded by 2: 1,662,752 weights on MNIST.

    Args:
        shape: (C, H, W) of an image, H and W of at least 4.
        classes: Number of logits.
        channels: output channels of each convolution.
        hidden: units of each hidden linear layer.
        norm_eps: BatchNorm's addition to the variance.
        conv_norm_momentum: weight of the newest batch in BatchNorm's running statistics after
            convolutions.
        linear_norm_momentum: the same after linear layers.

    Raises:
        ValueError: The image is smaller than 4x4.
    """

    minimum_size = 4
    pool_every = 1

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (32, 64),
        hidden: Sequence[Count] = (512,),
        norm_eps: Positive = 1e-5,
        conv_norm_momentum: Share = 0.15,
        linear_norm_momentum: Share = 0.1,
    ) -> None:
        super().__init__(
            shape,
            classes,
            channels,
            hidden,
            kernel=5,
            norm_eps=norm_eps,
            conv_norm_momentum=conv_norm_momentum,
            linear_norm_momentum=linear_norm_momentum,
        )


class LRNetBig(ConvolutionalNetwork):
    """2x128C3-P-2x256C3-P-2x512C3-P-1024FC-K: 12,973,440 weights on CIFAR-10.

    Args:
        shape: (C, H, W) of an image, H and W of at least 8.
        classes: Number of logits.
        channels: output channels of each convolution.
        hidden: units of each hidden linear layer.
        norm_eps: BatchNorm's addition to the variance.
        conv_norm_momentum: weight of the newest batch in BatchNorm's running statistics after
            convolutions.
        linear_norm_momentum: the same after linear layers.

    Raises:
        ValueError: The image is smaller than 8x8.
    """

    minimum_size = 8
    pool_every = 2

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Annotated[Sequence[Count], Len(1)] = (128, 128, 256, 256, 512, 512),
        hidden: Sequence[Count] = (1024,),
        norm_eps: Positive = 1e-5,
        conv_norm_momentum: Share = 0.2,
        linear_norm_momentum: Share = 0.1,
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
        )
