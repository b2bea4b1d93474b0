import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnrepro.data.images import Augment, changed, normalise, sample_changes


def stream(seed):
    return torch.Generator().manual_seed(seed)


def one_by_one(images, changes, pad):
    """Crop and mirror pixel by pixel."""
    _, _, height, width = images.shape
    result = torch.zeros_like(images)
    for b, (down, right, mirrored) in enumerate(changes.T.tolist()):
        for row in range(height):
            for column in range(width):
                seen = width - 1 - column if mirrored else column
                y, x = row + down - pad, seen + right - pad
                if 0 <= y < height and 0 <= x < width:
                    result[b, :, row, column] = images[b, :, y, x]
    return result


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, high) for high in (5, 3, 6, 6)]),
    pad=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 2**62),
)
def test_crops_and_mirrors_as_a_loop_over_pixels_does(shape, pad, flip, seed):
    images = torch.randint(1, 256, shape, dtype=torch.uint8, generator=stream(seed + 1))
    changes = sample_changes(Augment(pad, flip), shape[0], stream(seed))
    assert torch.equal(changed(images, changes, pad), one_by_one(images, changes, pad))


def test_draws_are_uniform_and_of_each_image_by_itself():
    down, right, mirrored = sample_changes(Augment(4, True), 20_000, stream(0))
    for offsets in (down, right):
        shares = offsets.bincount(minlength=9) / 20_000
        assert len(shares) == 9
        assert torch.allclose(shares, torch.full((9,), 1 / 9), atol=0.01)
    assert abs(mirrored.double().mean() - 0.5) < 0.02
    pairs = torch.stack([down, right, mirrored]).double()
    assert (torch.corrcoef(pairs) - torch.eye(3)).abs().max() < 0.03


def test_nothing_asked_for_changes_nothing():
    images = torch.randint(0, 256, (6, 3, 5, 4), dtype=torch.uint8, generator=stream(0))
    changes = sample_changes(Augment(), 6, stream(1))
    assert torch.equal(changed(images, changes, 0), images)


def test_normalise_has_each_channels_mean_and_std_in_units_of_255():
    images = torch.randint(0, 256, (6, 2, 5, 4), dtype=torch.uint8, generator=stream(0))
    mean, std = torch.tensor([0.2, 0.5]), torch.tensor([0.3, 2.0])
    x = normalise(images, mean, std)
    assert x.dtype == torch.float32
    for channel in range(2):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        assert torch.allclose(x[:, channel].double(), expected, atol=1e-6)
