"""Bernoulli posteriors over binary weights, held by their natural parameters.

    P(w = +1) = sigmoid(2 lambda),   mean mu = tanh(lambda),   mode sign(lambda), sign(0) = +1

A training draw is the relaxation of equation (9) of arXiv 2002.10778,

    w = tanh((lambda + delta) / tau),   delta = logit(u) / 2,   u uniform in (0, 1)

State: ``natural_parameter``, lambda, of the parameter's shape; ``prior`` after
``set_prior_to_posterior``.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.base import BinaryOptimizer, Group, signs_of
from bnnrepro.optim.kernels.arithmetic import abs_tanh, sign_, tanh
from bnnrepro.optim.kernels.chunks import alike, flat
from bnnrepro.optim.kernels.noise import BLOCK, bit_blocks, delta, random_bits
from bnnrepro.optim.kernels.posterior_draws import PosteriorDraws


class BernoulliPosterior(BinaryOptimizer):
    """Base of the methods that learn lambda.

    Groups have ``init``, the size of the first natural parameters, and ``prior``, lambda_prior.
    """

    has_posterior = True
    keeps_precision = True  # float32 is part of the rules

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._posterior_draws: dict[Parameter, PosteriorDraws] = {}
        super().__init__(*arguments, **settings)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is derived from the state: a copy's natural parameters are others."""
        return super().__getstate__() | {"_posterior_draws": {}}

    def _forget(self) -> None:
        super()._forget()
        self._posterior_draws = {}

    def _draw(self, train: bool) -> None:
        if train:
            self._posterior_draws.clear()
        super()._draw(train)

    def _start(self, parameter: Parameter, group: Group) -> None:
        dtype = torch.float32 if parameter.dtype == torch.float16 else None  # 1e-10 is 0 in float16
        signs = signs_of(parameter, self.generator).to(dtype or parameter.dtype)
        self.state[parameter].pop("stale", None)  # BayesBiNN's, of the weights before
        self.state[parameter]["natural_parameter"] = signs.mul_(group["init"])
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["natural_parameter"])

    def _sample(self, parameter: Parameter) -> None:
        """Write a draw of w = +-1 from the posterior into the parameter."""
        natural = self.state[parameter]["natural_parameter"]
        draws = self._posterior_draws.get(parameter)
        if draws is None or not draws.fit(natural, parameter):
            draws = self._posterior_draws[parameter] = PosteriorDraws(natural, parameter)
        if not parameter.requires_grad:  # frozen later: other code may have written to it
            self._run(sign_, parameter, natural)
        draws.turn(parameter, self._bits(draws.pattern))

    def _relax(self, parameter: Parameter, temperature: float) -> None:
        """Write a training draw of all weights into the parameter."""
        natural = self.state[parameter]["natural_parameter"]
        if parameter.device.type == "cpu" and alike(parameter, natural) and not self.compiled:
            parts = (torch.split(flat(tensor), BLOCK) for tensor in (parameter, natural))
            for weights, values, block in zip(*parts, self._bit_blocks(natural), strict=True):
                _relax_block(weights, values, block, temperature)
            return
        self._run(_write_relaxed, parameter, natural, self._noise(natural), temperature)

    def _noise(self, pattern: Tensor) -> Tensor:
        """Return delta for each element of a tensor, in its dtype and layout."""
        return delta(self._bits(pattern), pattern.dtype)

    def _bits(self, pattern: Tensor) -> Tensor:
        """Return random int16, shaped and laid out like a tensor."""
        return random_bits(pattern, self.generator)

    def _bit_blocks(self, pattern: Tensor) -> Iterator[Tensor]:
        """Return the same in blocks; see ``bit_blocks``."""
        return bit_blocks(pattern, self.generator)

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


def relax(natural: Tensor, delta: Tensor, temperature: float) -> Tensor:
    """Return w = tanh((lambda + delta) / tau), in [-1, 1]."""
    return tanh(natural + delta, temperature)


def _write_relaxed(weight: Tensor, natural: Tensor, delta: Tensor, temperature: float) -> None:
    weight.copy_(relax(natural, delta, temperature))


def _relax_block(weight: Tensor, natural: Tensor, bits: Tensor, temperature: float) -> None:
    """Write the same in fewer passes."""
    total = delta(bits, natural.dtype).add_(natural)
    torch.copysign(abs_tanh(total, temperature), total, out=weight)


def entropy_bits(natural: Tensor) -> Tensor:
    """Return the entropy of the Bernoulli posterior of each weight, in bits, in [0, 1]."""
    field = 2 * natural.abs()
    tail = torch.sigmoid(-field)
    return (torch.log1p(torch.exp(-field)) + field * tail).nan_to_num_(nan=0.0) / math.log(2)
