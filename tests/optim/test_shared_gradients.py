"""Gradients that lie in one memory, in reduced precision, or in a layout of their own."""

import pytest
import torch
from torch import nn

from bnnrepro.optim import STE, BayesBiNN, param_groups

from .methods_under_test import every_method, same, tensors_of_state, weights


@every_method
@pytest.mark.parametrize("real", [False, True])
def test_parameters_may_share_the_memory_of_their_gradients(method, real):
    """Autograd gives both summands of ``a.view(-1) + b.view(-1)`` views of one tensor."""

    def run(shared):
        torch.manual_seed(0)
        a, b = (nn.Parameter(torch.randn(8, 27)) for _ in range(2))
        groups = [{"params": [a]}, {"params": [b], "binary": not real}]
        optimizer = method.seeded(groups)
        for _ in range(3):
            target = torch.randn(216) * 1e-3
            for _ in range(2):
                with optimizer.sampled_params(train=True):
                    if shared:
                        ((a.view(-1) + b.view(-1)) * target).sum().backward()
                        assert a.grad.data_ptr() == b.grad.data_ptr()
                    else:
                        a.grad, b.grad = (target.view(8, 27).clone() for _ in range(2))
            optimizer.step()
        return [a, b, *tensors_of_state(optimizer)]

    assert same(run(True), run(False))


@every_method
@pytest.mark.parametrize("by_autograd", [False, True])
def test_a_gradient_that_the_caller_holds_keeps_its_values(method, by_autograd):
    """Autograd hands ``g`` on as it is, where a view is all that lies between."""

    def run(held):
        (p,) = params = weights((4, 5))
        optimizer = method.seeded(params)
        for _ in range(2):
            g = torch.linspace(-5, 5, 20).view(4, 5)
            for _ in range(2):
                given = g if held else g.clone()
                with optimizer.sampled_params(train=True):
                    if by_autograd:
                        p.view(-1).backward(given.view(-1))
                    else:
                        p.grad = given
                if not held:
                    del given
            optimizer.step()
            assert torch.equal(g, torch.linspace(-5, 5, 20).view(4, 5))
        return [p, *tensors_of_state(optimizer)]

    assert same(run(True), run(False))


def test_two_optimizers_may_share_the_memory_of_their_gradients():
    def run(shared):
        a, b = weights((4, 5), (4, 5))
        target = torch.linspace(-1, 1, 20)
        outer = BayesBiNN([a], lr=1e-2, train_set_size=50, temperature=1.0, init=1.0)
        outer.generator = torch.Generator().manual_seed(0)
        inner = STE([b], grad_clip=0.1)
        with outer.sampled_params(train=True):
            with inner.sampled_params(train=True):
                if shared:
                    ((a.view(-1) + b.view(-1)) * target).sum().backward()
                else:
                    a.grad, b.grad = (target.view(4, 5).clone() for _ in range(2))
            inner.step()
        outer.step()
        return [*tensors_of_state(outer), *tensors_of_state(inner)]

    torch.manual_seed(0)
    first = run(True)
    torch.manual_seed(0)
    assert same(first, run(False))


@every_method
def test_a_gradient_of_its_own_is_not_copied(method):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    )
    optimizer = method.seeded(param_groups(network))
    with optimizer.sampled_params(train=True):
        loss = network(torch.randn(5, 3, 8, 8)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1e3)
        where = {p: p.grad.data_ptr() for p in network.parameters()}
    assert where == {p: g.data_ptr() for p, g in optimizer._gradients.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_bayesbinn_moves_weights_of_any_precision(dtype, momentum):
    weight = nn.Parameter(torch.zeros(16, 64, dtype=dtype))
    optimizer = BayesBiNN([weight], lr=1e-2, train_set_size=100, temperature=0.1, momentum=momentum)
    before = optimizer.state[weight]["natural_parameter"].clone()
    with optimizer.sampled_params(train=True):
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    moved = optimizer.state[weight]["natural_parameter"] != before
    assert moved.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("near", [0, 10, 256])
def test_a_model_may_change_its_precision_later(dtype, momentum, near):
    torch.manual_seed(0)
    layer = nn.Linear(32, 8, bias=False)
    optimizer = BayesBiNN(layer.parameters(), lr=1e-2, train_set_size=100, momentum=momentum)
    natural = optimizer.state[layer.weight]["natural_parameter"]
    natural.view(-1)[:near] = 0.5
    layer.weight.data.view(-1)[:near] = 1
    layer.to(dtype)
    before, weights = natural.clone(), []
    for _ in range(2):
        with optimizer.sampled_params(train=True):
            weights.append(layer.weight.detach().clone())
            layer(torch.randn(4, 32, dtype=dtype)).square().mean().backward()
        assert torch.equal(layer.weight, torch.where(natural >= 0, 1, -1).to(dtype))
        optimizer.step()
    assert ((weights[0] < 0).view(-1)[:near].any()) == (near > 0)
    assert (natural != before).all()
    assert natural.isfinite().all()


def test_bayesbinn_in_half_precision_moves_as_in_float32():
    """1e-10, which keeps the scale s finite, is 0 in float16: the natural parameter is float32."""

    def run(dtype):
        weight = nn.Parameter(torch.zeros(16, 64, dtype=dtype))
        source = torch.Generator().manual_seed(0)
        optimizer = BayesBiNN(
            [weight], lr=1e-2, train_set_size=100, temperature=1.0, init=5.0, generator=source
        )
        with optimizer.sampled_params(train=True):
            weight.grad = torch.full_like(weight, 2.0**-10)
        optimizer.step()
        return optimizer.state[weight]["natural_parameter"]

    torch.testing.assert_close(run(torch.float16), run(torch.float32), rtol=2e-2, atol=0.05)


def test_near_weights_are_found_after_a_step_in_another_layout():
    """A step that did not look for them must not leave what was known before it."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 16, 5, 5))
    optimizer = BayesBiNN([weight], lr=1e-3, train_set_size=100, temperature=1e-3)
    natural = optimizer.state[weight]["natural_parameter"]

    def step(gradient):
        with optimizer.sampled_params(train=True):
            weight.grad = gradient
        optimizer.step()

    step(torch.ones_like(weight) * 1e-4)
    contiguous = weight.data
    weight.data = contiguous.contiguous(memory_format=torch.channels_last)
    towards_zero = torch.zeros_like(weight)
    towards_zero[:4, :1] = natural[:4, :1] / (1e-3 * 100 / 1e-3)
    step(towards_zero)
    weight.data = weight.data.contiguous()
    near = int((natural.abs() < 8).sum())
    assert near == 100
    with optimizer.sampled_params(train=True):
        drawn = optimizer._drawn[weight]
        weight.grad = torch.zeros_like(weight)
    assert drawn is not None
    assert len(drawn.places) == near
