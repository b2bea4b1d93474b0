"""Metaplasticity: STE whose large weights resist (Laborieux et al. 2021, arXiv 2003.03533).

    w = sign(h)                                       the weights of the forward pass
    d = Adam's step of h along g                      the gradient at w, handed to h unchanged
    h <- h - d (1 - tanh^2(k |h|))                    where d moves h towards 0
    h <- h - d                                        elsewhere; nothing is clipped

A hidden weight that has grown is hard to flip: so a network forgets less of a task when it learns
the next one, without being told where a task ends. k = 0 is STE without clipping. In float32
tanh(k |h|) is exactly 1 from k |h| = 9.02 on; such a weight can move only away from 0.

State: h, of the parameter's shape, which starts as the values that the parameter holds, and Adam's
two moments. The published program adds Adam's epsilon before the bias correction, starts Adam anew
with each task, and has binary activations; here Adam is torch's and runs on, and activations are
the network's own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import Betas, Count, NotNegative, Positive
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import BinaryOptimizer, Group, sign_
from bnnrepro.optim.kernels.arithmetic import abs_tanh


class Metaplasticity(BinaryOptimizer):
    """Straight-through estimation with Adam, damped where it shrinks a hidden weight.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: Adam's learning rate.
        metaplasticity: k: how fast the damping grows with a hidden weight's size.
        betas: decay rates of Adam's two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty on the hidden weights.
        train_samples: draws of ``step(closure)``; all are alike, the method has no noise.
        generator: accepted for the common interface; the method draws nothing.
    """

    label = "Metaplasticity"
    compiling_pays_on_cpu = True

    def __init__(
        self,
        params: Any,
        lr: Positive = 5e-3,
        metaplasticity: NotNegative = 1.35,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 1e-7,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "metaplasticity": metaplasticity,
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

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        states = [self.state[p] for p in params]
        latents = [state["latent"] for state in states]
        before = [latent.clone() for latent in latents]
        adam_(latents, gradients, states, group)
        for parameter, latent, old in zip(params, latents, before, strict=True):
            self._run(damp_and_binarize, parameter, latent, old, group["metaplasticity"])

    def diagnostics(self) -> dict[str, float]:
        """Add ``frozen``: the share of weights whose steps towards 0 shrink a hundredfold."""
        figures = super().diagnostics()
        figures["frozen"] = self._mean_over_weights(
            "latent",
            lambda group, latent: (latent * group["metaplasticity"]).tanh().square() >= 0.99,
        )
        return figures


def damp_and_binarize(weight: Tensor, latent: Tensor, before: Tensor, k: float) -> None:
    """Take back tanh^2(k |h|) of a step from ``before`` that shrinks |h|, and write w = sign(h).

    lerp, since it gives both ends exactly: the whole step at 0, none of it at 1.
    """
    shrinks = torch.sub(before, latent).mul_(before)
    torch.gt(shrinks, 0, out=shrinks)
    resistance = abs_tanh(torch.mul(before, k)).square_().mul_(shrinks)
    torch.lerp(latent, before, resistance, out=latent)
    sign_(weight, latent)
