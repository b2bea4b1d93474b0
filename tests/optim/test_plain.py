"""The optimizers against the transcriptions that the benchmarks measure them with.

From the same start, on the same batches of a real network, with the same noise.
"""

import pytest
import torch
from benchmarks import plain
from torch import nn
from torch.nn.utils import parameters_to_vector

from bnnrepro.optim import PMF, STE, BayesBiNN, Bop
from bnnrepro.optim.kernels.noise import random_bits

from .uniforms import of_bits

STEPS = 25


def network():
    torch.manual_seed(3)
    layers = (nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 3, bias=False))
    return nn.Sequential(*layers).double()


def batches():
    stream = torch.Generator().manual_seed(4)
    for _ in range(STEPS):
        inputs = torch.randn(10, 8, dtype=torch.float64, generator=stream)
        yield inputs, torch.randint(3, (10,), generator=stream)


def state(optimizer, key):
    return torch.cat([optimizer.state[p][key].flatten() for p in optimizer.state])


def both(ours, theirs, model, twin):
    """Train both and compare the weights after every step."""
    for inputs, targets in batches():

        def loss_of(network, inputs=inputs, targets=targets):
            return nn.functional.cross_entropy(network(inputs), targets)

        def closure(loss_of=loss_of):
            loss = loss_of(model)
            loss.backward()
            return loss

        torch.manual_seed(5)
        loss = ours.step(closure)
        torch.manual_seed(5)
        expected = theirs.step(lambda loss_of=loss_of: loss_of(twin))
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-9, atol=1e-9)
        vectors = [parameters_to_vector(net.parameters()).detach() for net in (model, twin)]
        assert torch.equal(*vectors)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_bayesbinn(samples, momentum):
    model, twin = network(), network()
    settings = {"lr": 0.05, "train_set_size": 20, "temperature": 0.8, "momentum": momentum}
    ours = BayesBiNN(model.parameters(), init=1.0, train_samples=samples, **settings)
    theirs = plain.BayesBiNN(twin.parameters(), init=1.0, train_samples=samples, **settings)
    theirs.natural = state(ours, "natural_parameter").clone()
    theirs.uniform = lambda: torch.cat([of_bits(random_bits(p, None)).view(-1) for p in ours.state])
    start = theirs.natural.clone()
    both(ours, theirs, model, twin)
    torch.testing.assert_close(
        state(ours, "natural_parameter"), theirs.natural, rtol=1e-9, atol=1e-9
    )
    assert (theirs.natural.sign() != start.sign()).any()


def test_ste():
    model, twin = network(), network()
    theirs = plain.STE(twin.parameters(), lr=0.05)
    ours = STE(model.parameters(), lr=0.05)
    both(ours, theirs, model, twin)
    torch.testing.assert_close(state(ours, "latent"), theirs.latent, rtol=1e-6, atol=1e-7)


def test_bop():
    model, twin = network(), network()
    settings = {"threshold": 1e-3, "adaptivity_rate": 0.2}
    ours, theirs = Bop(model.parameters(), **settings), plain.Bop(twin.parameters(), **settings)
    theirs.w = parameters_to_vector(model.parameters()).detach().clone()
    start = theirs.w.clone()
    both(ours, theirs, model, twin)
    assert (theirs.w != start).any()


def test_pmf():
    model, twin = network(), network()
    settings = {"lr": 0.05, "rho": 1.3, "beta_interval": 4}
    ours, theirs = PMF(model.parameters(), **settings), plain.PMF(twin.parameters(), **settings)
    logits = [ours.state[p]["logits"].flatten(1) for p in model.parameters()]
    theirs.logits = torch.cat(logits, 1).clone()
    both(ours, theirs, model, twin)
    logits = torch.cat([ours.state[p]["logits"].flatten(1) for p in model.parameters()], 1)
    torch.testing.assert_close(logits, theirs.logits, rtol=1e-6, atol=1e-7)
