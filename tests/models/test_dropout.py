"""Dropout with its own masks: the layer of torch.nn in distribution, in eval, and at its ends."""

import math

import pytest
import torch
from torch import nn

from bnnrepro.models.blocks import Dropout


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_each_element_is_dropped_with_the_rate_and_the_others_are_scaled(p):
    torch.manual_seed(0)
    inputs = torch.full((400, 1000), 3.0, requires_grad=True)
    outputs = Dropout(p)(inputs)
    kept = outputs != 0
    torch.testing.assert_close(outputs[kept], torch.full_like(outputs[kept], 3 / (1 - p)))
    spread = math.sqrt(p * (1 - p) / inputs.numel())
    assert abs(float(kept.double().mean()) - (1 - p)) < 5 * spread
    for by_line in (kept.double().mean(0), kept.double().mean(1)):
        assert by_line.std() < 1.2 * math.sqrt(p * (1 - p) / (inputs.numel() / len(by_line)))
    outputs.sum().backward()
    assert torch.equal(inputs.grad, kept / (1 - p))


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept, next_call = ((Dropout(0.3)(torch.ones(1000, 1000)) != 0).double() - 0.7 for _ in range(2))
    for other in (kept.roll(1, 0), kept.roll(1, 1), next_call):
        correlation = float((kept * other).mean()) / 0.21
        assert abs(correlation) < 5 / 1000


def test_in_eval_and_at_a_rate_of_0_nothing_happens_and_at_1_nothing_is_left():
    inputs = torch.randn(4, 5)
    state = torch.get_rng_state()
    assert Dropout(0.4).eval()(inputs) is inputs
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    assert torch.equal(Dropout(1.0)(inputs), torch.zeros(4, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_type_and_memory_format_stay(dtype, memory_format):
    inputs = torch.ones(8, 16, 12, 12, dtype=dtype).contiguous(memory_format=memory_format)
    torch.manual_seed(1)
    outputs = Dropout(0.3)(inputs)
    assert outputs.dtype == dtype
    assert outputs.is_contiguous(memory_format=memory_format)
    torch.manual_seed(1)
    expected = Dropout(0.3)(torch.ones_like(inputs, dtype=torch.float32))
    assert torch.equal(outputs != 0, expected != 0)  # bfloat16 draws no coarser mask


def test_in_float64_the_scale_is_exact():
    torch.manual_seed(0)
    outputs = Dropout(0.3)(torch.ones(1000, dtype=torch.float64))
    assert set(outputs.tolist()) == {0.0, 1 / 0.7}


def test_it_is_what_torch_calls_dropout():
    layer = Dropout(0.1)
    assert isinstance(layer, nn.Dropout)
    with pytest.raises(ValueError, match="dropout"):
        Dropout(1.1)
    inputs = torch.ones(5)
    assert Dropout(0.5, inplace=True)(inputs) is inputs
    with pytest.raises(RuntimeError):
        layer(torch.ones(3, dtype=torch.int64))
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    assert layer(nested).is_nested


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_a_model_with_it_can_be_scripted():
    model = nn.Sequential(nn.Linear(4, 3), Dropout(0.2)).eval()
    inputs = torch.randn(2, 4)
    assert torch.equal(torch.jit.script(model)(inputs), model(inputs))
