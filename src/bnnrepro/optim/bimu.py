"""BiMU: bounded memory and steps of a Bernoulli posterior (Cottart et al. 2026, arXiv 2605.30198).

Each weight has P(w = +1) = sigmoid(2 lambda), as BayesBiNN's. With g the gradient of the mean loss
at a relaxed draw, averaged over draws after multiplication by (1 - w^2) / tau:

    delta = log(e / (1 - e)) / 2,   e uniform in (0, 1)                         noise
    w  = tanh((lambda + delta) / tau)                                           the draw
    G  = l g (1 - w^2) / tau,   mu = tanh(lambda),   k' = k (1 - mu^2)
    r  = 1 / (k' + 2 G mu + 2 |G| + 1 / a)                                      in (0, a]
    lambda <- lambda - r (lr G + k' (lambda - lambda_prior) / N)

A step against the present sign is at most lr / 2; one for it is not, so evidence for a sign counts
for long and evidence against it for little. The second term forgets at the rate 1 / N whatever the
data say: no task's end need be known. For small G and a = infinity this is BayesBiNN's step with
the learning rate lr l / k on the data and 1 / N on the prior. Prediction: the mode sign(lambda), or
an average over draws of w = +-1.

The paper sums the loss over a batch of one image: its l is to be multiplied by the batch's size
here. In float32 1 - w^2 and 1 - mu^2 are exactly 0 from |lambda| = 9.02 on.

State: lambda alone, of the parameter's shape. It starts as the values that the parameter holds;
torch's own first weights of a layer are uniform within 1 / sqrt(fan in), as in the paper's program.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import AtLeastOne, Count, Positive
from bnnrepro.optim.base import Group
from bnnrepro.optim.kernels.arithmetic import one_minus_, tanh
from bnnrepro.optim.posterior import BernoulliPosterior
from bnnrepro.optim.soft import SoftWeights


class BiMU(SoftWeights, BernoulliPosterior):
    """Variational inference of binary weights that forgets at a chosen rate.

    Args:
        params: parameters, named parameters or groups; see ``BinaryOptimizer``.
        lr: weight of the data's part of a step.
        likelihood: l times the batch's size: factor of the mean loss's gradient.
        curvature: k: damps the steps of undecided weights, and speeds up their forgetting.
        max_step: a: the largest step size r.
        memory: N: the forgetting's slowness.
        temperature: tau of the relaxation.
        prior: lambda_prior, to which a weight is forgotten; see also ``set_prior_to_posterior``.
        train_samples: Monte-Carlo samples of the weights in ``step(closure)``.
        generator: source of every draw.
    """

    label = "BiMU"
    compiling_pays_on_cpu = True

    def __init__(
        self,
        params: Any,
        lr: Positive = 81.76,
        likelihood: Positive = 1230.0,
        curvature: Positive = 4.72,
        max_step: Positive = 0.017,
        memory: AtLeastOne = 6100.0,
        temperature: Positive = 1.0,
        prior: float = 0.0,
        *,
        train_samples: Count = 5,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "likelihood": likelihood,
            "curvature": curvature,
            "max_step": max_step,
            "memory": memory,
            "temperature": temperature,
            "prior": prior,
        }
        super().__init__(params, defaults, train_samples=train_samples, generator=generator)

    def _start(self, parameter: Parameter, group: Group) -> None:
        dtype = torch.float32 if parameter.dtype == torch.float16 else parameter.dtype
        self.state[parameter]["natural_parameter"] = parameter.detach().to(dtype, copy=True)
        self._show_mode(parameter, group)

    def _soften(self, parameter: Parameter, group: Group, train: bool) -> None:
        if not train:
            self._sample(parameter)
            return
        self._relax(parameter, group["temperature"])

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        gradient = gradient.to(self.state[parameter]["natural_parameter"].dtype)
        self._run(_through, gradient, parameter, group["likelihood"] / group["temperature"])
        return gradient

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        group["steps"] += 1
        numbers = [group[key] for key in ("lr", "curvature", "max_step", "memory")]
        for parameter, gradient in zip(params, gradients, strict=True):
            state = self.state[parameter]
            prior = state.get("prior", group["prior"])
            self._run(_shift, state["natural_parameter"], gradient, prior, *numbers)
            self._show_mode(parameter, group)


def _through(gradient: Tensor, relaxed: Tensor, factor: float) -> None:
    """Multiply the gradient at w by l dw / dlambda = l (1 - w^2) / tau."""
    gradient.mul_(one_minus_(relaxed.to(gradient.dtype).square()).mul_(factor))


def _shift(
    natural: Tensor,
    gradient: Tensor,
    prior: Tensor | float,
    lr: float,
    curvature: float,
    max_step: float,
    memory: float,
) -> None:
    """Take the step of lambda, in g's memory."""
    mean = tanh(natural)
    damping = one_minus_(mean.square()).mul_(curvature)
    size = (gradient * mean).add_(gradient.abs()).mul_(2).add_(damping).add_(1 / max_step)
    pull = damping.mul_(natural - prior).div_(memory)
    natural.sub_(gradient.mul_(lr).add_(pull).div_(size))
