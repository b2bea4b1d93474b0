"""Second-order Bop: Bop with a normalised push (Suarez-Ramirez et al. 2021, arXiv 2104.05124).

    m <- m + gamma (g - m)                exponential moving averages of the gradient
    v <- v + sigma (g^2 - v)              and of its square
    w <- -w   where  m w / (sqrt v + 1e-10) > threshold

Multiplied by a constant, the gradients flip the same weights, which Bop's do not. At threshold 0
the second moment has no effect. The paper's "unbiased" rule, with m / gamma and sqrt(v / sigma), is
this one at the threshold times gamma / sqrt sigma, so it is no option here.

State: m and v, of the parameter's shape, 0 at first. There is no real-valued weight: weights start
as the signs of the values that the parameters hold. The scheduler moves gamma.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import Count, NotNegative, Share
from bnnrepro.optim.base import BinaryOptimizer, Group
from bnnrepro.optim.bop import Bop

EPS = 1e-10


class Bop2(Bop):
    """Second-order Bop: flips by a gradient average over the root of an average of squares.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        threshold: a weight flips where weight times normalised average exceeds it.
        adaptivity_rate: gamma: weight of the newest gradient in its average.
        second_rate: sigma: weight of the newest square in its average.
        train_samples: draws of ``step(closure)``; all are alike, only the start is random.
        generator: source of the first signs where a weight is 0.
    """

    label = "Second-order Bop"

    def __init__(
        self,
        params: Any,
        threshold: NotNegative = 1e-6,
        adaptivity_rate: Share = 1e-2,
        second_rate: Share = 1e-3,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "threshold": threshold,
            "adaptivity_rate": adaptivity_rate,
            "second_rate": second_rate,
        }
        BinaryOptimizer.__init__(
            self, params, defaults, train_samples=train_samples, generator=generator
        )

    def _start(self, parameter: Parameter, group: Group) -> None:
        super()._start(parameter, group)
        self.state[parameter]["second"] = torch.zeros_like(parameter)

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        numbers = group["adaptivity_rate"], group["second_rate"], group["threshold"]
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            moments = state["momentum"], state["second"]
            self._run(flip_normalised, parameter, gradient, *moments, *numbers)


def flip_normalised(
    weight: Tensor,
    gradient: Tensor,
    momentum: Tensor,
    second: Tensor,
    gamma: float,
    sigma: float,
    threshold: float,
) -> None:
    """Average g and g^2 and flip w where m w / (sqrt v + 1e-10) > threshold; in g's memory."""
    momentum.lerp_(gradient, gamma)
    second.lerp_(gradient.square(), sigma)
    size = torch.sqrt(second, out=gradient).add_(EPS)
    push = torch.div(momentum * weight, size, out=gradient)
    weight.addcmul_(weight, torch.gt(push, threshold, out=push), value=-2)
