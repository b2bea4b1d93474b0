"""Gradients that lie in one memory, in reduced precision, or in a layout of their own."""

import pytest
import torch
from torch import nn

from bnnrepro.optim import BayesBiNN

from .methods_under_test import every_method, same, tensors_of_state


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
