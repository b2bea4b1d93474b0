"""VGG-16 and the ResNets against the published programs: sizes, forms, the order of layers."""

import pytest
import torch
from torch import nn

from bnnrepro.models.resnet import BasicBlock, ResNet
from bnnrepro.models.vgg import VGG16
from bnnrepro.optim import STE, param_groups

CIFAR = (3, 32, 32)
RESNET20 = {"channels": (16, 32, 64), "blocks": (3, 3, 3), "shortcut": "padding"}
NARROW = {
    VGG16: {"channels": (2, 3, 4, 4, 4), "hidden": (5, 4)},
    ResNet: {"channels": (2, 3, 4), "blocks": (1, 2, 1)},
}
MD = {"bias": "binary", "logit_norm": False}
FORMS = [
    *((model, name, form) for model in NARROW for name, form in (("adaste", {}), ("md", MD))),
    (VGG16, "md", {**MD, "pool_position": "after_activation", "conv_norm_momentum": 0.1}),
    (ResNet, "parq", {"bias": "real", "norm_affine": True, "logit_norm": False}),
    (ResNet, "padding", {"shortcut": "padding", "stem_stride": 2}),
]


@pytest.mark.parametrize(
    ("model", "settings", "classes", "weights"),
    [
        (VGG16, {}, 10, 15_239_872),
        (VGG16, {}, 100, 15_285_952),
        (ResNet, {}, 10, 11_164_352),
        (ResNet, {}, 100, 11_210_432),
        (ResNet, {}, 200, 11_261_632),
        (ResNet, RESNET20, 10, 268_336),
    ],
)
def test_number_of_weights(model, settings, classes, weights):
    with torch.device("meta"):
        built = model(CIFAR, classes, **settings)
    assert sum(parameter.numel() for parameter in built.parameters()) == weights


@pytest.mark.parametrize(("model", "name", "form"), FORMS)
def test_what_a_form_makes_binary_and_what_stays_real(model, name, form):
    built = model(CIFAR, 3, **NARROW[model], **form)
    groups = param_groups(built)
    STE(groups)
    names = {group["binary"]: [name for name, _ in group["params"]] for group in groups}
    biases = [name for name, p in built.named_parameters() if p.dim() == 1]
    if name == "parq":
        assert "classifier.0.linear.bias" in names[False]
        assert len(names[False]) == 1 + 2 * sum(
            isinstance(m, nn.BatchNorm2d) for m in built.modules()
        )
    else:
        assert False not in names
        assert bool(biases) == (form.get("bias") == "binary")


@pytest.mark.parametrize(("model", "name", "form"), FORMS)
def test_every_weight_gets_a_gradient_and_the_output_is_the_logits(model, name, form):
    built = model(CIFAR, 7, **NARROW[model], **form)
    logits = built(torch.randn(4, *CIFAR))
    logits.square().sum().backward()
    assert logits.shape == (4, 7)
    assert all(parameter.grad is not None for parameter in built.parameters())
    last = built.classifier[-1]
    assert hasattr(last, "norm") == form.get("logit_norm", True)


def test_a_block_of_vgg16_is_in_the_order_of_its_program():
    adaste, md = (
        VGG16(CIFAR, 3, **NARROW[VGG16], pool_position=position)
        for position in ("before_norm", "after_activation")
    )
    assert list(dict(adaste.features[1].named_children())) == [
        "convolution", "pool", "norm", "activation"
    ]  # fmt: skip
    assert list(dict(md.features[1].named_children())) == [
        "convolution", "norm", "activation", "pool"
    ]  # fmt: skip
    assert [hasattr(block, "pool") for block in adaste.features] == [
        *2 * [False, True], *3 * [False, False, True]
    ]  # fmt: skip
    md.load_state_dict(adaste.state_dict())


def test_a_block_of_a_resnet_is_its_equation():
    """Padding passes every second pixel on and adds channels of zeros; a projection is 1x1."""
    padded = BasicBlock(2, 4, 2, "padding", {}).eval()
    projected = BasicBlock(2, 4, 2, "projection", {}).eval()
    same = BasicBlock(2, 2, 1, "projection", {}).eval()
    x = torch.randn(3, 2, 5, 5)
    with torch.no_grad():
        shortcut = torch.cat([x[:, :, ::2, ::2], torch.zeros(3, 2, 3, 3)], 1)
        torch.testing.assert_close(padded(x), (padded.body(x) + shortcut).relu())
        torch.testing.assert_close(
            projected(x), (projected.body(x) + projected.downsample(x)).relu()
        )
        torch.testing.assert_close(same(x), (same.body(x) + x).relu())
    assert next(p.shape for p in projected.downsample.parameters()) == (4, 2, 1, 1)
    assert same.downsample is None
    assert padded.downsample is None


@pytest.mark.parametrize("size", [1, 2, 9, 33])
def test_a_resnet_takes_images_of_any_size(size):
    for shortcut in ("projection", "padding"):
        built = ResNet((1, size, size), 3, **NARROW[ResNet], shortcut=shortcut)
        assert built(torch.randn(2, 1, size, size)).shape == (2, 3)


def test_vgg16_needs_a_pixel_after_its_poolings():
    with pytest.raises(ValueError, match="at least 32"):
        VGG16((3, 31, 32), 3, **NARROW[VGG16])
    small = VGG16((1, 8, 8), 3, channels=(2, 3, 4), blocks=(1, 2, 1), hidden=())
    assert small.minimum_size == VGG16.minimum_size_of((2, 3, 4)) == 8
    assert small(torch.randn(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("model", [VGG16, ResNet])
def test_blocks_must_be_given_for_every_stage(model):
    with pytest.raises(ValueError, match=r"blocks=\[1, 1\]: must have 3 entries"):
        model(CIFAR, 3, channels=(2, 2, 2), blocks=(1, 1))
