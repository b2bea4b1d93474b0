"""Draws of w = +-1 from a Bernoulli posterior: only where the sign is not certain.

A draw turns the mode's sign with the probability sigmoid(-2 |lambda|), rounded to a multiple of
2^-16 (``noise``). It is at most 1/2, and 0 from |lambda| = 5.89 on: such weights are never drawn.
The rounded probabilities are computed in one pass over the weights, which all draws share until
lambda changes; they take two bytes a weight.
"""

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.kernels.chunks import alike, blocks, flat
from bnnrepro.optim.kernels.noise import LEVELS

MAX_LISTED = 4  # weights that are not certain are listed where they are at most numel // MAX_LISTED
_SIGN_BITS = {1: (torch.int8, 7), 2: (torch.int16, 15), 4: (torch.int32, 31), 8: (torch.int64, 63)}


class PosteriorDraws:
    """The probabilities of turning one parameter's weights.

    Args:
        natural: lambda.
        parameter: the weights, of lambda's shape.
    """

    def __init__(self, natural: Tensor, parameter: Parameter) -> None:
        self._natural, self._version = natural, natural._version
        self._thresholds = torch.empty_like(natural, dtype=torch.int16)
        for thresholds, part in blocks(self._thresholds, natural):
            _write_thresholds(thresholds, part)
        self._places: Tensor | None = None
        if natural.device.type == "cpu" and alike(natural, parameter):
            self._list()

    def _list(self) -> None:
        uncertain = flat(self._thresholds) > -LEVELS // 2
        if MAX_LISTED * int(torch.count_nonzero(uncertain)) <= len(uncertain):
            self._places = uncertain.nonzero().squeeze(1)
            self._thresholds = flat(self._thresholds)[self._places]

    def fit(self, natural: Tensor, parameter: Parameter) -> bool:
        """Return whether the probabilities are those of lambda as it is now."""
        same = self._natural is natural and self._version == natural._version
        return same and (self._places is None or alike(natural, parameter))

    @property
    def pattern(self) -> Tensor:
        """A tensor of the form of the random bits that a draw takes."""
        return self._thresholds

    def turn(self, parameter: Parameter, bits: Tensor) -> None:
        """Turn the signs of the mode that a draw turns.

        Args:
            parameter: holds the mode.
            bits: random int16 in the form of ``pattern``.
        """
        if self._places is None:
            for weights, *parts in blocks(parameter, bits, self._thresholds):
                _turn(weights, *parts)
        else:
            turned = self._places[bits < self._thresholds]
            weights = flat(parameter)
            weights.index_copy_(0, turned, weights.index_select(0, turned).neg_())


def _write_thresholds(thresholds: Tensor, natural: Tensor) -> None:
    """Write round(2^16 P(turn)) - 2^15: bits below it turn the sign, and none is below -2^15."""
    wide = natural.to(torch.promote_types(natural.dtype, torch.float32))
    turn = wide.abs().mul_(-2).sigmoid_().mul_(LEVELS).round_()
    thresholds.copy_(turn.sub_(LEVELS // 2))


def _turn(weights: Tensor, bits: Tensor, thresholds: Tensor) -> None:
    """Turn signs by their bits: a third of the time of a multiplication by +-1."""
    integer, place = _SIGN_BITS[weights.element_size()]
    turned = torch.lt(bits, thresholds).to(integer).bitwise_left_shift_(place)
    weights.view(integer).bitwise_xor_(turned)
