"""Adam on real-valued weights: the full-precision row of the tables, behind the same interface."""

from typing import Any

import torch

from bnnrepro.constraints import Betas, Count, NotNegative, Positive
from bnnrepro.optim.base import BinaryOptimizer, Group


class FullPrecision(BinaryOptimizer):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980); nothing is binarised.

    Args:
        params: parameters, named parameters or groups; all groups are real-valued, whatever their
            ``binary``.
        lr: learning rate.
        betas: decay rates of the two moments.
        eps: Adam's epsilon.
        weight_decay: L2 penalty.
        train_samples: draws of ``step(closure)``; all are alike, the method has no noise.
        generator: accepted for the common interface; the method draws nothing.
    """

    label = "Full precision"
    binarizes = False

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        weight_decay: NotNegative = 0.0,
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def real_defaults(self) -> dict[str, Any]:
        """Return no defaults: all groups are real-valued and take the optimizer's own settings."""
        return {}

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of real-valued weights."""
        super().add_param_group({**param_group, "binary": False})
