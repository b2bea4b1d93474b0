"""Plain transcriptions of the published rules: one flat vector, one line per equation, no reuse.

A reader of the papers would write them so, and the reproduction's programs have this form.
`make bench` measures the optimizers against them, and tests compare the two.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import parameters_to_vector, vector_to_parameters

Closure = Callable[[], Tensor]


def sign(x: Tensor) -> Tensor:
    """Return +1 where x >= 0, else -1."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


class Plain:
    """Base class: the parameters as one vector, written and read as a whole."""

    def __init__(self, params: Iterable[Parameter]) -> None:
        self.params = list(params)
        self.start = parameters_to_vector(self.params).detach().clone()

    @torch.no_grad()
    def write(self, vector: Tensor) -> None:
        """Write a vector into the parameters."""
        vector_to_parameters(vector, self.params)

    def gradient(self, closure: Closure) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient, as one vector."""
        for parameter in self.params:
            parameter.grad = None
        loss = closure()
        loss.backward()
        return loss.detach(), torch.cat([p.grad.flatten() for p in self.params])  # type: ignore


class Adam:
    """Kingma & Ba 2015, algorithm 1, on one tensor."""

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.m: Tensor | float = 0.0
        self.v: Tensor | float = 0.0
        self.t = 0

    def moved(self, value: Tensor, g: Tensor) -> Tensor:
        """Return the value after a step."""
        beta1, beta2 = self.betas
        self.t += 1
        g = g + self.weight_decay * value
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g**2
        m_hat = self.m / (1 - beta1**self.t)
        v_hat = self.v / (1 - beta2**self.t)
        return value - self.lr * m_hat / (v_hat**0.5 + self.eps)


class BayesBiNN(Plain):
    """Meng, Bachmann & Khan 2020 (arXiv 2002.10778), equations (7) to (11)."""

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        train_set_size: int,
        temperature: float = 1e-10,
        momentum: float = 0.0,
        train_samples: int = 1,
        init: float = 10.0,
    ) -> None:
        super().__init__(params)
        self.lr, self.n, self.tau, self.beta = lr, train_set_size, temperature, momentum
        self.samples = train_samples
        self.natural = init * sign(torch.rand_like(self.start) - 0.5)
        self.m = torch.zeros_like(self.natural)
        self.t = 0

    def uniform(self) -> Tensor:
        """Return a uniform number for each weight."""
        return torch.rand_like(self.natural)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        """Sample, differentiate, take a natural-gradient step; return the mean loss."""
        total, losses = torch.zeros_like(self.natural), []
        for _ in range(self.samples):
            uniform = self.uniform()
            delta = torch.log(uniform / (1 - uniform)) / 2
            w = torch.tanh((self.natural + delta) / self.tau)
            self.write(w)
            with torch.enable_grad():
                loss, g = self.gradient(closure)
            mu = torch.tanh(self.natural)
            s = (1 - w * w + 1e-10) / (self.tau * (1 - mu * mu + 1e-10))
            total = total + s * g
            losses.append(loss)
        self.t += 1
        full = self.n * total / self.samples + self.natural
        self.m = self.beta * self.m + (1 - self.beta) * full
        self.natural = self.natural - self.lr * self.m / (1 - self.beta**self.t)
        self.write(sign(self.natural))
        return torch.stack(losses).mean()


class STE(Plain):
    """Hubara et al. 2016 with Adam: the gradient at sign(u) moves u; both are clipped to +-1."""

    def __init__(self, params: Iterable[Parameter], lr: float = 1e-2) -> None:
        super().__init__(params)
        self.latent, self.adam = self.start.clamp(-1, 1), Adam(lr)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        """Differentiate at the signs and move the latent weights."""
        self.write(sign(self.latent))
        with torch.enable_grad():
            loss, g = self.gradient(closure)
        self.latent = self.adam.moved(self.latent, g.clamp(-1, 1)).clamp(-1, 1)
        self.write(sign(self.latent))
        return loss


class Bop(Plain):
    """Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1."""

    def __init__(
        self,
        params: Iterable[Parameter],
        threshold: float = 1e-8,
        adaptivity_rate: float = 1e-4,
    ) -> None:
        super().__init__(params)
        self.threshold, self.gamma = threshold, adaptivity_rate
        self.w = sign(torch.rand_like(self.start) - 0.5)
        self.m = torch.zeros_like(self.w)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        """Differentiate at the weights, average, flip."""
        self.write(self.w)
        with torch.enable_grad():
            loss, g = self.gradient(closure)
        self.m = (1 - self.gamma) * self.m + self.gamma * g
        flips = (self.m.abs() > self.threshold) & (sign(self.m) == self.w)
        self.w = torch.where(flips, -self.w, self.w)
        self.write(self.w)
        return loss


class PMF(Plain):
    """Ajanthan et al. 2019 (arXiv 1812.04353): softmax over two logits a weight, Adam on them."""

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        rho: float = 1.2,
        beta_interval: int = 100,
        beta_max: float = 1e4,
    ) -> None:
        super().__init__(params)
        self.logits = torch.stack([torch.rand_like(self.start) / 10 for _ in range(2)])
        self.adam = Adam(lr)
        self.rho, self.interval, self.beta_max = rho, beta_interval, beta_max
        self.beta, self.t = 1.0, 0

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        """Differentiate at the soft weights, apply the softmax's Jacobian, move the logits."""
        u = torch.softmax(self.beta * self.logits, 0)
        self.write(u[0] - u[1])
        with torch.enable_grad():
            loss, g = self.gradient(closure)
        flow = torch.stack([g, -g])  # dL/du
        g_logits = self.beta * (u * flow - u * (u * flow).sum(0))
        self.logits = self.adam.moved(self.logits, g_logits)
        self.t += 1
        if self.t % self.interval == 0:
            self.beta = min(self.rho * self.beta, self.beta_max)
        self.write(sign(self.logits[0] - self.logits[1]))
        return loss
