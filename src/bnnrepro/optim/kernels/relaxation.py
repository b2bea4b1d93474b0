"""BayesBiNN's noise at the weights that it can turn, and no work at the others.

|delta| is at most 5.89 (``noise``), and where |lambda| > ``reach`` neither the draw nor mu can
differ from the mode. There w is the mode, s tau is 1, and no noise is
drawn. The other weights are active. They become more in a long run (1.5 % after 25 epochs of
MNIST), since those that a step happens to leave near zero move slowly from then on: their s is
small.
"""

import math
from functools import cache, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.kernels.active_set import ActiveSet, mark
from bnnrepro.optim.kernels.arithmetic import sign_
from bnnrepro.optim.kernels.chunks import alike, flat
from bnnrepro.optim.kernels.compiling import Kernel, run
from bnnrepro.optim.kernels.noise import largest


def reach(dtype: torch.dtype, temperature: float) -> float:
    """Return the |lambda| from which a draw equals the mode and s tau equals 1, exactly.

    tanh of the dtype is exactly 1 from log(8 / eps) / 2 on; log(16 / eps) / 2 leaves room for the
    library's rounding.
    """
    saturation = math.log(16 / torch.finfo(dtype).eps) / 2
    return max(largest(dtype) + saturation * temperature, saturation)


class ActiveDraw:
    """A draw of one parameter's active weights; all others keep the mode.

    Args:
        natural: natural parameters, in the layout of the parameter.
        places: int64 places of the active ones, ascending, in the order of memory.
    """

    def __init__(self, natural: Tensor, places: Tensor) -> None:
        self.places = places
        self.natural = flat(natural).index_select(0, places)

    def show(self, parameter: Parameter, relaxed: Tensor) -> None:
        """Write the draw, a value for each active weight, into the parameter."""
        mode = sign_(torch.empty_like(self.natural), self.natural)
        turned = np.flatnonzero((relaxed != mode).numpy())  # torch's takes four times as long
        self.relaxed, self.turned = relaxed, torch.from_numpy(turned)
        self._write_turned(parameter, relaxed)

    def multiply(self, gradient: Tensor, factors: Tensor) -> None:
        """Multiply the gradient of the active weights by a factor each."""
        if len(self.places):
            part = flat(gradient).index_select(0, self.places)
            _write(gradient, self.places, part.mul_(factors))

    def restore(self, parameter: Parameter) -> None:
        """Write the mode over the draw."""
        self._write_turned(parameter, sign_(torch.empty_like(self.natural), self.natural))

    def _write_turned(self, parameter: Parameter, weights: Tensor) -> None:
        places, values = (t.index_select(0, self.turned) for t in (self.places, weights))
        _write(parameter, places, values)


class ActiveSets:
    """The active weights of an optimizer's parameters, kept up to date from step to step."""

    def __init__(self) -> None:
        self._sets: dict[Parameter, ActiveSet] = {}

    def __reduce__(self) -> tuple[type["ActiveSets"], tuple[()]]:
        """Leave the sets out of copies: a copy's natural parameters are other tensors."""
        return ActiveSets, ()

    def draw(self, parameter: Parameter, natural: Tensor, temperature: float) -> ActiveDraw | None:
        """Return a draw of the active weights alone; None where all are to be drawn."""
        if not self.pays(parameter, natural):
            return None
        places = self._of(parameter, natural, temperature).places()
        return None if places is None else ActiveDraw(natural, places)

    def update(
        self,
        rule: Kernel,
        parameter: Parameter,
        natural: Tensor,
        temperature: float,
        *arguments: Any,
        compile: bool,
    ) -> None:
        """Run a rule on the natural parameter, show the new mode, and mark the active weights.

        Args:
            rule: changes the natural parameter, its first argument, in place.
            parameter: takes the mode.
            natural: the natural parameter.
            temperature: tau of the next draws.
            arguments: further arguments of the rule, tensors first.
            compile: whether the rule runs compiled; marks are slow compiled, and are left out.
        """
        active = None
        if not compile and self.pays(parameter, natural):
            active = self._of(parameter, natural, temperature)
        if active is None or active.crowded:
            run(_showing(rule), parameter, natural, *arguments, compile=compile)
            return
        kernel = _marking(rule)
        run(kernel, active.marks, parameter, natural, *arguments, active.reach, compile=False)
        active.marked()

    def _of(self, parameter: Parameter, natural: Tensor, temperature: float) -> ActiveSet:
        active, bound = self._sets.get(parameter), reach(natural.dtype, temperature)
        if active is None or active.values is not natural or active.reach != bound:
            active = self._sets[parameter] = ActiveSet(natural, bound)
        return active

    @staticmethod
    def pays(parameter: Parameter, natural: Tensor) -> bool:
        """Return whether it is worth knowing which weights are active.

        Not on a GPU: to know it is to wait for the device in every step.
        """
        on_cpu = natural.device.type == "cpu"
        return on_cpu and natural.numel() > 0 and alike(parameter, natural)


@cache
def _showing(rule: Kernel) -> Kernel:
    @wraps(rule)
    def kernel(weight: Tensor, natural: Tensor, *arguments: Any) -> None:
        rule(natural, *arguments)
        sign_(weight, natural)

    return kernel


@cache
def _marking(rule: Kernel) -> Kernel:
    def kernel(marks: Tensor, weight: Tensor, natural: Tensor, *arguments: Any) -> None:
        _showing(rule)(weight, natural, *arguments[:-1])
        mark(marks, natural, arguments[-1])

    return kernel


def _write(target: Tensor, places: Tensor, values: Tensor) -> None:
    flat(target).index_copy_(0, places, values.to(target.dtype))
