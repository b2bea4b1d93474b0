"""The rules in plain NumPy, one parameter at a time, as their papers write them.

Read this to learn a rule; the optimizers beside it compute the same and are tested against it over
hundreds of steps. Slow and obvious on purpose: every line is an equation, nothing is simplified,
reused or done in place. A rule takes its random numbers (first state, uniforms) and the gradient g
of each draw as arguments, and computes in their dtype: float64 to compare with the papers, float32
to see rounding act. A training step is

    rule.draw(...)      # weights of the forward pass; ``rule.mode`` where nothing is drawn
    rule.consume(g)     # BayesBiNN alone: once a draw
    rule.step(g)        # the others take g here
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sign(x: Array) -> Array:
    """Return -1 where x < 0, else +1."""
    return np.where(x >= 0, 1.0, -1.0).astype(x.dtype)


class Adam:
    """Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1, with an L2 penalty added to the gradient."""

    def __init__(
        self,
        value: Array,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.value = value.copy()
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.m, self.v, self.t = np.zeros_like(value), np.zeros_like(value), 0

    def step(self, g: Array) -> None:
        """Move the value along a gradient."""
        beta1, beta2 = self.betas
        self.t = self.t + 1
        g = g + self.weight_decay * self.value
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g**2
        m_hat = self.m / (1 - beta1**self.t)
        v_hat = self.v / (1 - beta2**self.t)
        self.value = self.value - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


class BayesBiNN:
    """Meng, Bachmann & Khan 2020 (arXiv 2002.10778), equations (7) to (11), all in one dtype."""

    def __init__(
        self,
        natural: Array,
        lr: float,
        train_set_size: float,
        temperature: float,
        momentum: float = 0.0,
        prior: Array | float = 0.0,
    ) -> None:
        self.natural = natural.copy()
        self.dtype = natural.dtype.type
        self.lr, self.n, self.tau, self.beta = lr, train_set_size, temperature, momentum
        self.prior = prior
        self.m, self.t = np.zeros_like(natural), 0
        self.weighted: list[Array] = []

    def draw(self, uniform: Array) -> Array:
        """Return relaxed weights, equation (9), for uniforms in (0, 1)."""
        one, half, tau = self.dtype(1), self.dtype(0.5), self.dtype(self.tau)
        delta = half * np.log(uniform / (one - uniform))
        weights: Array = np.tanh((self.natural + delta) / tau)
        self.w = weights
        return weights

    def consume(self, g: Array) -> None:
        """Take the gradient at the weights of the last draw."""
        one, tau, small = self.dtype(1), self.dtype(self.tau), self.dtype(1e-10)
        mu = np.tanh(self.natural)
        self.s = (one - self.w**2 + small) / (tau * (one - mu**2 + small))
        self.weighted.append(self.s * g)

    def step(self) -> None:
        """Follow the natural gradient, averaged over the draws since the last step."""
        n, lr, beta = self.dtype(self.n), self.dtype(self.lr), self.dtype(self.beta)
        self.t = self.t + 1
        average = sum(self.weighted) / self.dtype(len(self.weighted))
        self.weighted = []
        natural_gradient = n * average + self.natural - np.asarray(self.prior, self.dtype)
        self.m = beta * self.m + (self.dtype(1) - beta) * natural_gradient
        self.natural = self.natural - lr * self.m / (self.dtype(1) - beta**self.t)

    @property
    def mode(self) -> Array:
        """The most probable weights."""
        return sign(self.natural)


class STE:
    """Hubara et al. 2016 (arXiv 1602.02830): Adam on u, gradient at sign(u), both clipped."""

    def __init__(
        self, latent: Array, grad_clip: float | None = 1.0, weight_clip: float = 1.0, **adam: Any
    ) -> None:
        self.a, self.c = weight_clip, grad_clip
        self.adam = Adam(np.clip(latent, -self.a, self.a), **adam)

    def step(self, g: Array) -> None:
        """Move the latent weights u by the gradient at sign(u)."""
        if self.c is not None:
            g = np.clip(g, -self.c, self.c)
        self.adam.step(g)
        self.adam.value = np.clip(self.adam.value, -self.a, self.a)

    @property
    def mode(self) -> Array:
        """The binary weights, sign(u)."""
        return sign(self.adam.value)


class Bop:
    """Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1, one weight after the other."""

    def __init__(self, mode: Array, threshold: float = 1e-8, adaptivity_rate: float = 1e-4) -> None:
        self.mode, self.m = mode.copy(), np.zeros_like(mode)
        self.threshold, self.gamma = threshold, adaptivity_rate

    def step(self, g: Array) -> None:
        """Average the gradient and flip the weights that it pushes consistently."""
        self.m = (1 - self.gamma) * self.m + self.gamma * g
        for i in np.ndindex(self.mode.shape):
            consistent = np.sign(self.m[i]) == np.sign(self.mode[i])
            if abs(self.m[i]) > self.threshold and consistent:
                self.mode[i] = -self.mode[i]


class PMF:
    """Ajanthan et al. 2019 (arXiv 1812.04353): softmax over two logits and its full Jacobian."""

    def __init__(
        self,
        logits: Array,
        rho: float = 1.2,
        beta_interval: int = 100,
        beta_max: float = 1e4,
        **adam: Any,
    ) -> None:
        self.adam = Adam(logits, **adam)
        self.rho, self.interval, self.beta_max = rho, beta_interval, beta_max
        self.beta, self.iteration = 1.0, 0

    def draw(self) -> Array:
        """Return the soft weights, the mean of +1 and -1 under u = softmax(beta theta)."""
        raised = self.beta * self.adam.value
        raised = np.exp(raised - raised.max(axis=0))
        self.u: Array = raised / raised.sum(axis=0)
        weights: Array = self.u[0] - self.u[1]
        return weights

    def step(self, g: Array) -> None:
        """Take the gradient at w through q = (+1, -1), then through du_k / dtheta_j."""
        u, levels = self.u, (1.0, -1.0)
        gradient = np.zeros_like(u)
        for j in range(2):
            for k in range(2):
                jacobian = self.beta * u[k] * ((1.0 if j == k else 0.0) - u[j])
                gradient[j] = gradient[j] + g * levels[k] * jacobian
        self.adam.step(gradient)
        self.iteration = self.iteration + 1
        if self.iteration % self.interval == 0:
            self.beta = min(self.rho * self.beta, self.beta_max)

    @property
    def mode(self) -> Array:
        """The predicting weights, sign(theta_plus - theta_minus)."""
        return sign(self.adam.value[0] - self.adam.value[1])
