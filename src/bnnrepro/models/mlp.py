"""The multilayer perceptron of the MNIST experiments (BayesBiNN, arXiv 2002.10778, appendix B)."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from bnnrepro.constraints import Count, Fraction, Positive, Share
from bnnrepro.models.blocks import NormPosition, check_size, linear_stack


class MLP(nn.Module):
    """784-2048-2048-2048-10 on MNIST: 10,014,720 weights, no biases.

    A block is dropout, linear layer, BatchNorm without affine, ReLU; the input has dropout too,
    and the last linear layer BatchNorm. This is the order in which the published figures were
    made; ``norm_position="after_activation"`` is the one that the paper prints.

    Args:
        shape: (C, H, W) of an image.
        classes: Number of logits.
        hidden: units of each hidden layer.
        dropout: rate before every linear layer, the image's pixels included.
        norm_eps: BatchNorm's addition to the variance.
        norm_momentum: weight of the newest batch in BatchNorm's running statistics.
        norm_position: before_activation (as the published programs run) or after_activation (as
            the paper's tables print).

    Raises:
        ValueError: The image is empty, or ``norm_position`` is unknown.
    """

    tasks = ("classification", "continual")
    inputs = "images"
    minimum_size: int = 1

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        hidden: Sequence[Count] = (2048, 2048, 2048),
        dropout: Fraction = 0.2,
        norm_eps: Positive = 1e-4,
        norm_momentum: Share = 0.15,
        norm_position: NormPosition = "before_activation",
    ) -> None:
        super().__init__()
        check_size("MLP", shape, self.minimum_size)
        self.flatten = nn.Flatten()
        self.layers = linear_stack(
            [prod(shape), *hidden, classes],
            dropout=dropout,
            norm_eps=norm_eps,
            norm_momentum=norm_momentum,
            norm_position=norm_position,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of float images (N, C, H, W)."""
        logits: Tensor = self.layers(self.flatten(images))
        return logits
