"""AdaSTE: an adaptive straight-through estimator (Le, Hoier, Lin, Zach 2022, arXiv 2112.02880).

Binary training as a bilevel problem. The weights minimise a double well that theta tilts,

    E(w; theta) = (1 + mu) w^2 / 2 - w theta - mu (1 + a) |w|     on [-1, 1]
    w = s(theta) = clip((theta + mu (1 + a) sign theta) / (1 + mu), -1, 1)

which is the weight of the training passes: +-1 from |theta| = 1 - mu a on, and sign(theta)
everywhere once mu a reaches 1. The gradient for theta is the finite difference c g = (s(theta) -
s(theta - b g)) / b, whose step b is chosen for each weight such that a step towards zero crosses
the jump of s. Prediction is by sign(theta). Two variants:

``bilevel``, the factor that follows from this, with J = min(1, mu (1 + a) / (1 + mu)) half
the jump of s at 0:

    theta g <= 0 (away from 0)    c = 0 where |theta| >= 1 - mu a, else 1 / (1 + mu)
    theta g >  0 (towards 0)      c = min((|s(theta)| + J) / |theta|, boost)
    theta <- Adam(theta, c g)     theta starts at the parameter's values, clipped to [-1, 1]

``program``, what made the published figures, with N the images times ``train_set_scale``:

    |g| <= cut                                c = 1 / (1 + mu), or 1 once mu a >= 1
    |g| > cut, mu a < 1:
      theta g < 0, |theta| > 1 - mu a         c = 0;   inside: 1 / (1 + mu)
      theta g > 0, |theta| > 1 - mu a         c = min(1/2, (1 + 2 mu + mu a) / ((1 + mu) |theta|))
      theta g > 0, inside                     c = min(1/2, max(0, (2 mu (1 + a) - theta)
                                                                 / ((1 + mu) |theta|)))
    |g| > cut, mu a >= 1:
      theta g < 0                             c = 0
      theta g > 0                             c = min(1/2, 1 / |theta|)
    m <- rho m + (1 - rho) (N^2 c g + theta),   theta <- theta - lr m / (1 - rho^t)

mu grows geometrically from 0.01 to 1 / a. The program lets it grow by 5 % an epoch, which takes 189
of its 700; here it reaches 1 / a at a given share of training. Of the program are also N squared,
the cut at the mean loss's gradient, and "- theta" where the derivation has |theta|: +1 and -1 are
treated differently. N^2 lr g is so large that |theta| is 1e4 and more from the second step on, so
w = sign(theta) in effect and the program is Bop at threshold 0 whose newest gradients weigh c.

State: theta, of the parameter's shape; the average m with momentum, or Adam's two moments.
"""

import math
from functools import cache, wraps
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import AtLeastOne, Betas, Count, Fraction, NotNegative, Positive, Share
from bnnrepro.optim.adam import adam_
from bnnrepro.optim.base import Group, sign_, signs_of
from bnnrepro.optim.bayesbinn import descend, descend_with_momentum
from bnnrepro.optim.kernels.compiling import Kernel
from bnnrepro.optim.soft import SoftWeights, share_done

FIRST_MU = 0.01


