"""Memory of gradients: it is used again, and none is kept that nobody needs."""

import copy
import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

from bnnrepro.optim import BayesBiNN
from bnnrepro.optim.kernels import malloc

from .methods_under_test import every_method, tensors_of_state, train, weights

FAULTS = """
import resource, torch
from bnnrepro import optim
from bnnrepro.models.mlp import MLP
torch.set_num_threads(1)
model = MLP((1, 28, 28), 10)
optimizer = optim.BayesBiNN(model.parameters(), lr=1e-4, train_set_size=54_000)
images, labels = torch.randn(100, 1, 28, 28), torch.randint(10, (100,))
counts = []
for step in range(18):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with optimizer.sampled_params(train=True):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(counts[10:])[2])  # a system short of memory takes pages away now and then
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heap")
def test_a_step_takes_the_memory_of_the_last_ones_gradients():
    """10,000 new pages a step (40 MB) if all gradients were freed; at glibc's own limits."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=clean
    )
    assert float(done.stdout) < 3000


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1 << 30, [(-3, 1 << 30), (-1, 1 << 30)]),
        (1 << 25, [(-3, 1 << 30), (-3, 1 << 25), (-1, 1 << 30)]),  # before glibc 2.35
        (0, [(-3, 1 << 30), (-3, 1 << 25)]),
    ],
)
def test_the_limits_are_ones_that_the_library_takes(largest, expected, monkeypatch):
    """A limit that is refused is no reason to set the other: that alone makes things worse."""
    calls = []

    class Library:
        def mallopt(self, option, value):
            calls.append((option, value))
            return int(option == -1 or value <= largest)

    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(malloc, "_keeping", False)
    malloc.keep_freed_memory()
    assert calls == expected
    assert malloc._keeping == bool(largest)


@every_method
def test_a_loaded_state_leaves_nothing_of_the_one_before(method, monkeypatch):
    monkeypatch.setattr("bnnrepro.optim.kernels.malloc._keeping", False)
    params = weights((40, 50))
    optimizer = method.seeded(params)
    train(optimizer, params, 1)
    saved = copy.deepcopy(optimizer.state_dict())
    before = [weakref.ref(tensor) for tensor in tensors_of_state(optimizer)]
    kept = weakref.ref(optimizer._spent)
    optimizer.load_state_dict(saved)
    gc.collect()
    assert kept() is None
    assert not [tensor for tensor in before if tensor() is not None]


@every_method
def test_no_memory_around_a_gradient_is_kept(method, monkeypatch):
    monkeypatch.setattr("bnnrepro.optim.kernels.malloc._keeping", False)
    (p,) = params = weights((4, 5))
    optimizer = method.seeded(params)
    with optimizer.sampled_params(train=True):
        torch.cat([torch.zeros(1000), p.view(-1)]).square().sum().backward()
        assert p.grad.untyped_storage().nbytes() > 4000
    optimizer.step()
    assert optimizer._spent is None


@pytest.mark.parametrize("keeping", [False, True])
def test_one_gradient_is_kept_until_the_next_ones_are_there(keeping, monkeypatch):
    """None where the process keeps what is freed, as a trainer's does."""
    monkeypatch.setattr("bnnrepro.optim.kernels.malloc._keeping", keeping)
    layers = nn.ParameterList([torch.zeros(40, 50), torch.zeros(60, 70), torch.zeros(3, 4)])
    optimizer = BayesBiNN(layers, lr=1e-4, train_set_size=10)

    def draw():
        with optimizer.sampled_params(train=True):
            sum((p**2).sum() for p in layers).backward()
            return [weakref.ref(p.grad) for p in layers]

    first = draw()
    assert all(gradient() is not None for gradient in first)
    optimizer.step()
    assert sum(gradient() is not None for gradient in first) == (not keeping)
    assert copy.deepcopy(optimizer)._spent is None
    second = draw()
    assert not any(gradient() is not None for gradient in first)
    assert all(gradient() is not None for gradient in second)
