"""Bernoulli posteriors over binary weights, held by their natural parameters.

    P(w = +1) = sigmoid(2 lambda),   mean mu = tanh(lambda),   mode sign(lambda), sign(0) = +1

State: ``natural_parameter``, lambda, of the parameter's shape; ``prior`` after
``set_prior_to_posterior``.
"""

import math

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.base import BinaryOptimizer, Group, signs_of
from bnnrepro.optim.kernels.arithmetic import sign_
from bnnrepro.optim.kernels.chunks import like


class BernoulliPosterior(BinaryOptimizer):
    """Base of the methods that learn lambda.

    Groups have ``init``, the size of the first natural parameters, and ``prior``, lambda_prior.
    """

    has_posterior = True
    keeps_precision = True  # float32 is part of the rules

    def _start(self, parameter: Parameter, group: Group) -> None:
        dtype = torch.float32 if parameter.dtype == torch.float16 else None  # 1e-10 is 0 in float16
        signs = signs_of(parameter, self.generator).to(dtype or parameter.dtype)
        self.state[parameter]["natural_parameter"] = signs.mul_(group["init"])
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["natural_parameter"])

    def _sample(self, parameter: Parameter) -> None:
        """Write a draw of w = +-1 from the posterior into the parameter."""
        parameter.copy_(torch.sigmoid(2 * self.state[parameter]["natural_parameter"]))
        parameter.bernoulli_(parameter.clone(), generator=self.generator).mul_(2).sub_(1)

    def _uniform(self, pattern: Tensor) -> Tensor:
        """Return uniforms in [0, 1), shaped and laid out like a tensor."""
        drawn = torch.rand(
            pattern.shape, generator=self.generator, dtype=pattern.dtype, device=pattern.device
        )
        return like(drawn, pattern)

    def probabilities(self) -> dict[Parameter, Tensor]:
        """Return P(w = +1) of every binary parameter, in [0, 1], each of its parameter's shape."""
        self._adopt_weights()
        return {
            parameter: torch.sigmoid(2 * self.state[parameter]["natural_parameter"])
            for parameter, _ in self._binary_with_state()
        }

    @torch.no_grad()
    def set_prior_to_posterior(self) -> None:
        """Make a copy of the present posterior the prior of later steps (section 4.3)."""
        self._adopt_weights()
        for parameter, _ in self._binary_with_state():
            state = self.state[parameter]
            state["prior"] = state["natural_parameter"].clone()

    def diagnostics(self) -> dict[str, float]:
        """Add ``saturated`` and ``entropy_bits``.

        ``saturated`` is the share of weights whose mean tanh(lambda) is within 1e-3 of +-1,
        ``entropy_bits`` the posterior's average entropy per weight, in [0, 1] bits.
        """
        figures = super().diagnostics()
        bound = math.atanh(1 - 1e-3)
        figures["saturated"] = self._mean_over_weights(
            "natural_parameter", lambda group, natural: natural.abs() >= bound
        )
        figures["entropy_bits"] = self._mean_over_weights(
            "natural_parameter", lambda group, natural: entropy_bits(natural)
        )
        return figures


def entropy_bits(natural: Tensor) -> Tensor:
    """Return the entropy of the Bernoulli posterior of each weight, in bits, in [0, 1]."""
    field = 2 * natural.abs()
    tail = torch.sigmoid(-field)
    return (torch.log1p(torch.exp(-field)) + field * tail).nan_to_num_(nan=0.0) / math.log(2)
