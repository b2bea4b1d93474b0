"""Deviations of published programs from the rules, which `benchmarks/traps.py` measures."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim import PMF, STE, BayesBiNN
from bnnrepro.optim.base import Group
from bnnrepro.optim.bayesbinn import noise, relax, scale


class StaleMu(BayesBiNN):
    """The authors' program: s with the previous step's mean (0 at the first step)."""

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        if not train:
            super()._perturb(parameter, group, train)
            return
        natural = self.state[parameter]["natural_parameter"]
        self._drawn[parameter] = None
        parameter.copy_(relax(natural, noise(self._uniform(natural)), group["temperature"]))

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        state = self.state[parameter]
        stale = state.get("stale", torch.zeros_like(parameter))
        state["stale"] = state["natural_parameter"].clone()
        return gradient.mul_(scale(parameter, stale))


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
            relaxed = relax(natural, noise(self._uniform(natural)), group["temperature"])
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


class DoubleSoftmaxPMF(PMF):
    """The published program: softmax of the softmax, and 1 instead of the Jacobian's diag(u).

    With u = softmax(beta theta) and v = softmax(beta u): w = v_plus - v_minus; the gradient that
    reaches theta takes each softmax's Jacobian as beta (I - u u^T).
    """

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        if train:
            state: dict[str, Any] = self.state[parameter]
            state["once"] = (group["beta"] * state["logits"]).softmax(0)
            state["twice"] = (group["beta"] * state["once"]).softmax(0)
            parameter.copy_(state["twice"][0] - state["twice"][1])

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        state = self.state[parameter]
        flow = torch.stack([gradient, -gradient])
        for probabilities in (state.pop("twice"), state.pop("once")):
            inner = (probabilities * flow).sum(0, keepdim=True)
            flow = group["beta"] * (flow - probabilities * inner)
        return (flow[0] - flow[1]) / 2
