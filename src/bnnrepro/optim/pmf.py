"""PMF: proximal mean-field (Ajanthan et al. 2019, arXiv 1812.04353).

    u = softmax(beta theta)  over {+1, -1}        two logits theta a weight
    w = u_plus - u_minus = tanh(beta (theta_plus - theta_minus) / 2)
    dL/dtheta_plus = g beta (1 - w^2) / 2 = -dL/dtheta_minus      through the softmax's Jacobian
    theta <- Adam(theta),   beta <- min(rho beta, beta_max) every beta_interval steps, from 1

Prediction is by sign(theta_plus - theta_minus). The soft weights w appear in the model only inside
``sampled_params(train=True)``. State: theta, of shape (2, *parameter.shape), plus first; Xavier
initialisation of each, the two of a weight in the order that makes its mode the sign of the weight
that the parameter holds. The published program has these weights and another gradient: its Jacobian
is beta (I - v v^T) at v = softmax(beta u); this is the paper's rule.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import AtLeastOne, Betas, Count, NotNegative, Positive
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import Group, signs_of
from bnnrepro.optim.kernels.arithmetic import (
    abs_tanh,
    one_minus_,
    to_signs_,
    zero_one_to_signs_,
)
from bnnrepro.optim.soft import SoftWeights


class PMF(SoftWeights):
    """Proximal mean-field with Adam on the logits.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: Adam's learning rate.
        rho: growth factor of beta, the sharpness of the softmax, which starts at 1.
        beta_interval: steps between two increases of beta.
        beta_max: largest beta.
        betas: decay rates of Adam's two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty on the logits.
        train_samples: draws of ``step(closure)``; all are alike, only the start is random.
        generator: source of the first logits.
    """

    label = "PMF"
    compiling_pays_on_cpu = True

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-3,
        rho: AtLeastOne = 1.2,
        beta_interval: Count = 100,
        beta_max: AtLeastOne = 1e4,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "beta_interval": beta_interval,
            "beta_max": beta_max,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "beta": 1.0,
        }
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        bound = xavier_bound(parameter)
        positive = signs_of(parameter, self.generator) > 0
        logits = torch.stack([torch.empty_like(parameter), torch.empty_like(parameter)])
        plus, minus = logits.uniform_(-bound, bound, generator=self.generator)
        swap = (plus > minus) != positive
        logits = torch.stack([torch.where(swap, minus, plus), torch.where(swap, plus, minus)])
        self.state[parameter]["logits"] = logits
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(harden, parameter, *self.state[parameter]["logits"])

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        self._run(soften, parameter, *self.state[parameter]["logits"], group["beta"] / 2)

    def _restore(self, parameter: Parameter, group: Group) -> None:
        """Put the mode back: the sign of w, as long as nothing else was written."""
        if parameter in self._soft and self._unchanged(parameter):
            self._soft.remove(parameter)
            self._run(to_signs_, parameter)
        super()._restore(parameter, group)

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        self._run(through_softmax, gradient, parameter, group["beta"] / 2)
        return gradient

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        for which in (0, 1):  # the gradient of theta_minus is minus that of theta_plus
            halves = [self._halves(p)[which] for p in params]
            logits = [half["logits"] for half in halves]
            adam_(logits, gradients, halves, group, maximize=which == 1)
        group["steps"] += 1
        if group["steps"] % group["beta_interval"] == 0:
            group["beta"] = min(group["rho"] * group["beta"], group["beta_max"])
        for parameter in params:
            self._show_mode(parameter, group)

    def _halves(self, parameter: Parameter) -> list[dict[str, Tensor]]:
        """Return Adam's state of the logits of +1 and of those of -1: views of the whole."""
        state = self.state[parameter]
        if "exp_avg" not in state:
            logits = state["logits"]
            state["step"] = torch.zeros(2, dtype=torch.float32, device=logits.device)
            state["exp_avg"] = torch.zeros_like(logits)
            state["exp_avg_sq"] = torch.zeros_like(logits)
        names = ("logits", "step", "exp_avg", "exp_avg_sq")
        return [{name: state[name][k] for name in names} for k in (0, 1)]

    def diagnostics(self) -> dict[str, float]:
        """Add ``beta`` and ``saturated``: the share of soft weights within 1e-3 of +-1."""
        figures = super().diagnostics()
        figures["beta"] = max(g["beta"] for g in self.param_groups)
        bound = math.atanh(1 - 1e-3)
        figures["saturated"] = self._mean_over_weights(
            "logits",
            lambda group, plus, minus: (plus - minus).abs() * (group["beta"] / 2) >= bound,
        )
        return figures


def xavier_bound(weight: Tensor) -> float:
    """Return the bound of Xavier's uniform start (Glorot & Bengio 2010); 0 without elements."""
    receptive = math.prod(weight.shape[2:])
    fans = math.prod(weight.shape[:1]) + math.prod(weight.shape[1:2])
    return math.sqrt(6.0 / max(fans * receptive, 1))


def harden(weight: Tensor, plus: Tensor, minus: Tensor) -> None:
    """Write the predicting weights, sign(theta_plus - theta_minus)."""
    zero_one_to_signs_(torch.ge(plus, minus, out=weight))


def soften(weight: Tensor, plus: Tensor, minus: Tensor, sharpness: float) -> None:
    """Write the soft weights, w = tanh(beta (theta_plus - theta_minus) / 2)."""
    difference = torch.sub(plus, minus)
    torch.copysign(abs_tanh(difference, 1 / sharpness), difference, out=weight)


def through_softmax(gradient: Tensor, soft: Tensor, sharpness: float) -> None:
    """Multiply the gradient at w by dw / dtheta_plus = beta (1 - w^2) / 2."""
    gradient.mul_(one_minus_(soft.square()).mul_(sharpness))
