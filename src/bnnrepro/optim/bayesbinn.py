"""BayesBiNN: the Bayesian learning rule on Bernoulli posteriors (Meng, Bachmann, Khan, ICML 2020).

Each binary weight has the posterior P(w = +1) = sigmoid(2 lambda) with the natural parameter
lambda (the weight's shape), mean mu = tanh(lambda). A training draw is the relaxation of equation
(9) of arXiv 2002.10778, and the step is the natural-gradient descent of equations (7) to (11):

    delta = log(e / (1 - e)) / 2,   e uniform in (0, 1)
    w  = tanh((lambda + delta) / tau)
    s  = (1 - w^2 + 1e-10) / (tau (1 - mu^2 + 1e-10))
    m  <- beta m + (1 - beta) (N mean over draws(s g) + lambda - lambda_prior)
    lambda <- lambda - alpha m / (1 - beta^t)

with g the gradient of the mean loss at w and N the size of the training set. Prediction: the mode
sign(lambda), sign(0) = +1, or an average over draws of w = +-1 from the posterior.

float32 is part of the rule: tanh(10) is exactly 1 there, so at tau = 1e-10 the first step already
has s = 1e10, lambda grows to about 1e6, and from then on w = sign(lambda) for all but a few weights
in a million. What follows makes use of it without changing a digit of the rule: e is a multiple of
2^-24 (float32), so |delta| <= 8.32, and where |lambda| > ``_reach`` neither the draw nor mu can
differ from the mode. There w is the mode, s is the constant 1/tau, and no noise is drawn. Weights
that are near become more in a long run (1.5 % after 25 epochs of MNIST), since those that a step
happens to leave there move slowly from then on: their s is small. ``Near`` lists them.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.optim.base import (
    BinaryOptimizer,
    Group,
    at_least_one,
    in_unit_interval,
    positive,
    sign_,
    signs_of,
)
from bnnrepro.optim.kernels.active_set import Near, mark
from bnnrepro.optim.kernels.chunks import alike, dense, flat, like
from bnnrepro.optim.kernels.compiling import Kernel

SMOOTHING = 1e-10


@dataclass
class Drawn:
    """What a training draw did to the weights that are near; all others stayed the mode."""

    places: Tensor  # of the near ones, ascending, in the order of memory
    natural: Tensor  # lambda there
    relaxed: Tensor  # the draw there
    turned: Tensor  # which of these differ from the mode


class BayesBiNN(BinaryOptimizer):
    """Natural-gradient variational inference of binary weights.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: alpha, > 0. Table 9: 1e-4 (MNIST), 3e-4 (CIFAR).
        train_set_size: number of training samples, >= 1; with train_set_scale it makes N.
        temperature: tau of the relaxation, > 0.
        momentum: beta, in [0, 1).
        train_samples: Monte-Carlo samples S of ``step(closure)``, >= 1.
        prior: lambda_prior, one number for all weights; see also ``set_prior_to_posterior``.
        init: the natural parameters start at +init or -init, >= 0, by the signs of the weights
            that the parameters hold; torch's own first weights have random signs, as the paper's.
        train_set_scale: factor on train_set_size, > 0; 10 with crops and flips (appendix B.2).
        generator: source of every draw, and of the first signs where a weight is 0.
    """

    has_posterior = True

    def __init__(
        self,
        params: Any,
        lr: float,
        train_set_size: int,
        temperature: float = 1e-10,
        momentum: float = 0.0,
        train_samples: int = 1,
        prior: float = 0.0,
        init: float = 10.0,
        train_set_scale: float = 1.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "train_set_size": train_set_size,
            "temperature": temperature,
            "momentum": momentum,
            "prior": prior,
            "init": init,
            "train_set_scale": train_set_scale,
            "steps": 0,
        }
        self._drawn: dict[Parameter, Drawn | None] = {}
        self._near: dict[Parameter, Near] = {}
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is known of the natural parameters: a copy's are other tensors."""
        return super().__getstate__() | {"_near": {}}

    def _forget(self) -> None:
        super()._forget()
        self._drawn, self._near = {}, {}

    def _check(self, group: Group) -> None:
        for name in ("lr", "temperature", "train_set_scale"):
            positive(name, group[name])
        at_least_one("train_set_size", group["train_set_size"])
        in_unit_interval("momentum", group["momentum"])
        if not math.isfinite(group["prior"]):
            raise ValueError(f"prior={group['prior']}: must be a finite number")
        if not _data_rate(group) < torch.finfo(torch.float32).max:
            raise ValueError(
                f"lr={group['lr']}: times N / temperature it must be a number that float32 holds"
            )
        if not 0 <= group["init"] < math.inf:
            raise ValueError(f"init={group['init']}: must be a finite number >= 0")

    def _start(self, parameter: Parameter, group: Group) -> None:
        dtype = torch.float32 if parameter.dtype == torch.float16 else None  # 1e-10 is 0 in it
        signs = signs_of(parameter, self.generator).to(dtype or parameter.dtype)
        self.state[parameter]["natural_parameter"] = signs.mul_(group["init"])
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["natural_parameter"])

    # -- draws ------------------------------------------------------------------------------

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        natural = self.state[parameter]["natural_parameter"]
        if not train:
            parameter.copy_(torch.sigmoid(2 * natural))
            parameter.bernoulli_(parameter.clone(), generator=self.generator).mul_(2).sub_(1)
            self._drawn[parameter] = None
            return
        places = self._near_places(parameter, natural, group["temperature"])
        if places is None:
            uniform = self._uniform(natural)
            self._run(_draw, parameter, natural, uniform, group["temperature"])
            self._drawn[parameter] = None
            return
        chosen = flat(natural).index_select(0, places)
        relaxed = relax(chosen, noise(self._uniform(chosen)), group["temperature"])
        turned = (relaxed != sign_(torch.empty_like(chosen), chosen)).nonzero().squeeze(1)
        self._write(parameter, places[turned], relaxed[turned])
        self._drawn[parameter] = Drawn(places, chosen, relaxed, turned)

    @staticmethod
    def _write(target: Tensor, places: Tensor, values: Tensor) -> None:
        flat(target).index_copy_(0, places, values.to(target.dtype))

    def _uniform(self, pattern: Tensor) -> Tensor:
        """Return uniforms in [0, 1), shaped and laid out like a tensor."""
        drawn = torch.rand(
            pattern.shape, generator=self.generator, dtype=pattern.dtype, device=pattern.device
        )
        return like(drawn, pattern)

    def _near_places(
        self, parameter: Parameter, natural: Tensor, temperature: float
    ) -> Tensor | None:
        """Return where a draw may differ from the mode, int64 places in the order of memory.

        None stands for 'treat every weight so', which gives the others the mode too.
        """
        if not self._seeks(parameter, natural):
            return None
        return self._watched(parameter, natural, temperature).places()

    def _watched(self, parameter: Parameter, natural: Tensor, temperature: float) -> Near:
        near, reach = self._near.get(parameter), _reach(natural.dtype, temperature)
        if near is None or near.values is not natural or near.reach != reach:
            near = self._near[parameter] = Near(natural, reach)
        return near

    @staticmethod
    def _seeks(parameter: Parameter, natural: Tensor) -> bool:
        """Return whether it is worth knowing which weights are near.

        Not on a GPU: to know it is to wait for the device in every step.
        """
        on_cpu = natural.device.type == "cpu"
        return on_cpu and natural.numel() > 0 and alike(parameter, natural)

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        """Multiply by s tau, which is 1 wherever the weight is not near; 1 / tau comes later."""
        natural = self.state[parameter]["natural_parameter"]
        gradient = gradient.to(natural.dtype)  # they differ where the model's was changed later
        drawn = self._drawn[parameter]
        if drawn is None:
            self._run(_weigh, gradient, parameter, natural)
        elif len(drawn.places):
            part = flat(gradient).index_select(0, drawn.places)
            part.mul_(scale(drawn.relaxed, drawn.natural))
            self._write(gradient, drawn.places, part)
        return gradient

    def _restore(self, parameter: Parameter, group: Group) -> None:
        if parameter not in self._drawn:
            return
        drawn = self._drawn.pop(parameter)
        if drawn is None:
            self._show_mode(parameter, group)
            return
        chosen = drawn.natural[drawn.turned]
        mode = sign_(torch.empty_like(chosen), chosen)
        self._write(parameter, drawn.places[drawn.turned], mode)

    # -- the update -------------------------------------------------------------------------

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        group["steps"] += 1
        beta = group["momentum"]
        rate = group["lr"] / (1 - beta ** group["steps"])
        data = group["train_set_size"] * group["train_set_scale"] / group["temperature"]
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            natural = state["natural_parameter"]
            prior = state.get("prior", group["prior"] or None)
            marks = self._seeks(parameter, natural) and not self.compiled  # slow, compiled
            arguments: list[Any] = [parameter, natural, gradient]
            if beta == 0:
                kernel: Kernel = _descend_and_mark if marks else _descend
                arguments += [prior, rate, rate * data]
            else:
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(natural)
                kernel = _average_and_mark if marks else _average
                arguments += [state["momentum"], prior, rate, data, 1 - beta]
            if marks:
                near = self._watched(parameter, natural, group["temperature"])
                self._run(kernel, near.marks, *arguments, near.reach)
                near.marked()
            else:
                self._run(kernel, *arguments)

    # -- the posterior ----------------------------------------------------------------------

    def probabilities(self) -> dict[Parameter, Tensor]:
        """Return P(w = +1) of every binary parameter, in [0, 1], each of its parameter's shape."""
        self._take_up_weights()
        return {
            parameter: torch.sigmoid(2 * self.state[parameter]["natural_parameter"])
            for parameter, _ in self._binary_with_state()
        }

    @torch.no_grad()
    def set_prior_to_posterior(self) -> None:
        """Make a copy of the present posterior the prior of what follows (section 4.3)."""
        self._take_up_weights()
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


