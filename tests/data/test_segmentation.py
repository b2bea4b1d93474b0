"""Images and labels: what is cut, turned and mirrored happens to both alike."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnrepro.data import shapes
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.segmentation import SegmentationSet, Turn, mirrored
from bnnrepro.errors import UserError


def dataset(count=5, size=20, **keys):
    """Images that are their labels, 255 times."""
    source = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (count, size, size), generator=source, dtype=torch.uint8)
    samples = Samples(labels[:, None] * 255, labels, tuple(f"img_{k}" for k in range(count)))
    return made(samples, **{"crop": 8, "crops": 2} | keys)


def made(samples, **keys):
    usual = {"name": "made", "mean": (0.0,), "std": (1.0,)}
    return SegmentationSet(Arrays(samples, samples, ("a", "b")), **usual | keys)


def crops_of(data, batch_size=3, seed=0, margin=0):
    return data.training(data.train, batch_size=batch_size, seed=seed, margin=margin)


def inner(images, margin):
    return images[..., margin : images.shape[-2] - margin, margin : images.shape[-1] - margin]


@pytest.mark.parametrize("margin", [0, 3, 19, 45])
@pytest.mark.parametrize("crop", [8, 20, None])
def test_a_label_made_from_the_image_is_so_after_every_change(crop, margin):
    data = dataset(crop=crop)
    source = crops_of(data, margin=margin)
    side = crop or 20
    seen = 0
    for number in range(3):
        for inputs, labels in source.epoch(number):
            assert labels.shape[1:] == (side, side)
            assert inputs.shape[2:] == (side + 2 * margin, side + 2 * margin)
            assert labels.dtype == torch.int64
            assert torch.equal(inner(inputs, margin)[:, 0], labels.float())
            seen += len(labels)
    assert seen == 3 * source.n_samples == 3 * 5 * 2


def test_a_crop_shows_the_images_own_surroundings():
    """The surroundings are the image's pixels, and beyond its edge their mirror image."""
    data = dataset(count=1, crop=6, crops=40, augment=Turn(False, False))
    source = crops_of(data, batch_size=40, margin=5)
    image = mirrored(data.train.inputs[0, 0], 5) / 255
    places = {
        image[top : top + 16, left : left + 16].numpy().tobytes(): (top, left)
        for top in range(15)
        for left in range(15)
    }
    ((inputs, _),) = source.epoch(0)
    corners = {places[crop[0].contiguous().numpy().tobytes()] for crop in inputs}
    assert len(corners) > 20
    assert {0, 14} <= {top for top, _ in corners}


def test_all_eight_turnings_occur_and_none_where_none_is_asked_for():
    pixels = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    one = Samples(pixels[:, None], pixels % 2, ("one",))

    def kinds(flip, rotate):
        data = made(one, crops=100, augment=Turn(flip, rotate), std=(1 / 255,))
        ((images, _),) = crops_of(data, batch_size=100).epoch(0)
        return {tuple(image.flatten().round().tolist()) for image in images}

    assert [len(kinds(f, r)) for f in (False, True) for r in (False, True)] == [1, 4, 2, 8]


def test_an_epoch_is_a_function_of_seed_and_number():
    data = dataset()

    def batches(seed, number, start=0):
        source = crops_of(data, seed=seed)
        return [torch.cat([x.flatten(), y.flatten()]) for x, y in source.epoch(number, start)]

    first = batches(0, 4)
    assert len(first) == 4
    assert all(map(torch.equal, batches(0, 4), first))
    assert all(map(torch.equal, batches(0, 4, 2), first[2:]))
    assert not torch.equal(first[0], batches(1, 4)[0])
    assert not torch.equal(first[0], batches(0, 5)[0])


@given(size=st.integers(1, 9), margin=st.integers(0, 30))
def test_mirroring_walks_back_and_forth(size, margin):
    row = torch.arange(size, dtype=torch.uint8).expand(2, 3, size, size)
    wide = mirrored(row, margin)
    assert wide.shape == (2, 3, size + 2 * margin, size + 2 * margin)
    assert torch.equal(inner(wide, margin), row)
    steps = wide[0, 0, 0].int().diff().abs()
    assert torch.equal(steps, torch.full_like(steps, int(size > 1)))
    assert torch.equal(wide, wide.flip(-2))


def test_whole_images_come_one_by_one_with_their_margin():
    data = dataset(mean=(0.5,), std=(2.0,))
    source = data.evaluation(data.test, margin=7)
    for k, (inputs, labels) in enumerate(source.epoch(0)):
        assert inputs.shape == (1, 1, 34, 34)
        assert torch.equal(labels[0], data.test.targets[k].long())
        assert torch.allclose(inner(inputs, 7)[:, 0], (labels - 0.5) / 2.0)
    assert k + 1 == len(source) == source.n_samples == 5


def sources(data, **more):
    return data.sources(**{"seed": 0, "device": "cpu", "batch_size": 3} | more)


def test_splits_and_limits_are_of_images():
    data = dataset(10, crops=3, validation_split=0.2)
    limited = sources(data, train_limit=5, test_limit=2)
    counts = [limited.train, limited.validation, limited.test]
    assert [source.n_samples for source in counts] == [4 * 3, 1, 2]
    assert sources(dataset(10, validation_split=0.0)).validation is None


def test_a_batch_larger_than_an_epoch_is_the_epoch():
    train = sources(dataset(validation_split=0.0), batch_size=11).train
    assert (len(train), train.n_samples) == (1, 10)


def test_images_have_names_by_which_pictures_are_named():
    with pytest.raises(ValueError, match="images without names"):
        made(replace(dataset().train, names=()))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_one_class_is_refused(split):
    data = dataset(validation_split=0.2)
    data.__dict__[split] = replace(data.train, targets=torch.ones_like(data.train.targets))
    with pytest.raises(UserError, match="without a pixel of class a"):
        sources(data)


def test_generated_shapes_are_the_same_ones_every_time_and_have_both_classes():
    first, again = (shapes.load(size=48, images=6, test_images=3) for _ in range(2))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert first.facts.shape == (1, 48, 48)
    assert (len(first.train), len(first.test)) == (6, 3)
    assert not torch.equal(
        first.train.inputs, shapes.load(size=48, images=6, generator_seed=1).train.inputs
    )
    assert not any(torch.equal(a, b) for a in first.test.inputs for b in first.train.inputs)
    share = first.train.targets.double().mean((1, 2))
    assert ((share > 0.5) & (share < 0.95)).all()
    # Brightness tells something, not everything: membranes are darker, discs as dark.
    inside, border = first.train.targets[:, None] == 1, first.train.targets[:, None] == 0
    assert first.train.inputs[inside].double().mean() > first.train.inputs[border].double().mean()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 8}, r"dataset.size=8: .*>= 16"),
        ({"size": 20, "crop": 21}, r"dataset.crop=21.*at most 20"),
        ({"size": 20, "shape": [1, 21, 21]}, r"dataset.shape=\[1, 21, 21\].*\[1, 20, 20\]"),
        ({"size": 20, "classes": 3}, r"dataset.classes=3.*2 classes"),
        ({"size": 20, "mean": [0.1, 0.1], "std": [1, 1]}, r"dataset.mean=.*one number a channel"),
    ],
)
def test_settings_that_the_images_contradict_are_named(settings, words):
    with pytest.raises(UserError, match=words):
        shapes.load(**{"images": 2, "test_images": 1} | settings)
