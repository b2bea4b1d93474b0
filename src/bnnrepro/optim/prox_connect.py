"""ProxConnect: gradient steps on u, a proximal map to w that hardens (arXiv 2110.13220).

    w = P(u)                              the weights of the training passes
    u <- SGD(u, g) or Adam(u, g)          the gradient at w, handed to u unchanged, nothing clipped

One scheme (Dockhorn et al. 2021), three maps on the way to sign(u). With f the share of the
annealing done, from 0 to 1:

    hard           w = sign(u)                                  BinaryConnect; no annealing
    parq           w = clip(u / i, -1, 1)                       PARQ (Jin et al. 2025, 2503.15748)
                   i = (q(10 (1/2 - f)) - q(-5)) / (q(5) - q(-5)), q the logistic function: 1 to 0
    binary_relax   w = (1 - f) u + f sign(u)                    Yin et al. 2018 (1801.06313), in
                                                                the form of PARQ's program

From f = 1 on all are ``hard``. Prediction is by sign(u), sign(0) = +1. The published programs of
the last two multiply w by a layer's mean |u|, a scale that BatchNorm removes; here the two values
are +-1 as in the theory.

State: u, of the parameter's shape, which starts as the values that the parameter holds, and the
moments of Adam or the momentum of SGD.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.sgd import sgd

from bnnrepro.constraints import Betas, Count, Fraction, NotNegative, Positive, Share
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import Group, sign_
from bnnrepro.optim.kernels.chunks import like
from bnnrepro.optim.soft import SoftWeights, share_done

STEEPNESS = 10.0


class ProxConnect(SoftWeights):
    """Lazy projection: the forward weights are a map of accumulated gradient steps.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: learning rate of SGD or Adam.
        total_steps: steps of the whole run, along which the map hardens.
        prox: the map: hard, parq or binary_relax.
        base: the optimizer of u: adam or sgd.
        annealing: share of training after which the map is the sign.
        momentum: SGD's momentum.
        betas: decay rates of Adam's two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty on u.
        train_samples: draws of ``step(closure)``; all are alike, the method has no noise.
        generator: accepted for the common interface; the method draws nothing.
    """

    label = "ProxConnect"
    label_key = "prox"

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-2,
        *,
        total_steps: Count,
        prox: Literal["hard", "parq", "binary_relax"] = "hard",
        base: Literal["adam", "sgd"] = "adam",
        annealing: Share = 0.75,
        momentum: Fraction = 0.9,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "total_steps": total_steps,
            "prox": prox,
            "base": base,
            "annealing": annealing,
            "momentum": momentum,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        self.state[parameter]["latent"] = parameter.detach().clone()
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["latent"])

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        if group["prox"] != "hard" and share_done(group, group["annealing"]) < 1:
            super()._perturb(parameter, group, train)

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        done, latent = share_done(group, group["annealing"]), self.state[parameter]["latent"]
        if group["prox"] == "parq":
            self._run(ramp, parameter, latent, inverse_slope(done))
        else:
            self._run(blend, parameter, latent, done)

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        states = [self.state[p] for p in params]
        base = adam_ if group["base"] == "adam" else sgd_
        base([state["latent"] for state in states], gradients, states, group)
        group["steps"] += 1
        for parameter in params:
            self._show_mode(parameter, group)

    def diagnostics(self) -> dict[str, float]:
        """Add ``annealed``: the share of the annealing that is done, 1 for ``hard``."""
        figures = super().diagnostics()
        shares = [
            1.0 if group["prox"] == "hard" else share_done(group, group["annealing"])
            for group in self.param_groups
            if group["binary"]
        ]
        figures["annealed"] = min(shares, default=1.0)
        return figures


def inverse_slope(done: float) -> float:
    """Return PARQ's i, from 1 at the start of the annealing to (almost) 0 at its end."""
    low, high = _logistic(-STEEPNESS / 2), _logistic(STEEPNESS / 2)
    value = (_logistic(STEEPNESS * (0.5 - done)) - low) / (high - low)
    return max(value, float(torch.finfo(torch.float32).tiny))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def ramp(weight: Tensor, latent: Tensor, inverse: float) -> None:
    """Write w = clip(u / i, -1, 1)."""
    torch.div(latent, inverse, out=weight).clamp_(-1, 1)


def blend(weight: Tensor, latent: Tensor, hard: float) -> None:
    """Write w = (1 - f) u + f sign(u)."""
    sign_(weight, latent).mul_(hard).add_(latent * (1 - hard))


def sgd_(
    tensors: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]], group: Group
) -> None:
    """Update the tensors in place by SGD; the momentum's average is kept in the states."""
    averages: list[Tensor | None] = [None] * len(tensors)
    if group["momentum"]:
        for tensor, state in zip(tensors, states, strict=True):
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(tensor)
        averages = [state["momentum"] for state in states]
    sgd(
        tensors,
        [like(g, t) for t, g in zip(tensors, gradients, strict=True)],
        averages,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
