"""The image classifiers against the protocol's sheet: sizes, order, constants, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnnrepro.models.blocks import Dropout
from bnnrepro.models.lrnet import LRNetBig, LRNetSmall
from bnnrepro.models.mlp import MLP
from bnnrepro.models.vgg import VGG

DIGITS, MNIST, CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)
MODELS = [MLP, VGG, LRNetSmall, LRNetBig]
KINDS = {
    Dropout: "dropout",
    nn.Linear: "linear",
    nn.Conv2d: "convolution",
    nn.MaxPool2d: "pool",
    nn.BatchNorm1d: "norm",
    nn.BatchNorm2d: "norm",
    nn.ReLU: "relu",
}
POOLED, PLAIN = "convolution pool norm relu", "convolution norm relu"
HIDDEN, LAST = "linear norm relu", "linear norm"


def build_small(model, shape, classes=3, **settings):
    """A model of few weights, for the properties that do not depend on the widths."""
    if model is MLP:
        settings = {"hidden": (5, 4), **settings}
    if model is VGG:
        settings = {"channels": (2, 2, 3, 3, 4, 4), "hidden": (5, 4), **settings}
    return model(shape, classes, **settings)


def execution(model, shape):
    """The kinds of the layers in the order in which a forward runs them."""
    order = []
    for module in model.modules():
        if type(module) in KINDS:
            module.register_forward_hook(lambda m, _inputs, _output: order.append(KINDS[type(m)]))
    with torch.no_grad():
        model.eval()(torch.zeros(2, *shape))
    return " ".join(order)


@pytest.mark.parametrize(
    ("model", "shape", "classes", "weights"),
    [
        (MLP, MNIST, 10, 10_014_720),
        (VGG, CIFAR, 10, 14_022_016),
        (VGG, CIFAR, 100, 14_114_176),
        (LRNetSmall, MNIST, 10, 25 * (32 + 32 * 64) + 64 * 7 * 7 * 512 + 512 * 10),
        (LRNetBig, CIFAR, 10, 14_022_016 - 1024 * 1024),
    ],
)
def test_number_of_weights(model, shape, classes, weights):
    with torch.device("meta"):
        built = model(shape, classes)
    assert sum(parameter.numel() for parameter in built.parameters()) == weights


@pytest.mark.parametrize("model", MODELS)
def test_parameters_are_the_weights_of_linear_layers_and_convolutions_only(model):
    built = build_small(model, DIGITS)
    weights = [m.weight for m in built.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert [id(p) for p in built.parameters()] == [id(weight) for weight in weights]
    assert all(weight.dim() >= 2 for weight in weights)


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        (MLP, 2 * ["dropout linear norm relu"] + ["dropout linear norm"]),
        (VGG, 3 * [PLAIN, POOLED] + [HIDDEN, HIDDEN, LAST]),
        (LRNetSmall, [POOLED, POOLED, HIDDEN, LAST]),
        (LRNetBig, 3 * [PLAIN, POOLED] + [HIDDEN, LAST]),
    ],
)
def test_order_of_execution(model, blocks):
    assert execution(build_small(model, DIGITS), DIGITS) == " ".join(blocks)


@pytest.mark.parametrize("model", [MLP, VGG])
def test_printed_order_swaps_norm_and_activation_and_nothing_else(model):
    default = build_small(model, DIGITS)
    printed = build_small(model, DIGITS, norm_position="after_activation")
    expected = execution(default, DIGITS).replace("norm relu", "relu norm")
    assert execution(printed, DIGITS) == expected
    printed.load_state_dict(default.state_dict())


def norms(model):
    """Where each BatchNorm stands, its eps and momentum, and whether it learns anything."""
    return {
        (type(m).__name__, m.eps, m.momentum, m.affine, m.track_running_stats)
        for m in model.modules()
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
    }


@pytest.mark.parametrize(
    ("model", "eps", "after_convolution", "after_linear"),
    [
        (MLP, 1e-4, None, 0.15),
        (VGG, 1e-5, 0.2, 0.1),
        (LRNetSmall, 1e-5, 0.15, 0.1),
        (LRNetBig, 1e-5, 0.2, 0.1),
    ],
)
def test_batch_norm_constants(model, eps, after_convolution, after_linear):
    expected = {("BatchNorm1d", eps, after_linear, False, True)}
    if after_convolution is not None:
        expected.add(("BatchNorm2d", eps, after_convolution, False, True))
    assert norms(build_small(model, DIGITS)) == expected


def test_batch_norm_constants_are_arguments():
    assert norms(MLP(DIGITS, 3, (4,), norm_eps=0.5, norm_momentum=0.7)) == {
        ("BatchNorm1d", 0.5, 0.7, False, True)
    }
    momenta = {"conv_norm_momentum": 0.7, "linear_norm_momentum": 0.6}
    for model in (VGG, LRNetSmall, LRNetBig):
        assert norms(build_small(model, DIGITS, norm_eps=0.5, **momenta)) == {
            ("BatchNorm2d", 0.5, 0.7, False, True),
            ("BatchNorm1d", 0.5, 0.6, False, True),
        }


def test_dropout_rates():
    rates = [m.p for m in MLP(DIGITS, 3, (4, 4)).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.2, 0.2, 0.2]
    assert "dropout" not in execution(MLP(DIGITS, 3, (4,), dropout=0), DIGITS)
    with pytest.raises(ValueError, match="dropout"):
        MLP(DIGITS, 3, (4,), dropout=-0.1)


@pytest.mark.parametrize("shape", [DIGITS, MNIST, CIFAR])
@pytest.mark.parametrize("model", MODELS)
def test_logits_in_both_modes(model, shape):
    built = build_small(model, shape, classes=7)
    images = torch.randn(3, *shape)
    assert built(images).shape == (3, 7)
    assert built.eval()(images).shape == (3, 7)


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_gets_a_gradient(model):
    built = build_small(model, DIGITS)
    built(torch.randn(16, *DIGITS)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15, deadline=None)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    classes=st.integers(1, 4),
)
def test_any_size_from_the_minimum_on_works_and_smaller_is_refused(
    model, channels, height, width, classes
):
    shape = (channels, height, width)
    if min(height, width) < model.minimum_size:
        with pytest.raises(ValueError, match=f"at least {model.minimum_size}$") as error:
            build_small(model, shape, classes)
        assert str(shape) in str(error.value)
    else:
        built = build_small(model, shape, classes).eval()
        assert built(torch.zeros(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize(("model", "minimum"), [(MLP, 1), (VGG, 8), (LRNetSmall, 4), (LRNetBig, 8)])
def test_minimum_size_is_known_before_building(model, minimum):
    assert model.minimum_size == minimum
    assert build_small(model, CIFAR).minimum_size == minimum


def test_minimum_size_follows_the_number_of_poolings():
    deeper = {"channels": (2,) * 8, "hidden": (4,)}
    assert VGG((3, 16, 16), 3, **deeper).minimum_size == 16
    with pytest.raises(ValueError, match="at least 16"):
        VGG((3, 15, 16), 3, **deeper)


@pytest.mark.parametrize("shape", [(28, 28), (1, 1, 28, 28), (0, 28, 28)])
@pytest.mark.parametrize("model", MODELS)
def test_shape_that_is_no_image_is_refused(model, shape):
    with pytest.raises(ValueError, match="shape="):
        build_small(model, shape)


@pytest.mark.parametrize("model", [MLP, VGG])
def test_unknown_norm_position_is_refused(model):
    with pytest.raises(ValueError, match=r"norm_position=middle.*before_activation"):
        build_small(model, DIGITS, hidden=(), norm_position="middle")