def _data_rate(group: Group) -> float:
    """Return alpha N / tau, the factor of the gradient where no weight is near."""
    size = group["train_set_size"] * group["train_set_scale"]
    return float(group["lr"] * size / group["temperature"])


def noise(uniform: Tensor) -> Tensor:
    """Return delta = log(e / (1 - e)) / 2, with e kept off 0 and 1; works in e's memory."""
    smallest = torch.finfo(uniform.dtype).eps / 2
    return uniform.clamp_(smallest, 1 - smallest).logit_().mul_(0.5)


def relax(natural: Tensor, delta: Tensor, temperature: float) -> Tensor:
    """Return tanh((lambda + delta) / tau), in [-1, 1]; works in delta's memory."""
    return delta.add_(natural).div_(temperature).tanh_()


def scale(relaxed: Tensor, natural: Tensor) -> Tensor:
    """Return s tau = (1 - w^2 + 1e-10) / (1 - mu^2 + 1e-10), with mu = tanh(lambda)."""
    slack = natural.tanh().square_().neg_().add_(1).add_(SMOOTHING)
    return relaxed.square().neg_().add_(1).add_(SMOOTHING).div_(slack)


def entropy_bits(natural: Tensor) -> Tensor:
    """Return the entropy of the Bernoulli posterior of each weight, in bits, in [0, 1]."""
    field = 2 * natural.abs()
    tail = torch.sigmoid(-field)
    return (torch.log1p(torch.exp(-field)) + field * tail).nan_to_num_(nan=0.0) / math.log(2)


