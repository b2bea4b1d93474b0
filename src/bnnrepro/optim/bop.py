"""Bop: the latent-free binary optimizer (Helwegen et al. 2019, arXiv 1906.02107, algorithm 1).

    m <- (1 - gamma) m + gamma g      gradient's exponential moving average, m = 0 at first
    w <- -w   where  m w > threshold  a consistent push flips the weight

State: m, the parameter's shape. There is no real-valued weight. The weights start at the signs of
those that the parameters hold; torch's own first weights have random ones.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import Count, NotNegative, Share
from bnnrepro.optim.base import BinaryOptimizer, Group, sign_, signs_of


class Bop(BinaryOptimizer):
    """Binary optimizer without latent weights.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        threshold: tau: a weight flips where weight times averaged gradient exceeds it.
        adaptivity_rate: gamma: weight of the newest gradient in the moving average.
        train_samples: draws of ``step(closure)``; all are alike, only the start is random.
        generator: source of the first signs where a weight is 0.
    """

    label = "Bop"
    scheduled = "adaptivity_rate"

    def __init__(
        self,
        params: Any,
        threshold: NotNegative = 1e-8,
        adaptivity_rate: Share = 1e-4,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {"threshold": threshold, "adaptivity_rate": adaptivity_rate}
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        parameter.copy_(signs_of(parameter, self.generator))
        self.state[parameter]["momentum"] = torch.zeros_like(parameter)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, parameter)

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        for parameter, gradient in zip(params, gradients, strict=True):
            momentum = self.state[parameter]["momentum"]
            numbers = group["adaptivity_rate"], group["threshold"]
            self._run(flip, parameter, gradient, momentum, *numbers)


def flip(
    weight: Tensor, gradient: Tensor, momentum: Tensor, gamma: float, threshold: float
) -> None:
    """Average the gradient into m and flip w where m w > threshold; works in g's memory."""
    momentum.lerp_(gradient, gamma)
    push = torch.mul(momentum, weight, out=gradient)
    weight.addcmul_(weight, torch.gt(push, threshold, out=push), value=-2)