class AdaSTE(SoftWeights):
    """Straight-through estimation by finite differences of a double well's minimiser.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: learning rate: of the averaged step (program), or Adam's (bilevel).
        train_set_size: number of training samples; with train_set_scale it makes N.
        total_steps: steps of the whole run, along which mu grows.
        variant: program: the published program's rule; bilevel: the derivation's, with Adam.
        alpha: a of the double well.
        annealing: share of training after which mu is 1 / alpha and w is sign(theta); null: at
            once.
        momentum: rho of the averaged step (program).
        cut: larger elements of a gradient are cut or weakened (program); null: none is.
        init: theta starts at +init or -init, by the signs of the weights held (program).
        train_set_scale: factor of train_set_size (program).
        boost: largest factor c (bilevel).
        betas: decay rates of Adam's two moments (bilevel).
        eps: Adam's epsilon (bilevel).
        train_samples: draws of ``step(closure)``; all are alike, the method has no noise.
        generator: source of the first signs where a weight is 0.
    """

    label = "AdaSTE"
    label_key = "variant"

    def __init__(
        self,
        params: Any,
        lr: Positive = 3e-4,
        *,
        train_set_size: AtLeastOne,
        total_steps: Count,
        variant: Literal["program", "bilevel"] = "program",
        alpha: Share = 0.01,
        annealing: Share | None = 0.27,
        momentum: Fraction = 0.9,
        cut: Positive | None = 1e-3,
        init: NotNegative = 10.0,
        train_set_scale: Positive = 10.0,
        boost: Positive = 10.0,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "train_set_size": train_set_size,
            "total_steps": total_steps,
            "variant": variant,
            "alpha": alpha,
            "annealing": annealing,
            "momentum": momentum,
            "cut": cut,
            "init": init,
            "train_set_scale": train_set_scale,
            "boost": boost,
            "betas": tuple(betas),
            "eps": eps,
        }
        self._above: dict[Parameter, list[Tensor]] = {}  # elements above the cut, last step
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not group["binary"]:
            return
        n = group["train_set_size"] * group["train_set_scale"]
        if not group["lr"] * n * n < torch.finfo(torch.float32).max:
            raise ValueError(f"lr={group['lr']}: times N^2 it must be a number that float32 holds")

    def _forget(self) -> None:
        super()._forget()
        self._above = {}

    def _start(self, parameter: Parameter, group: Group) -> None:
        if group["variant"] == "bilevel":
            latent = parameter.detach().clamp(-1, 1)
        else:
            dtype = torch.float32 if parameter.dtype == torch.float16 else parameter.dtype
            latent = signs_of(parameter, self.generator).to(dtype).mul_(group["init"])
        self.state[parameter]["latent"] = latent
        self._show_mode(parameter, group)

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        self._run(sign_, parameter, self.state[parameter]["latent"])

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        if not is_hard(group):  # then the mode is there already
            super()._perturb(parameter, group, train)

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        self._run(
            minimise, parameter, self.state[parameter]["latent"], mu_of(group), group["alpha"]
        )

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        program, hard = group["variant"] == "program", is_hard(group)
        states = [self.state[p] for p in params]
        latents = [state["latent"] for state in states]
        gradients = [g.to(u.dtype) for g, u in zip(gradients, latents, strict=True)]
        well = mu_of(group), group["alpha"]
        group["steps"] += 1
        if program:
            self._descend(params, gradients, group, weaken_hard if hard else weaken, *well)
            return
        rule = amplify_hard if hard else amplify
        for gradient, latent in zip(gradients, latents, strict=True):
            self._run(rule, gradient, latent, *well, group["boost"])
        adam_(latents, gradients, states, {**group, "weight_decay": 0.0})
        for parameter in params:
            self._show_mode(parameter, group)

    def _descend(
        self,
        params: list[Parameter],
        gradients: list[Tensor],
        group: Group,
        weigh: Kernel,
        mu: float,
        alpha: float,
    ) -> None:
        """Take BayesBiNN's step, with N^2 c g for its data's part and no prior."""
        rho = group["momentum"]
        rate = group["lr"] / (1 - rho ** group["steps"])
        squared = (group["train_set_size"] * group["train_set_scale"]) ** 2
        cut = math.inf if group["cut"] is None else group["cut"]
        numbers = mu, alpha, cut, rate, squared
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            tensors = [parameter, gradient, state["latent"]]
            if rho:
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(state["latent"])
                rule = _averaged(weigh)
                tensors.append(state["momentum"])
                self._above[parameter] = self._run(rule, *tensors, *numbers, 1 - rho)
            else:
                self._above[parameter] = self._run(_plain(weigh), *tensors, *numbers)

    def diagnostics(self) -> dict[str, float]:
        """Add ``mu``, and ``above_cut``: the share of the last step's elements above the cut.

        ``above_cut`` is of the program alone; 0 before the first step.
        """
        figures = super().diagnostics()
        binary = [group for group in self.param_groups if group["binary"]]
        figures["mu"] = max(map(mu_of, binary), default=0.0)
        if any(group["variant"] == "program" for group in binary):
            total = sum(parameter.numel() for parameter in self._above)
            above = sum(float(count) for counts in self._above.values() for count in counts)
            figures["above_cut"] = above / total if total else 0.0
        return figures


def is_hard(group: Group) -> bool:
    """Return whether mu has reached 1 / alpha, from where on w = sign(theta)."""
    return group["annealing"] is None or share_done(group, group["annealing"]) == 1


def mu_of(group: Group) -> float:
    """Return mu of the next draw: geometric from 0.01 to 1 / alpha."""
    last = 1 / group["alpha"]
    if is_hard(group):
        return float(last)
    return float(FIRST_MU * (last / FIRST_MU) ** share_done(group, group["annealing"]))