def _reach(dtype: torch.dtype, temperature: float) -> float:
    """Return the |lambda| from which a draw equals the mode and s tau equals 1, exactly.

    |delta| is at most log((1 - u) / u) / 2 with u = eps / 2, and tanh of the dtype is exactly 1
    from about log(4 / eps) / 2 on; log(16 / eps) / 2 leaves room for the library's rounding.
    """
    eps = torch.finfo(dtype).eps
    saturation = math.log(16 / eps) / 2
    return max(math.log(2 / eps) / 2 + saturation * temperature, saturation)


# -- kernels: what is done to every weight; tensors first, numbers after them ---------------------


def _draw(weight: Tensor, natural: Tensor, uniform: Tensor, temperature: float) -> None:
    weight.copy_(relax(natural, noise(uniform), temperature))


def _weigh(gradient: Tensor, relaxed: Tensor, natural: Tensor) -> None:
    gradient.mul_(scale(relaxed.to(natural.dtype), natural))


def _follow(natural: Tensor, gradient: Tensor, rate: float, data_rate: float) -> None:
    """Subtract rate lambda + data_rate gradient.

    Both at once, where it can be, by torch's kernel of a gradient step with weight decay. It never
    looks at strides, leaves reduced precision alone without a word, does not count what it changes,
    and adds the decay to the gradient before it scales the sum, which a decay that float32 flushes
    to zero would not survive.
    """
    on_cpu = natural.device.type == "cpu" and not torch.compiler.is_compiling()
    exact = natural.dtype == gradient.dtype and natural.dtype in (torch.float32, torch.float64)
    if not (on_cpu and exact and dense(natural) and rate > 1e-30 * data_rate):
        _subtract(natural, natural, rate)
        _subtract(natural, gradient, data_rate)
        return
    torch._fused_sgd_(
        [natural],
        [like(gradient, natural)],
        [],
        weight_decay=rate / data_rate,
        lr=data_rate,
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )
    torch.autograd.graph.increment_version(natural)


def _subtract(target: Tensor, operand: Tensor, factor: Tensor | float) -> None:
    """Subtract factor times operand, in one pass where the factor is a number."""
    if isinstance(factor, Tensor):
        target.sub_(operand * factor)
    else:
        target.sub_(operand, alpha=factor)


def _descend(
    weight: Tensor,
    natural: Tensor,
    gradient: Tensor,
    prior: Tensor | float | None,
    rate: float,
    data_rate: float,
) -> None:
    """Follow the natural gradient at beta = 0.

    lambda - alpha lambda is not (1 - alpha) lambda: in float32 the latter loses a small alpha.
    """
    _follow(natural, gradient, rate, data_rate)
    if prior is not None:
        natural.add_(prior * rate)
    sign_(weight, natural)


def _average(
    weight: Tensor,
    natural: Tensor,
    gradient: Tensor,
    average: Tensor,
    prior: Tensor | float | None,
    rate: float,
    data: float,
    fresh: float,
) -> None:
    """Follow the natural gradient's moving average."""
    natural_gradient = gradient.mul_(data).add_(natural)
    if prior is not None:
        natural_gradient.sub_(prior)
    average.lerp_(natural_gradient, fresh)
    _subtract(natural, average, rate)
    sign_(weight, natural)


def _descend_and_mark(
    marks: Tensor, weight: Tensor, natural: Tensor, gradient: Tensor, *numbers: Any
) -> None:
    _descend(weight, natural, gradient, *numbers[:-1])
    mark(marks, natural, numbers[-1])


def _average_and_mark(
    marks: Tensor, weight: Tensor, natural: Tensor, gradient: Tensor, average: Tensor, *more: Any
) -> None:
    _average(weight, natural, gradient, average, *more[:-1])
    mark(marks, natural, more[-1])
