"""Soft weights: rules that train at weights between -1 and +1, and the annealing that ends them.

What is annealed follows the share of training done, p = steps done / total steps, in [0, 1]: a run
cut to a tenth of its length still ends at binary weights. ``total_steps`` is the number of steps of
the whole run; a ``Trainer`` passes it, in a loop of your own it is epochs times batches.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import Parameter

from bnnrepro.constraints import Count
from bnnrepro.optim.base import BinaryOptimizer, Group


class SoftWeights(BinaryOptimizer):
    """Base of the methods whose training draws are not +-1.

    A subclass defines ``_soften``, which writes a draw's weights; they appear in the model only
    inside the sampling context. Groups count their steps in ``steps``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        defaults: dict[str, Any],
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        self._soft: set[Parameter] = set()  # parameters that hold soft weights
        defaults = {**defaults, "steps": 0}
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        """Write the weights of a draw; for prediction (not ``train``) only with a posterior."""
        raise NotImplementedError

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        if train or self.has_posterior:
            self._soft.add(parameter)
            self._soften(parameter, group, train)

    def _restore(self, parameter: Parameter, group: Group) -> None:
        if parameter in self._soft:
            self._soft.remove(parameter)
            self._show_mode(parameter, group)


def share_done(group: Group, until: float = 1.0) -> float:
    """Return the share, in [0, 1], of an annealing that ends at a share ``until`` of training."""
    return min(float(group["steps"] / (until * group["total_steps"])), 1.0)
