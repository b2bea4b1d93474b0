"""The element-wise operations of the methods, against NumPy in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import PMF
from bnnrepro.optim.adam import adam_, adam_settings
from bnnrepro.optim.kernels.arithmetic import abs_tanh, tanh, to_signs_


@pytest.mark.parametrize("temperature", [1e-10, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tanh(dtype, temperature):
    """Within an epsilon of the true value at the rounded argument, odd, and 1 where that is."""
    x = torch.cat([torch.linspace(-25, 25, 100_001, dtype=dtype), torch.logspace(-30, 6, 500)])
    x = (x * temperature).to(dtype)
    exact = np.tanh(x.double().numpy() / temperature)
    eps = torch.finfo(dtype).eps
    found = tanh(x, temperature)
    assert (np.abs(found.double().numpy() - exact) <= 1.1 * eps).all()
    assert torch.equal(tanh(-x, temperature), -found)
    assert torch.equal(abs_tanh(x, temperature), found.abs())
    assert found.abs().max() == 1
    assert (found.abs()[np.abs(exact) < 1 - eps] < 1).all()


def test_tanh_of_what_is_no_number():
    values = tanh(torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0]))
    assert values[:2].tolist() == [1, -1]
    assert values[2].isnan()
    assert values[3] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_signs_are_those_of_the_bits(dtype):
    tensor = torch.tensor([3.0, -1e-7, 0.0, -0.0, -float("inf")], dtype=dtype)
    to_signs_(tensor)
    assert tensor.tolist() == [1, -1, 1, -1, -1]


def test_adam_along_a_gradient_is_adam_against_its_negative():
    def run(maximize):
        torch.manual_seed(0)
        tensor, state = torch.randn(500), {}
        for _ in range(20):
            gradient = torch.randn(500)
            sign = 1 if maximize else -1
            settings = adam_settings(weight_decay=0.1)
            adam_([tensor], [sign * gradient], [state], settings, maximize=maximize)
        return tensor

    assert torch.equal(run(True), run(False))


@pytest.mark.parametrize("written", [False, True])
def test_pmf_shows_its_mode_whatever_was_written_inside(written):
    p = nn.Parameter(torch.randn(50, 40))
    optimizer = PMF([p])
    plus, minus = optimizer.state[p]["logits"]
    minus[0] = plus[0]  # a difference of 0
    plus[1], minus[1] = -1e-38, 1e-38
    mode = torch.where(plus >= minus, 1.0, -1.0)
    with optimizer.sampled_params(train=True):
        (p**2).sum().backward()
        if written:
            with torch.no_grad():
                p.neg_()
    assert torch.equal(p, mode)
