"""The summary: counts, ratio, order, text, and that the model is left as it was."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnnrepro.models.mlp import MLP
from bnnrepro.models.summary import summarise
from bnnrepro.models.vgg import VGG

CIFAR = (3, 32, 32)


def test_binary_network_is_32_times_smaller():
    model = VGG(CIFAR, 10, channels=(4, 4), hidden=(6,))
    summary = summarise(model, CIFAR)
    weights = 3 * 4 * 9 + 4 * 4 * 9 + 4 * 16 * 16 * 6 + 6 * 10
    assert (summary.binary, summary.real, summary.bits) == (weights, 0, weights)
    assert summary.ratio == 32
    assert summary.buffers == 2 * (4 + 4 + 6 + 10)


@settings(max_examples=20, deadline=None)
@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), bias=st.booleans())
def test_biases_are_real_by_default_and_rows_add_up(widths, bias):
    pairs = list(pairwise(widths))
    summary = summarise(nn.Sequential(*(nn.Linear(i, o, bias=bias) for i, o in pairs)), widths[:1])
    assert summary.binary == sum(i * o for i, o in pairs)
    assert summary.real == (sum(widths[1:]) if bias else 0)
    assert summary.bits == summary.binary + 32 * summary.real == sum(r.bits for r in summary.rows)
    assert summary.ratio == 32 * summary.parameters / summary.bits
    assert [row.output for row in summary.rows] == [(width,) for width in widths[1:]]


def test_rule_decides_what_is_binary():
    model = nn.Linear(3, 2)
    everything = summarise(model, (3,), binary=lambda parameter: True)
    nothing = summarise(model, (3,), binary=lambda parameter: False)
    assert (everything.binary, everything.real, everything.ratio) == (8, 0, 32)
    assert (nothing.binary, nothing.real, nothing.ratio) == (0, 8, 1)


class Odd(nn.Module):
    """Own parameter, layers run against the order of definition, one shared, one unused."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 3))
        self.second = nn.Linear(3, 3, bias=False)
        self.first = nn.Linear(3, 3, bias=False)
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.first.weight
        self.unused = nn.Linear(3, 5, bias=False)

    def forward(self, x):
        return self.tied(self.second(self.first(x))) @ self.scale


def test_rows_follow_execution_and_every_parameter_counts_once():
    model = Odd()
    summary = summarise(model, (3,))
    assert [(row.name, row.binary, row.output) for row in summary.rows] == [
        ("first", 9, (3,)),
        ("second", 9, (3,)),
        ("tied", 0, (3,)),
        ("(model)", 9, (3,)),
        ("unused", 15, None),
    ]
    assert summary.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_model_without_parameters():
    summary = summarise(nn.Sequential(nn.ReLU()), (3,))
    assert (summary.parameters, summary.bits, summary.ratio) == (0, 0, 1)
    assert "0 parameters" in str(summary)


def state(model):
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    return modes, hooks


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 9, 9)], ids=["runs", "fails in the forward"])
def test_model_is_left_as_it_was(shape):
    model = MLP((1, 8, 8), 3, (4,)).double()
    model.layers[0].eval()
    model.layers[1].register_forward_hook(lambda *_: None)
    before, tensors = state(model), copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    if shape == (1, 8, 8):
        summarise(model, shape)
    else:
        with pytest.raises(RuntimeError):
            summarise(model, shape)
    assert state(model) == before
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name])


def test_text_is_the_same_plain_aligned_table_whatever_the_terminal(monkeypatch):
    summary = summarise(VGG((1, 8, 8), 10, channels=(40, 40), hidden=(6,)), (1, 8, 8))
    text = str(summary)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "20", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert str(summary) == text
    assert text.isascii()
    assert "\x1b" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in table}) == 1
    assert len(table) == len(summary.rows) + 4
    for figure in (summary.binary, summary.bits):
        assert f"{figure:,}" in table[-1]
    assert f"{summary.buffers:,} real values in buffers" in text


def test_brackets_in_a_name_are_no_markup():
    model = nn.ModuleDict({"[red]": nn.Linear(2, 2)})
    model.forward = lambda x: model["[red]"](x)
    assert "[red]" in str(summarise(model, (2,)))
