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
        stale_mean: bool = False,
    ) -> None:
        self.natural = natural.copy()
        self.before, self.stale_mean = self.natural, stale_mean
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
        mu = np.tanh(self.before if self.stale_mean else self.natural)
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
        self.before = self.natural
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


class MDTanhS:
    """Ajanthan et al. 2021 (arXiv 1910.08237): w = tanh(beta u), Adam on u, beta geometric."""

    def __init__(self, latent: Array, total_steps: int, beta_final: float, **adam: Any) -> None:
        self.adam = Adam(latent, **adam)
        self.total, self.beta_final, self.t = total_steps, beta_final, 0

    @property
    def beta(self) -> float:
        """The sharpness at the present share of training."""
        done = min(self.t / self.total, 1.0)
        return float(np.exp(done * np.log(self.beta_final)))

    def draw(self) -> Array:
        """Return the soft weights."""
        weights: Array = np.tanh(self.beta * self.adam.value)
        return weights

    def step(self, g: Array) -> None:
        """Take the gradient at w as it is."""
        self.adam.step(g)
        self.t = self.t + 1

    @property
    def mode(self) -> Array:
        """The predicting weights, sign(u)."""
        return sign(self.adam.value)


class AdaSTE:
    """Le et al. 2022 (arXiv 2112.02880): the program's step and the derived one."""

    def __init__(
        self,
        latent: Array,
        total_steps: int,
        variant: str,
        n: float,
        lr: float,
        alpha: float = 0.01,
        annealing: float | None = 0.27,
        momentum: float = 0.9,
        cut: float | None = 1e-3,
        boost: float = 10.0,
        **adam: Any,
    ) -> None:
        self.adam = Adam(latent, lr=lr, **adam)
        self.total, self.variant, self.n, self.lr = total_steps, variant, n, lr
        self.alpha, self.annealing, self.rho = alpha, annealing, momentum
        self.cut = np.inf if cut is None else cut
        self.boost, self.m, self.t = boost, np.zeros_like(latent), 0

    @property
    def mu(self) -> float:
        """The double well's depth at the present share of training."""
        done = 1.0 if self.annealing is None else self.t / (self.annealing * self.total)
        return float(min(0.01 * (100 / self.alpha) ** done, 1 / self.alpha))

    @property
    def hard(self) -> bool:
        """Whether mu alpha has reached 1."""
        return self.annealing is None or self.t >= self.annealing * self.total

    def minimiser(self, theta: Array) -> Array:
        """Return s(theta)."""
        well = self.mu * (1 + self.alpha) * sign(theta)
        weights: Array = np.clip((theta + well) / (1 + self.mu), -1, 1)
        return sign(theta) if self.hard else weights

    def draw(self) -> Array:
        """Return the weights of the forward pass."""
        return self.minimiser(self.adam.value)

    def derived_factor(self, theta: float, g: float) -> float:
        """Return c = (s(theta) - s(theta - b g)) / (b g) at the b that crosses the jump."""
        mu, a = self.mu, self.alpha
        jump = 1.0 if self.hard else min(1, mu * (1 + a) / (1 + mu))
        if theta * g > 0:
            shown = abs(float(self.minimiser(np.array(theta))))
            return min((shown + jump) / abs(theta), self.boost)
        if self.hard or abs(theta) >= 1 - mu * a:
            return 0.0
        return 1 / (1 + mu)

    def program_factor(self, theta: float, g: float) -> float:
        """Return c as the program has it."""
        mu, a, size = self.mu, self.alpha, abs(theta)
        if self.hard:
            if abs(g) > self.cut and theta * g < 0:
                return 0.0
            if abs(g) > self.cut and theta * g > 0:
                return min(0.5, 1 / size)
            return 1.0
        if abs(g) > self.cut and theta * g < 0 and size > 1 - mu * a:
            return 0.0
        if abs(g) > self.cut and theta * g > 0 and size > 1 - mu * a:
            return min(0.5, (1 + 2 * mu + mu * a) / ((1 + mu) * size))
        if abs(g) > self.cut and theta * g > 0:
            return min(0.5, max(0.0, (2 * mu * (1 + a) - theta) / ((1 + mu) * size)))
        return 1 / (1 + mu)

    def step(self, g: Array) -> None:
        """Move theta by the weighted gradient."""
        theta = self.adam.value
        factor = self.program_factor if self.variant == "program" else self.derived_factor
        weighted = np.empty_like(g)
        for i in np.ndindex(g.shape):
            weighted[i] = factor(float(theta[i]), float(g[i])) * g[i]
        self.t = self.t + 1
        if self.variant == "bilevel":
            self.adam.step(weighted)
        else:
            self.m = self.rho * self.m + (1 - self.rho) * (self.n**2 * weighted + theta)
            self.adam.value = theta - self.lr * self.m / (1 - self.rho**self.t)

    @property
    def mode(self) -> Array:
        """The predicting weights, sign(theta)."""
        return sign(self.adam.value)


