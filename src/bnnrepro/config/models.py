"""The schemas of models."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from bnnrepro.config.constraints import Length
from bnnrepro.config.schema import Count, Fraction, NotNegative, Part, Positive, Share, schema

NormPosition = Literal["before_activation", "after_activation"]
Self = TypeVar("Self", bound="Model")


@dataclass
class Model(Part):
    """What every model has."""

    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    """the tasks that it can be trained on"""
    inputs: ClassVar[str | None] = "images"
    """what it takes; None: anything"""

    def minimum_size(self) -> int:
        """Return the smallest height and width that the model's pooling leaves a pixel of."""
        return 1

    def narrowed(self: Self, share: float) -> Self:
        """Return the model with a share of its ``channels`` and ``hidden`` units, at least one."""
        widths: dict[str, Any] = {
            key: [max(1, round(share * units)) for units in getattr(self, key, None) or []]
            for key in ("channels", "hidden")
            if isinstance(getattr(self, key, None), list)
        }
        return replace(self, **widths)


@schema("model", "bnnrepro.models.mlp.MLP")
@dataclass
class MLP(Model):
    """Multilayer perceptron."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "continual")

    hidden: list[Count]
    """units of each hidden layer"""
    dropout: Fraction
    """probability to drop an input of a linear layer, the image's pixels too"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    norm_momentum: Share
    """BatchNorm's momentum: weight of the newest batch in the running statistics"""
    norm_position: NormPosition
    """before_activation (as the published programs run) or after_activation (as tables print)"""


@schema("model", "bnnrepro.models.vgg.VGG")
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
        """Halved after every second convolution."""
        return int(2 ** (len(self.channels) // 2))


@dataclass
class LRNet(Model):
    """What LR-net's architectures share."""

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


@schema("model", "bnnrepro.models.lrnet.LRNetSmall")
@dataclass
class LRNetSmall(LRNet):
    """LR-net's architecture for MNIST."""

    def minimum_size(self) -> int:
        """Halved after every convolution."""
        return int(2 ** len(self.channels))


@schema("model", "bnnrepro.models.lrnet.LRNetBig")
@dataclass
class LRNetBig(LRNet):
    """LR-net's architecture for CIFAR-10."""

    def minimum_size(self) -> int:
        """Halved after every second convolution."""
        return int(2 ** (len(self.channels) // 2))


@schema("model", "bnnrepro.models.toy_mlp.ToyMLP")
@dataclass
class ToyMLP(Model):
    """Multilayer perceptron of the toys: tanh, biases."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
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
    """biases are binarised as weights are (by a method that binarises)"""
    bias_lr: NotNegative
    """Adam's learning rate of real biases"""
    bias_clip: Positive | None
    """real biases stay between plus and minus this; null: anywhere"""


@schema("model", "bnnrepro.models.unet.UNet")
@dataclass
class UNet(Model):
    """U-Net: valid convolutions, two a level; a class for every pixel but the margin's."""

    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)

    channels: Annotated[list[Count], Length(1)]
    """channels of each level, from the top; one more than there are poolings"""
    dropout: Fraction
    """probability to drop a feature after a level"""
    norm_eps: Positive
    """BatchNorm's epsilon, added to the variance"""
    norm_momentum: Share
    """BatchNorm's momentum: weight of the newest batch in the running statistics"""

    def minimum_size(self) -> int:
        """Two convolutions a level and a pooling between two levels leave a pixel of it."""
        margin = 2
        for _ in self.channels[1:]:
            margin = 4 + 2 * margin
        return 2 * margin + 1
