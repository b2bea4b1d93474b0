"""Find every method that bnnrepro.optim exports, with settings taken from signatures.

A method of your own is tested as soon as it is exported; only an argument without a default that is
not in ``REQUIRED`` needs a value there.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import bnnrepro.optim
from bnnrepro.optim import BinaryOptimizer

REQUIRED = {"lr": 1e-2, "train_set_size": 50, "total_steps": 40}
# The gradients of these tests are of order 1, a thousand times those of a mean loss: BiMU's default
# would freeze every weight in the first steps.
SUITED = {"likelihood": 1.0}
# Far from the defaults, so that noise, momentum, decay and every schedule inside a method are live.
OTHER = {
    "lr": 3e-2,
    "temperature": 0.7,
    "momentum": 0.8,
    "prior": 0.2,
    "init": 1.0,
    "train_set_scale": 2.0,
    "betas": (0.7, 0.9),
    "eps": 1e-3,
    "weight_decay": 0.01,
    "grad_clip": None,
    "weight_clip": 0.5,
    "threshold": 1e-3,
    "adaptivity_rate": 0.3,
    "rho": 1.5,
    "beta_interval": 2,
    "beta_max": 5.0,
    "beta_final": 50.0,
    "variant": "bilevel",
    "alpha": 0.5,
    "annealing": 0.5,
    "cut": None,
    "boost": 3.0,
    "prox": "parq",
    "base": "sgd",
    "second_rate": 0.2,
    "metaplasticity": 0.7,
    "likelihood": 2.0,
    "curvature": 3.0,
    "max_step": 0.5,
    "memory": 20.0,
    "stale_mean": True,
}


@dataclass(frozen=True)
class Method:
    cls: type[BinaryOptimizer]
    settings: tuple[tuple[str, Any], ...]
    label: str

    def __call__(self, params, **more):
        return self.cls(params, **{**dict(self.settings), **more})

    def accepted(self, **settings):
        """Those of the settings that the method has."""
        return {k: v for k, v in settings.items() if k in inspect.signature(self.cls).parameters}

    def seeded(self, params, seed=0, **more):
        return self(params, generator=torch.Generator().manual_seed(seed), **more)


def classes():
    exported = [getattr(bnnrepro.optim, name) for name in bnnrepro.optim.__all__]
    return [
        cls
        for cls in exported
        if inspect.isclass(cls) and issubclass(cls, BinaryOptimizer) and cls is not BinaryOptimizer
    ]


def methods():
    for cls in classes():
        arguments = inspect.signature(cls).parameters.values()
        suited = {a.name: SUITED[a.name] for a in arguments if a.name in SUITED}
        needed = [a.name for a in arguments if a.default is a.empty and a.name != "params"]
        first = suited | {name: REQUIRED[name] for name in needed}
        other = first | {a.name: OTHER[a.name] for a in arguments if a.name in OTHER}
        yield Method(cls, tuple(first.items()), f"{cls.__name__}-defaults")
        yield Method(cls, tuple(other.items()), f"{cls.__name__}-other")


SHAPES = (5, 4), (3, 2, 3, 3)
METHODS = list(methods())
BINARY = [m for m in METHODS if m.cls.binarizes]
POSTERIOR = [m for m in METHODS if m.cls.has_posterior]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.label)
every_binary_method = pytest.mark.parametrize("method", BINARY, ids=lambda m: m.label)
every_posterior = pytest.mark.parametrize("method", POSTERIOR, ids=lambda m: m.label)


def weights(*shapes, seed=0, dtype=torch.float32):
    """Parameters with values in (-1, 1)."""
    source = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.rand(s, generator=source, dtype=dtype) * 2 - 1) for s in shapes]


def targets_for(params, seed=1):
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in params]


def loss_of(params, targets):
    """A loss whose gradient depends on the weights and pulls some of them across zero."""
    pairs = zip(params, targets, strict=True)
    return sum((p * t).sum() + 0.1 * ((p - t) ** 2).sum() for p, t in pairs)


def train(optimizer, params, steps, draws=1, seed=1):
    """Steps on a loss that changes from step to step."""
    for step in range(steps):
        targets = targets_for(params, seed=1000 * seed + step)
        for _ in range(draws):
            with optimizer.sampled_params(train=True):
                loss_of(params, targets).backward()
        optimizer.step()


def copies(tensors):
    return [t.detach().clone() for t in tensors]


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def tensors_of_state(optimizer):
    return [
        value
        for group in optimizer.param_groups
        for p in group["params"]
        for _, value in sorted(optimizer.state.get(p, {}).items())
        if isinstance(value, torch.Tensor)
    ]


def are_signs(tensors):
    return all(bool((t.abs() == 1).all()) for t in tensors)


def other_group(method):
    """Settings of a second group, each different from the method's own and in range."""
    changes = {
        "lr": 5e-3,
        "temperature": 2.0,
        "momentum": 0.3,
        "prior": -0.5,
        "betas": (0.5, 0.6),
        "weight_decay": 0.1,
        "grad_clip": 0.3,
        "weight_clip": 0.7,
        "threshold": 1e-2,
        "adaptivity_rate": 0.6,
        "rho": 3.0,
        "beta_interval": 3,
        "beta_final": 7.0,
        "alpha": 0.2,
        "cut": 0.1,
        "boost": 2.0,
        "prox": "binary_relax",
        "second_rate": 0.6,
        "metaplasticity": 2.0,
        "likelihood": 3.0,
        "max_step": 0.1,
    }
    settings = method(weights((2, 2))).param_groups[0]
    return {name: value for name, value in changes.items() if name in settings}