class BiMU:
    """Cottart et al. 2026 (arXiv 2605.30198): bounded memory, bounded asymmetric steps."""

    def __init__(
        self,
        natural: Array,
        lr: float,
        likelihood: float,
        curvature: float,
        max_step: float,
        memory: float,
        temperature: float = 1.0,
        prior: Array | float = 0.0,
    ) -> None:
        self.natural, self.prior = natural.copy(), prior
        self.lr, self.likelihood, self.curvature = lr, likelihood, curvature
        self.max_step, self.memory, self.tau = max_step, memory, temperature
        self.through: list[Array] = []

    def draw(self, uniform: Array) -> Array:
        """Return relaxed weights for uniforms in (0, 1)."""
        delta = 0.5 * np.log(uniform / (1 - uniform))
        weights: Array = np.tanh((self.natural + delta) / self.tau)
        self.w = weights
        return weights

    def consume(self, g: Array) -> None:
        """Take the gradient at the weights of the last draw."""
        self.through.append(g * (1 - self.w**2) / self.tau)

    def step(self) -> None:
        """Move the natural parameter."""
        gradient = self.likelihood * sum(self.through) / len(self.through)
        self.through = []
        mu = np.tanh(self.natural)
        curvature = self.curvature * (1 - mu**2)
        rate = 1 / (curvature + 2 * gradient * mu + 2 * np.abs(gradient) + 1 / self.max_step)
        forgetting = curvature * (self.natural - self.prior) / self.memory
        self.natural = self.natural - rate * (self.lr * gradient + forgetting)

    @property
    def mode(self) -> Array:
        """The most probable weights."""
        return sign(self.natural)


class ProxConnect:
    """Dockhorn et al. 2021 (arXiv 2110.13220), with the maps of PARQ and BinaryRelax."""

    def __init__(
        self,
        latent: Array,
        total_steps: int,
        prox: str,
        base: str,
        lr: float,
        annealing: float = 0.75,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        **adam: Any,
    ) -> None:
        self.adam = Adam(latent, lr=lr, weight_decay=weight_decay, **adam)
        self.prox, self.base, self.lr, self.decay = prox, base, lr, weight_decay
        self.total, self.annealing, self.momentum = total_steps, annealing, momentum
        self.m, self.t = np.zeros_like(latent), 0

    def draw(self) -> Array:
        """Return P(u)."""
        u, f = self.adam.value, min(self.t / (self.annealing * self.total), 1.0)
        if self.prox == "hard" or f == 1:
            return sign(u)
        if self.prox == "binary_relax":
            return (1 - f) * u + f * sign(u)
        s = 10.0
        start, end = 1 / (1 + np.exp(-s / 2)), 1 / (1 + np.exp(s / 2))
        inverse = (1 / (1 + np.exp(s * (f - 0.5))) - end) / (start - end)
        return np.asarray(np.clip(u / inverse, -1, 1))

    def step(self, g: Array) -> None:
        """Hand the gradient at w to u unchanged."""
        self.t = self.t + 1
        if self.base == "adam":
            self.adam.step(g)
        else:
            self.m = self.momentum * self.m + g + self.decay * self.adam.value
            self.adam.value = self.adam.value - self.lr * self.m

    @property
    def mode(self) -> Array:
        """The binary weights, sign(u)."""
        return sign(self.adam.value)


class Bop2:
    """Suarez-Ramirez et al. 2021 (arXiv 2104.05124), the biased rule or the unbiased one."""

    def __init__(
        self,
        mode: Array,
        threshold: float,
        adaptivity_rate: float,
        second_rate: float,
        unbiased: bool = False,
    ) -> None:
        self.mode, self.m, self.v = mode.copy(), np.zeros_like(mode), np.zeros_like(mode)
        self.threshold, self.gamma, self.sigma = threshold, adaptivity_rate, second_rate
        self.unbiased = unbiased

    def step(self, g: Array) -> None:
        """Average the gradient and its square and flip what is pushed."""
        self.m = self.m + self.gamma * (g - self.m)
        self.v = self.v + self.sigma * (g**2 - self.v)
        m = self.m / self.gamma if self.unbiased else self.m
        v = self.v / self.sigma if self.unbiased else self.v
        push = self.mode * m / (np.sqrt(v) + 1e-10)
        self.mode = np.where(push > self.threshold, -self.mode, self.mode)


class Metaplasticity:
    """Laborieux et al. 2021 (arXiv 2003.03533): Adam's steps towards zero are damped."""

    def __init__(self, latent: Array, metaplasticity: float, **adam: Any) -> None:
        self.adam, self.k = Adam(latent, **adam), metaplasticity

    def step(self, g: Array) -> None:
        """Move the hidden weights h by the gradient at sign(h)."""
        h = self.adam.value
        self.adam.step(g)
        step = h - self.adam.value
        damping = 1 - np.tanh(self.k * np.abs(h)) ** 2
        self.adam.value = np.where(sign(h) * step > 0, h - step * damping, h - step)

    @property
    def mode(self) -> Array:
        """The binary weights, sign(h)."""
        return sign(self.adam.value)
