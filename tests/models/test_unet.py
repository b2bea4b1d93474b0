"""The U-Net: sizes of the paper's figure 1, fields of view, and weights that can be binary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bnnrepro.data.segmentation import mirrored
from bnnrepro.models.unet import UNet, centre, margin_of, whole_size


def small(depth=2, channels=1, classes=2, **more):
    model = UNet((channels, 200, 200), classes, [3, 4, 5, 6, 7][: depth + 1], **more)
    return model.eval()


def test_the_published_sizes():
    with torch.device("meta"):
        model = UNet((1, 572, 572), 2)
        assert model(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    bottom = model.down[-1][0].weight.shape
    assert bottom == (1024, 512, 3, 3)
    assert [margin_of(depth) for depth in range(5)] == [2, 8, 20, 44, 92]


def test_all_parameters_are_weights_of_convolutions_plain_and_transposed():
    model = small()
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert any(isinstance(layer, nn.ConvTranspose2d) for layer in layers)
    assert {id(p) for p in model.parameters()} == {id(layer.weight) for layer in layers}
    assert all(layer.padding == (0, 0) for layer in layers)
    rates = {m.p for m in model.modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.05}


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(0, 3), height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_output_is_the_input_less_the_margin_for_any_size(depth, height, width):
    model = small(depth, classes=3)
    around = 2 * model.margin
    with torch.inference_mode():
        assert model(torch.randn(1, 1, height + around, width + around)).shape[2:] == (
            height,
            width,
        )


@given(size=st.integers(1, 600), depth=st.integers(0, 4))
def test_whole_sizes_halve_without_a_rest(size, depth):
    whole = whole_size(size, depth)
    assert size <= whole
    assert whole - size < 4 + 2**depth
    sides = whole + 2 * margin_of(depth)
    for _ in range(depth):
        sides -= 4
        assert sides % 2 == 0
        sides //= 2
    assert sides > 4


@pytest.mark.parametrize("depth", [1, 2])
def test_no_output_sees_beyond_its_margin_and_every_one_sees_its_own_pixel(depth):
    model = small(depth).double()
    margin = model.margin
    size = whole_size(20, depth)
    for parameter in model.parameters():
        parameter.data.abs_()  # with inputs above zero no unit is dead, whatever was drawn
    inputs = torch.rand(1, 1, size + 2 * margin, size + 2 * margin, dtype=torch.double)
    inputs.requires_grad_()
    row, column = size // 2, size // 2 + 1
    model(inputs)[0, 0, row, column].backward()
    seen = inputs.grad[0, 0].abs() > 0
    rows, columns = (seen.any(1 - dim).nonzero() for dim in (0, 1))
    # The pooling's grid lets a field reach a few pixels further to one side.
    reach = margin + 2**depth
    for reached, place in ((rows, row), (columns, column)):
        assert place + margin - reach <= reached.min() <= place + margin
        assert place + margin <= reached.max() <= place + margin + reach


def test_tiles_with_their_true_surroundings_stitch_to_the_whole_images_prediction():
    torch.manual_seed(0)
    model = small(2).double()
    margin, step = model.margin, 16
    size = whole_size(48, 2)
    image = mirrored(torch.randn(1, 1, size, size, dtype=torch.double), margin)
    whole = model(image)
    for top in range(0, size - step, step):
        for left in range(0, size - step, step):
            tile = model(
                image[:, :, top : top + step + 4 + 2 * margin, left : left + step + 4 + 2 * margin]
            )
            part = whole[:, :, top : top + step, left : left + step]
            assert torch.allclose(tile[:, :, :step, :step], part, atol=1e-9)


def test_every_weight_gets_a_gradient():
    model = small().train()
    model(torch.randn(2, 1, 52, 52)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_centre():
    features = torch.arange(36.0).view(1, 1, 6, 6)
    assert centre(features, torch.zeros(1, 1, 2, 4))[0, 0].tolist() == [
        [13, 14, 15, 16],
        [19, 20, 21, 22],
    ]


@pytest.mark.parametrize("shape", [(1, 40, 60), (60, 60), (0, 60, 60)])
def test_an_image_below_the_minimum_is_refused(shape):
    with pytest.raises(ValueError, match="at least 41"):
        UNet(shape, 2, [3, 4, 5])
    assert UNet((1, 41, 41), 2, [3, 4, 5]).minimum_size == 41
    with pytest.raises(ValueError, match="channels"):
        UNet((1, 60, 60), 2, [])
