"""MD-tanh-S: mirror descent with a sharpening tanh (Ajanthan et al. 2021, arXiv 1910.08237).

    w = tanh(beta u)                      the weights of the training passes, in (-1, 1)
    u <- Adam(u, g)                       the gradient at w, unchanged: no factor, no clipping
    beta = beta_final^p                   from 1 to beta_final with the share p of training done

u is the dual variable of mirror descent and w the primal one; the projection u -> w defines the
mirror map, so the dual step takes the gradient at w as it is. "S" is the form that stores u, which
stays finite where the other forms divide by numbers that vanish. Prediction is by sign(u),
sign(0) = +1. In float32 tanh(beta u) is exactly +-1 from beta |u| = 9.02 on: from there on the rule
is a straight-through estimator with Adam that clips nothing.

State: u, of the parameter's shape, and Adam's two moments. u starts as Xavier's uniform numbers,
with the signs of the weights that the parameter holds. The published program multiplies beta by a
factor every some hundred steps; here the growth is the same geometric one, but follows the share
of training done. Against PMF (``pmf.py``) the rule lacks the factor beta (1 - w^2) of the gradient.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import AtLeastOne, Betas, Count, NotNegative, Positive
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import Group, sign_, signs_of
from bnnrepro.optim.kernels.arithmetic import abs_tanh
from bnnrepro.optim.pmf import xavier_bound
from bnnrepro.optim.soft import SoftWeights, share_done


class MDTanhS(SoftWeights):
    """Mirror descent through tanh(beta u), with Adam on u.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: Adam's learning rate.
        total_steps: steps of the whole run, along which beta grows.
        beta_final: beta at the end of training; it starts at 1.
        betas: decay rates of Adam's two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty on u.
        train_samples: draws of ``step(closure)``; all are alike, only the start is random.
        generator: source of the first u.
    """

    label = "MD-tanh-S"
    compiling_pays_on_cpu = True

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-3,
        *,
        total_steps: Count,
        beta_final: AtLeastOne = 1e4,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "total_steps": total_steps,
            "beta_final": beta_final,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        signs, latent = signs_of(parameter, self.generator), torch.empty_like(parameter)
        latent = latent.detach().uniform_(0, xavier_bound(parameter), generator=self.generator)
        self.state[parameter]["latent"] = latent.mul_(signs)
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["latent"])

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        self._run(soften, parameter, self.state[parameter]["latent"], sharpness(group))

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        states = [self.state[p] for p in params]
        adam_([state["latent"] for state in states], gradients, states, group)
        group["steps"] += 1
        for parameter in params:
            self._show_mode(parameter, group)

    def diagnostics(self) -> dict[str, float]:
        """Add ``beta`` and ``saturated``: the share of soft weights within 1e-3 of +-1."""
        figures = super().diagnostics()
        binary = [group for group in self.param_groups if group["binary"]]
        figures["beta"] = max(map(sharpness, binary), default=1.0)
        bound = math.atanh(1 - 1e-3)
        figures["saturated"] = self._mean_over_weights(
            "latent", lambda group, latent: latent.abs() * sharpness(group) >= bound
        )
        return figures


def sharpness(group: Group) -> float:
    """Return beta = beta_final^p of the next draw."""
    return float(group["beta_final"] ** share_done(group))


def soften(weight: Tensor, latent: Tensor, beta: float) -> None:
    """Write the soft weights, w = tanh(beta u)."""
    torch.copysign(abs_tanh(latent, 1 / beta), latent, out=weight)
