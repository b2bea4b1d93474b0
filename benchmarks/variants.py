"""Deviations of published programs from the rules, which `benchmarks/traps.py` measures."""

import math

from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim import PMF, STE, BayesBiNN
from bnnrepro.optim.base import Group
from bnnrepro.optim.bayesbinn import scale
from bnnrepro.optim.posterior import relax


class Float64(BayesBiNN):
    """The rule in float64 on float32 weights; tanh(10) is not 1 in float64."""

    def _start(self, parameter: Parameter, group: Group) -> None:
        super()._start(parameter, group)
        state = self.state[parameter]
        state["natural_parameter"] = state["natural_parameter"].double()

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        natural = self.state[parameter]["natural_parameter"]
        self._drawn[parameter] = None
        if train:
            relaxed = relax(natural, self._noise(natural), group["temperature"])
            self.state[parameter]["relaxed"] = relaxed
            parameter.copy_(relaxed)
        else:
            super()._perturb(parameter, group, train)

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        state = self.state[parameter]
        return gradient.double() * scale(state.pop("relaxed"), state["natural_parameter"])


class GlorotSTE(STE):
    """The authors' initial weights: uniform within sqrt(1.5 / (fan in + fan out))."""

    def _start(self, parameter: Parameter, group: Group) -> None:
        bound = math.sqrt(1.5 / (parameter.shape[0] + math.prod(parameter.shape[1:])))
        parameter.detach().uniform_(-bound, bound, generator=self.generator)
        super()._start(parameter, group)


class PublishedPMF(PMF):
    """The published program's gradient: beta (I - v v^T) at v = softmax(beta u) for the Jacobian.

    The weights are the rule's, from u = softmax(beta theta); half the difference of the two logits'
    gradients is handed to both.
    """

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        once = (group["beta"] * self.state[parameter]["logits"]).softmax(0)
        plus, minus = (group["beta"] * once).softmax(0)
        return group["beta"] * gradient * (1 - (plus - minus).square() / 2)
