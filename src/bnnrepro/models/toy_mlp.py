"""The multilayer perceptron of the toy problems (BayesBiNN, arXiv 2002.10778, tables 3 and 4)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from bnnrepro.constraints import Count, NotNegative, Positive, Share


class ToyMLP(nn.Module):
    """2-64-64-1 on two moons, 1-64-64-1 for regression: linear layers with biases, tanh between.

    Args:
        shape: (D,), the dimension of an input.
        classes: Number of outputs.
        hidden: units of each hidden layer.
        output_norm: add a BatchNorm without affine after the last layer, as for regression.
        norm_eps: BatchNorm's addition to the variance.
        norm_momentum: weight of the newest batch in BatchNorm's running statistics.
        binary_biases: make the biases binary too (by a method that binarises); see
            ``bnnrepro.optim.param_groups``.
        bias_lr: Adam's learning rate of real biases.
        bias_clip: largest absolute value of real biases; null: no limit.

    Raises:
        ValueError: The shape is not (D,) with D of at least 1.
    """

    tasks = ("classification", "regression")
    inputs = "points"

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        hidden: Sequence[Count] = (64, 64),
        output_norm: bool = False,
        norm_eps: Positive = 1e-4,
        norm_momentum: Share = 0.15,
        binary_biases: bool = True,
        bias_lr: NotNegative = 1e-3,
        bias_clip: Positive | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 1 or shape[0] < 1:
            raise ValueError(f"shape={tuple(shape)}: takes points (D,) with D of at least 1")
        self.binary_biases = binary_biases
        self.bias_settings: dict[str, Any] = {"lr": bias_lr, "clip": bias_clip}
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([*shape, *hidden, classes]):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        layers.pop()
        if output_norm:
            norm = nn.BatchNorm1d(classes, eps=norm_eps, momentum=norm_momentum, affine=False)
            layers.append(norm)
        self.layers = nn.Sequential(*layers)

    def forward(self, points: Tensor) -> Tensor:
        """Return the outputs (N, classes) of points (N, D)."""
        outputs: Tensor = self.layers(points)
        return outputs
