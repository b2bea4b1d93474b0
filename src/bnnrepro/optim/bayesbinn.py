"""BayesBiNN: the Bayesian learning rule on Bernoulli posteriors (Meng, Bachmann, Khan, ICML 2020).

Each binary weight has the posterior P(w = +1) = sigmoid(2 lambda) with the natural parameter
lambda (the weight's shape), mean mu = tanh(lambda). A training draw is the relaxation of equation
(9) of arXiv 2002.10778, and the step is the natural-gradient descent of equations (7) to (11):

    delta = log(e / (1 - e)) / 2,   e uniform in (0, 1)                           noise
    w  = tanh((lambda + delta) / tau)                                             relax
    s  = (1 - w^2 + 1e-10) / (tau (1 - mu^2 + 1e-10))                             scale
    m  <- beta m + (1 - beta) (N mean over draws(s g) + lambda - lambda_prior)
    lambda <- lambda - alpha m / (1 - beta^t)        descend, descend_with_momentum

with g the gradient of the mean loss at w and N the size of the training set. Prediction: the mode
sign(lambda), sign(0) = +1, or an average over draws of w = +-1 from the posterior (equation (26)).

float32 is part of the rule: tanh(10) is exactly 1 there, so at tau = 1e-10 the first step already
has s = 1e10, lambda grows to about 1e6, and from then on w = sign(lambda) for all but a few weights
in a million. ``kernels.relaxation`` makes use of it without changing a digit of the rule.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import (
    AtLeastOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    check_arguments,
)
from bnnrepro.optim.base import Group
from bnnrepro.optim.kernels.arithmetic import (
    abs_tanh,
    decay_and_subtract_,
    one_minus_,
    subtract_,
)
from bnnrepro.optim.kernels.compiling import Kernel
from bnnrepro.optim.kernels.relaxation import ActiveDraw, ActiveSets
from bnnrepro.optim.posterior import BernoulliPosterior, relax

SMOOTHING = 1e-10


class BayesBiNN(BernoulliPosterior):
    """Natural-gradient variational inference of binary weights.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: learning rate alpha of the natural parameters (Table 9: 1e-4 on MNIST, 3e-4 on CIFAR).
        train_set_size: number of training samples; with train_set_scale it makes N.
        temperature: tau of the relaxation.
        momentum: beta, momentum of the natural gradient.
        train_samples: S, Monte-Carlo samples of the weights in ``step(closure)``.
        prior: lambda_prior, one number for all weights; see also ``set_prior_to_posterior``.
        init: the natural parameters start at +init or -init, by the signs of the weights that the
            parameters hold; torch's own first weights have random signs, as the paper's.
        train_set_scale: factor of train_set_size; 10 with crops and flips (appendix B.2).
        stale_mean: take mu of s before the last step instead of now, as the authors' program does,
            first tanh of the first lambda; another rule where |lambda| is small.
        generator: source of every draw, and of the first signs where a weight is 0.
    """

    label = "BayesBiNN"

    def __init__(
        self,
        params: Any,
        lr: Positive = 1e-4,
        *,
        train_set_size: AtLeastOne,
        temperature: Positive = 1e-10,
        momentum: Fraction = 0.0,
        train_samples: Count = 1,
        prior: float = 0.0,
        init: NotNegative = 10.0,
        train_set_scale: Positive = 1.0,
        stale_mean: bool = False,
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
        check_arguments(BayesBiNN, {"stale_mean": stale_mean})
        self.stale_mean = stale_mean  # no group's: states older than it can be loaded
        self._drawn: dict[Parameter, ActiveDraw | None] = {}  # None: every weight was drawn
        self._active = ActiveSets()
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _forget(self) -> None:
        super()._forget()
        self._drawn, self._active = {}, ActiveSets()

    def _check(self, group: Group) -> None:
        super()._check(group)
        n = group["train_set_size"] * group["train_set_scale"]
        held = group["lr"] * n / group["temperature"] < torch.finfo(torch.float32).max
        if group["binary"] and not held:
            raise ValueError(
                f"lr={group['lr']}: times N / temperature it must be a number that float32 holds"
            )

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        natural, tau = self.state[parameter]["natural_parameter"], group["temperature"]
        here = train and not self.stale_mean  # else s is not 1 / tau far from zero
        draw = self._active.draw(parameter, natural, tau) if here else None
        if not train:
            self._sample(parameter)
        elif draw is None:
            self._relax(parameter, tau)
        else:
            draw.show(parameter, relax(draw.natural, self._noise(draw.natural), tau))
        self._drawn[parameter] = draw

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        """Multiply by s tau, which is 1 wherever the weight is not active; 1 / tau comes later."""
        natural, draw = self.state[parameter]["natural_parameter"], self._drawn[parameter]
        gradient = gradient.to(natural.dtype)  # they differ where the model's was changed later
        if draw is None:
            self._run(_weigh, gradient, parameter, self.state[parameter].get("stale", natural))
        else:
            draw.multiply(gradient, scale(draw.relaxed, draw.natural))
        return gradient

    def _restore(self, parameter: Parameter, group: Group) -> None:
        if parameter not in self._drawn:
            return
        draw = self._drawn.pop(parameter)
        if draw is None:
            self._show_mode(parameter, group)
        else:
            draw.restore(parameter)

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        group["steps"] += 1
        beta, tau = group["momentum"], group["temperature"]
        rate = group["lr"] / (1 - beta ** group["steps"])
        n_over_tau = group["train_set_size"] * group["train_set_scale"] / tau
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            natural = state["natural_parameter"]
            if self.stale_mean:
                state["stale"] = natural.clone()
            prior = state.get("prior", group["prior"] or None)
            if beta == 0:
                rule: Kernel = descend
                arguments = [prior, rate, rate * n_over_tau]
            else:
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(natural)
                rule = descend_with_momentum
                arguments = [state["momentum"], prior, rate, n_over_tau, 1 - beta]
            self._active.update(
                rule, parameter, natural, tau, gradient, *arguments, compile=self.compiled
            )


def scale(relaxed: Tensor, natural: Tensor) -> Tensor:
    """Return s tau = (1 - w^2 + 1e-10) / (1 - mu^2 + 1e-10), with mu = tanh(lambda)."""
    return _slack(relaxed.square()).div_(_slack(abs_tanh(natural).square_()))


def _slack(square: Tensor) -> Tensor:
    return one_minus_(square).add_(SMOOTHING)


def descend(
    natural: Tensor, gradient: Tensor, prior: Tensor | float | None, rate: float, data_rate: float
) -> None:
    """Subtract alpha (lambda - lambda_prior) + alpha N / tau gradient: the step at beta = 0.

    lambda - alpha lambda is not (1 - alpha) lambda: in float32 the latter loses a small alpha.
    """
    decay_and_subtract_(natural, gradient, rate, data_rate)
    if prior is not None:
        natural.add_(prior * rate)


def descend_with_momentum(
    natural: Tensor,
    gradient: Tensor,
    momentum: Tensor,
    prior: Tensor | float | None,
    rate: float,
    n_over_tau: float,
    fresh: float,
) -> None:
    """Average N / tau gradient + lambda - lambda_prior into m, and subtract alpha m."""
    natural_gradient = gradient.mul_(n_over_tau).add_(natural)
    if prior is not None:
        natural_gradient.sub_(prior)
    momentum.lerp_(natural_gradient, fresh)
    subtract_(natural, momentum, rate)


def _weigh(gradient: Tensor, relaxed: Tensor, natural: Tensor) -> None:
    gradient.mul_(scale(relaxed.to(natural.dtype), natural))
