"""The five rules in plain NumPy, one parameter at a time, as their papers write them.

Slow and obvious on purpose: every line is an equation, nothing is simplified, reused or done in
place. The methods are held to these. A reference is told the gradient of each draw; what it needs
of chance (first state, uniforms) it is given. ``dtype`` is the precision of every operation.
"""

import numpy as np


def sign(x):
    """Sign with sign(0) = +1."""
    return np.where(x >= 0, 1.0, -1.0).astype(x.dtype)


class Adam:
    """Kingma & Ba 2015, algorithm 1, with an L2 penalty added to the gradient."""

    def __init__(self, value, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.value = value.copy()
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.m, self.v, self.t = np.zeros_like(value), np.zeros_like(value), 0

    def step(self, g):
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

    def __init__(self, natural, lr, train_set_size, temperature, momentum=0.0, prior=0.0):
        self.natural = natural.copy()
        self.dtype = natural.dtype.type
        self.lr, self.n, self.tau, self.beta = lr, train_set_size, temperature, momentum
        self.prior = prior
        self.m, self.t = np.zeros_like(natural), 0
        self.weighted = []

    def draw(self, uniform):
        """Relaxed weights for uniforms in (0, 1)."""
        one, half, tau = self.dtype(1), self.dtype(0.5), self.dtype(self.tau)
        delta = half * np.log(uniform / (one - uniform))
        self.w = np.tanh((self.natural + delta) / tau)
        return self.w

    def consume(self, g):
        """Take the gradient at the weights of the last draw."""
        one, tau, small = self.dtype(1), self.dtype(self.tau), self.dtype(1e-10)
        mu = np.tanh(self.natural)
        s = (one - self.w**2 + small) / (tau * (one - mu**2 + small))
        self.s = s
        self.weighted.append(s * g)

    def step(self):
        n, lr, beta = self.dtype(self.n), self.dtype(self.lr), self.dtype(self.beta)
        self.t = self.t + 1
        average = sum(self.weighted) / self.dtype(len(self.weighted))
        self.weighted = []
        full = n * average + self.natural - np.asarray(self.prior, self.dtype)
        self.m = beta * self.m + (self.dtype(1) - beta) * full
        self.natural = self.natural - lr * self.m / (self.dtype(1) - beta**self.t)

    @property
    def mode(self):
        return sign(self.natural)


class STE:
    """Hubara et al. 2016: gradient at sign(u) handed to u, Adam, both clipped."""

    def __init__(self, latent, grad_clip=1.0, weight_clip=1.0, **adam):
        self.a, self.c = weight_clip, grad_clip
        self.adam = Adam(np.clip(latent, -self.a, self.a), **adam)

    def step(self, g):
        if self.c is not None:
            g = np.clip(g, -self.c, self.c)
        self.adam.step(g)
        self.adam.value = np.clip(self.adam.value, -self.a, self.a)

    @property
    def mode(self):
        return sign(self.adam.value)


class Bop:
    """Helwegen et al. 2019 (arXiv 1906.02107), algorithm 1, one weight after the other."""

    def __init__(self, mode, threshold=1e-8, adaptivity_rate=1e-4):
        self.mode, self.m = mode.copy(), np.zeros_like(mode)
        self.threshold, self.gamma = threshold, adaptivity_rate

    def step(self, g):
        self.m = (1 - self.gamma) * self.m + self.gamma * g
        for i in np.ndindex(self.mode.shape):
            consistent = np.sign(self.m[i]) == np.sign(self.mode[i])
            if abs(self.m[i]) > self.threshold and consistent:
                self.mode[i] = -self.mode[i]


class PMF:
    """Ajanthan et al. 2019 (arXiv 1812.04353): softmax over two logits and its full Jacobian."""

    def __init__(self, logits, rho=1.2, beta_interval=100, beta_max=1e4, **adam):
        self.adam = Adam(logits, **adam)
        self.rho, self.interval, self.beta_max = rho, beta_interval, beta_max
        self.beta, self.iteration = 1.0, 0

    def draw(self):
        raised = self.beta * self.adam.value
        raised = np.exp(raised - raised.max(axis=0))
        self.u = raised / raised.sum(axis=0)
        return self.u[0] * 1 + self.u[1] * -1

    def step(self, g):
        """Take one draw's gradient at w: through q = (+1, -1), then du_k / dtheta_j."""
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
    def mode(self):
        return sign(self.adam.value[0] - self.adam.value[1])
