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
differ from the mode. There w is the mode, s is the constant 1/tau, and no noise is drawn.
"""

import math
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
    random_signs_,
    sign_,
)

SMOOTHING = 1e-10
Index = tuple[Tensor, ...]


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
        init: the natural parameters start at +init or -init at random, >= 0.
        train_set_scale: factor on train_set_size, > 0; 10 with crops and flips (appendix B.2).
        generator: source of the first signs and of every draw.
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
        self._near: dict[Parameter, Index | None] = {}
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

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
        signs = random_signs_(torch.empty_like(parameter), self.generator)
        self.state[parameter]["natural_parameter"] = signs.mul_(group["init"])
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        sign_(parameter, self.state[parameter]["natural_parameter"])

    # -- draws ------------------------------------------------------------------------------

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        natural = self.state[parameter]["natural_parameter"]
        if not train:
            parameter.copy_(torch.sigmoid(2 * natural))
            parameter.bernoulli_(parameter.clone(), generator=self.generator).mul_(2).sub_(1)
            self._near[parameter] = None
            return
        near = self._near[parameter] = _near(natural, group["temperature"])
        if near is None:
            parameter.copy_(relax(natural, self._noise(natural), group["temperature"]))
        elif len(near[0]):
            chosen = natural[near]
            parameter[near] = relax(chosen, self._noise(chosen), group["temperature"])

    def _noise(self, like: Tensor) -> Tensor:
        smallest = torch.finfo(like.dtype).eps / 2
        uniform = torch.rand(
            like.shape, generator=self.generator, dtype=like.dtype, device=like.device
        )
        return uniform.clamp_(smallest, 1 - smallest).logit_().mul_(0.5)

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        """Multiply by s tau, which is 1 wherever the weight is not near; 1 / tau comes later."""
        natural = self.state[parameter]["natural_parameter"]
        near = self._near[parameter]
        if near is None:
            gradient.mul_(scale(parameter, natural))
        elif len(near[0]):
            gradient[near] *= scale(parameter[near], natural[near])
        return gradient

    def _restore(self, parameter: Parameter, group: Group) -> None:
        near = self._near.pop(parameter, ())
        natural = self.state[parameter]["natural_parameter"]
        if near is None:
            sign_(parameter, natural)
        elif near and len(near[0]):
            parameter[near] = torch.where(natural[near] >= 0, 1.0, -1.0).to(parameter.dtype)

    # -- the update -------------------------------------------------------------------------

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        group["steps"] += 1
        beta = group["momentum"]
        rate = group["lr"] / (1 - beta ** group["steps"])
        data = group["train_set_size"] * group["train_set_scale"] / group["temperature"]
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            natural = state["natural_parameter"]
            if beta > 0:
                self._follow_momentum(state, gradient.mul_(data), group, rate)
            else:
                self._follow_gradient(state, gradient, data, group, rate)
            sign_(parameter, natural)

    def _follow_momentum(
        self, state: dict[str, Any], data_term: Tensor, group: Group, rate: float
    ) -> None:
        natural = state["natural_parameter"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(natural)
        prior: Tensor | float = state["prior"] if "prior" in state else group["prior"]
        natural_gradient = data_term.add_(natural).sub_(prior)
        state["momentum"].lerp_(natural_gradient, 1 - group["momentum"])
        natural.sub_(state["momentum"], alpha=rate)

    def _follow_gradient(
        self, state: dict[str, Any], gradient: Tensor, data: float, group: Group, rate: float
    ) -> None:
        """Do the same for beta = 0 in two passes, without a natural gradient in memory.

        lambda - alpha lambda is not (1 - alpha) lambda: in float32 the latter loses a small alpha.
        """
        natural = state["natural_parameter"]
        natural.add_(natural, alpha=-rate).add_(gradient, alpha=-rate * data)
        if "prior" in state:
            natural.add_(state["prior"], alpha=rate)
        elif group["prior"]:
            natural.add_(rate * group["prior"])

    # -- the posterior ----------------------------------------------------------------------

    def probabilities(self) -> dict[Parameter, Tensor]:
        """Return P(w = +1) of every binary parameter, in [0, 1], each of its parameter's shape."""
        return {
            parameter: torch.sigmoid(2 * self.state[parameter]["natural_parameter"])
            for parameter, _ in self._binary_with_state()
        }

    @torch.no_grad()
    def set_prior_to_posterior(self) -> None:
        """Make a copy of the present posterior the prior of what follows (section 4.3)."""
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
            lambda state, group: state["natural_parameter"].abs() >= bound
        )
        figures["entropy_bits"] = self._mean_over_weights(
            lambda state, group: entropy_bits(state["natural_parameter"])
        )
        return figures


def _data_rate(group: Group) -> float:
    """Return alpha N / tau, the factor of the gradient where no weight is near."""
    size = group["train_set_size"] * group["train_set_scale"]
    return float(group["lr"] * size / group["temperature"])


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


def _near(natural: Tensor, temperature: float) -> Index | None:
    """Return where a draw may differ from the mode; None for 'treat every weight so'.

    An index is worth its cost on a CPU only while few weights are near; on a GPU it would wait for
    the device in every step, so there every weight is drawn. Few weights are near in few rows
    only, and a row's minimum is found much faster than the places in it.
    """
    if natural.device.type != "cpu" or natural.dim() == 0 or natural.numel() == 0:
        return None
    reach = _reach(natural.dtype, temperature)
    smallest = natural.abs()
    if natural.dim() > 1:
        smallest = smallest.amin(tuple(range(1, natural.dim())))
    rows = (smallest <= reach).nonzero().squeeze(1)
    row, *rest = (natural[rows].abs() <= reach).nonzero(as_tuple=True)
    if len(row) > natural.numel() // 16:
        return None
    return rows[row], *rest
