"""The schemas of models."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from bnnrepro.config.constraints import Length
from bnnrepro.config.schema import Count, Fraction, Model, NotNegative, Positive, Share, register

NormPosition = Literal["before_activation", "after_activation"]


@register("model", "bnnrepro.models.mlp.MLP")
@dataclass
class MLP(Model):
    """Multilayer perceptron."""

    tasks: ClassVar[tuple[str, ...] | None] = ("classification", "continual")

    hidden: list[Count]
    """units of each hidden layer"""
    dropout: Fraction
    """dropout rate of every linear layer's inputs, the image's pixels included"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    norm_momentum: Share
    """BatchNorm's momentum: weight of the newest batch in the running statistics"""
    norm_position: NormPosition
    """before_activation (as the published programs run) or after_activation (as tables print)"""


@register("model", "bnnrepro.models.vgg.VGG")
@dataclass
class VGG(Model):
    """VGG: 3x3 convolutions, a 2x2 pool after every second one, then linear layers."""

    channels: Annotated[list[Count], Length(1)]
    """channels of each convolution"""
    hidden: list[Count]
    """units of each hidden linear layer"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    conv_norm_momentum: Share
    """BatchNorm's momentum after convolutions: weight of the newest batch"""
    linear_norm_momentum: Share
    """BatchNorm's momentum after linear layers"""
    norm_position: NormPosition
    """before_activation (as the published programs run) or after_activation (as tables print)"""

    def minimum_size(self) -> int:
        """Return the size that is halved after every second convolution."""
        return int(2 ** (len(self.channels) // 2))


@dataclass
class LRNet(Model):
    """The keys of LR-net's architectures."""

    channels: Annotated[list[Count], Length(1)]
    """channels of each convolution"""
    hidden: list[Count]
    """units of each hidden linear layer"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    conv_norm_momentum: Share
    """BatchNorm's momentum after convolutions: weight of the newest batch"""
    linear_norm_momentum: Share
    """BatchNorm's momentum after linear layers"""


@register("model", "bnnrepro.models.lrnet.LRNetSmall")
@dataclass
class LRNetSmall(LRNet):
    """LR-net's architecture for MNIST."""

    def minimum_size(self) -> int:
        """Return the size that is halved after every convolution."""
        return int(2 ** len(self.channels))


@register("model", "bnnrepro.models.lrnet.LRNetBig")
@dataclass
class LRNetBig(LRNet):
    """LR-net's architecture for CIFAR-10."""

    def minimum_size(self) -> int:
        """Return the size that is halved after every second convolution."""
        return int(2 ** (len(self.channels) // 2))


@register("model", "bnnrepro.models.toy_mlp.ToyMLP")
@dataclass
class ToyMLP(Model):
    """Multilayer perceptron of the toys: tanh, biases."""

    tasks: ClassVar[tuple[str, ...] | None] = ("classification", "regression")
    inputs: ClassVar[str | None] = "points"

    hidden: list[Count]
    """units of each hidden layer"""
    output_norm: bool
    """BatchNorm without learned scale and shift after the last layer"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    norm_momentum: Share
    """BatchNorm's momentum: weight of the newest batch in the running statistics"""
    binary_biases: bool
    """binarise the biases too (by a method that binarises)"""
    bias_lr: NotNegative
    """Adam's learning rate of real biases"""
    bias_clip: Positive | None
    """largest absolute value of real biases; null: no limit"""


@register("model", "bnnrepro.models.unet.UNet")
@dataclass
class UNet(Model):
    """U-Net: valid convolutions, two a level; a class for every pixel but the margin's."""

    tasks: ClassVar[tuple[str, ...] | None] = ("segmentation",)

    channels: Annotated[list[Count], Length(1)]
    """channels of each level, from the top; one more level than poolings"""
    dropout: Fraction
    """dropout rate after each level"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    norm_momentum: Share
    """BatchNorm's momentum: weight of the newest batch in the running statistics"""

    def minimum_size(self) -> int:
        """Return the size of which two convolutions a level and the poolings leave a pixel."""
        margin = 2
        for _ in self.channels[1:]:
            margin = 4 + 2 * margin
        return 2 * margin + 1