def minimise(weight: Tensor, latent: Tensor, mu: float, alpha: float) -> None:
    """Write the double well's minimiser, w = s(theta)."""
    sign_(weight, latent).mul_(mu * (1 + alpha)).add_(latent).div_(1 + mu).clamp_(-1, 1)


# The kernels choose by lerp, whose ends are exact, between numbers that are 0 or 1: masks of
# another dtype take several times as long.


@cache
def _plain(weigh: Kernel) -> Kernel:
    @wraps(weigh)
    def kernel(
        weight: Tensor,
        gradient: Tensor,
        latent: Tensor,
        mu: float,
        alpha: float,
        cut: float,
        rate: float,
        squared: float,
    ) -> Tensor:
        above: Tensor = weigh(gradient, latent, mu, alpha, cut)
        descend(latent, gradient, None, rate, rate * squared)
        sign_(weight, latent)
        return above

    return kernel


@cache
def _averaged(weigh: Kernel) -> Kernel:
    @wraps(weigh)
    def kernel(
        weight: Tensor,
        gradient: Tensor,
        latent: Tensor,
        average: Tensor,
        mu: float,
        alpha: float,
        cut: float,
        rate: float,
        squared: float,
        fresh: float,
    ) -> Tensor:
        above: Tensor = weigh(gradient, latent, mu, alpha, cut)
        descend_with_momentum(latent, gradient, average, None, rate, squared, fresh)
        sign_(weight, latent)
        return above

    return kernel


def weaken(gradient: Tensor, latent: Tensor, mu: float, alpha: float, cut: float) -> Tensor:
    """Multiply g by the program's c while mu a < 1; return the number of elements above the cut."""
    size = latent.abs()
    outside = torch.gt(size, 1 - mu * alpha, out=torch.empty_like(size))
    size.reciprocal_()
    within = (2 * mu * (1 + alpha) - latent).mul_(size).mul_(1 / (1 + mu)).clamp_(0, 0.5)
    beyond = size.mul_((1 + 2 * mu + mu * alpha) / (1 + mu)).clamp_(max=0.5)
    flipping = within.lerp_(beyond, outside)
    staying = outside.neg_().add_(1).mul_(1 / (1 + mu))
    push = torch.mul(gradient, latent, out=beyond)
    factor = staying.lerp_(flipping, torch.ge(push, 0, out=push))
    return _above_only(gradient, factor, cut, 1 / (1 + mu), push)


def weaken_hard(gradient: Tensor, latent: Tensor, mu: float, alpha: float, cut: float) -> Tensor:
    """Multiply g by the program's c once mu a >= 1; return the number of elements above the cut."""
    push = gradient * latent
    factor = latent.abs().reciprocal_().clamp_(max=0.5).mul_(torch.ge(push, 0, out=push))
    return _above_only(gradient, factor, cut, 1.0, push)


def _above_only(
    gradient: Tensor, factor: Tensor, cut: float, other: float, memory: Tensor
) -> Tensor:
    """Multiply by a factor where |g| > cut and by a number elsewhere; count the former."""
    above = torch.abs(gradient, out=memory)
    torch.gt(above, cut, out=above)
    elsewhere = torch.full((), other, dtype=factor.dtype, device=factor.device).expand_as(factor)
    gradient.mul_(torch.lerp(elsewhere, factor, above, out=factor))
    return above.sum()


def amplify(gradient: Tensor, latent: Tensor, mu: float, alpha: float, boost: float) -> None:
    """Multiply g by the derived c while mu a < 1."""
    size, jump = latent.abs(), mu * (1 + alpha) / (1 + mu)
    staying = torch.lt(size, 1 - mu * alpha, out=torch.empty_like(size)).mul_(1 / (1 + mu))
    flipping = size.mul(1 / (1 + mu)).add_(jump).clamp_(max=1).add_(jump)
    flipping.div_(size).clamp_(max=boost)
    push = torch.mul(gradient, latent, out=size)
    gradient.mul_(staying.lerp_(flipping, torch.gt(push, 0, out=push)))


def amplify_hard(gradient: Tensor, latent: Tensor, mu: float, alpha: float, boost: float) -> None:
    """Multiply g by the derived c once mu a >= 1: 2 / |theta| towards 0, nothing away from it."""
    push = gradient * latent
    flipping = latent.abs().reciprocal_().mul_(2).clamp_(max=boost)
    gradient.mul_(flipping.mul_(torch.gt(push, 0, out=push)))
