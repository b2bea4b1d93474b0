"""STE: the straight-through estimator with Adam (Hubara et al. 2016, arXiv 1602.02830).

    w = sign(u), sign(0) = +1             the weights of the forward pass
    u <- clip(u - Adam(clip(g, c)), a)    the gradient at w is handed to u unchanged

with u the real-valued latent weight (the shape of w), c the element-wise clipping of the gradient
and a that of the latent weights (both 1 in Table 9 of the BayesBiNN paper). The latent weights
start as the values that the parameters hold at first, clipped to [-a, a].
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import Betas, Count, NotNegative, Positive
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import BinaryOptimizer, Group, sign_


class STE(BinaryOptimizer):
    """Straight-through estimator with Adam on latent real-valued weights.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: Adam's learning rate.
        betas: decay rates of Adam's two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty on the latent weights.
        grad_clip: c: each element of a gradient is clipped to [-c, c]; null: no clipping.
        weight_clip: a: the latent weights are clipped to [-a, a] after each step.
        train_samples: draws of ``step(closure)``; all are alike, the method has no noise.
        generator: accepted for the common interface; the method draws nothing.
    """

    label = "STE"

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-2,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        grad_clip: Positive | None = 1.0,
        weight_clip: Positive = 1.0,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "grad_clip": grad_clip,
            "weight_clip": weight_clip,
        }
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        bound = group["weight_clip"]
        self.state[parameter]["latent"] = parameter.detach().clamp(-bound, bound)
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["latent"])

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        states = [self.state[p] for p in params]
        latents = [state["latent"] for state in states]
        if group["grad_clip"] is not None:
            for gradient in gradients:
                gradient.clamp_(-group["grad_clip"], group["grad_clip"])
        adam_(latents, gradients, states, group)
        for parameter, latent in zip(params, latents, strict=True):
            self._run(clip_and_binarize, parameter, latent, group["weight_clip"])

    def diagnostics(self) -> dict[str, float]:
        """Add ``saturated``: the share of latent weights at their bound."""
        figures = super().diagnostics()
        figures["saturated"] = self._mean_over_weights(
            "latent", lambda group, latent: latent.abs() >= group["weight_clip"]
        )
        return figures


def clip_and_binarize(weight: Tensor, latent: Tensor, bound: float) -> None:
    """Clip u to [-a, a] and write w = sign(u)."""
    sign_(weight, latent.clamp_(-bound, bound))
