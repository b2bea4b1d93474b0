import hashlib

import pytest
import torch
from sklearn.datasets import load_digits

from bnnrepro.data import digits
from bnnrepro.data.images import Augment
from bnnrepro.errors import UserError


@pytest.fixture(scope="module")
def data():
    return digits.load()


def sha256(split):
    content = split.inputs.numpy().tobytes() + split.targets.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def test_the_split_never_changes(data):
    assert sha256(data.train) == "7531db42dd3ff2d2862222a0b92a7132eab114482b8de0e522adc4d755f9686c"
    assert sha256(data.test) == "a2fc2790f951761efa3de96d98e5fd3fec1bfbc4ef550eb2193c8e5117cf4c96"


def test_train_and_test_together_are_the_source(data):
    assert (len(data.train), len(data.test)) == (1437, 360)
    both = torch.cat([data.train.inputs, data.test.inputs]).view(1797, 64)
    source = torch.from_numpy(load_digits().data * 255 / 16).round().to(torch.uint8)
    assert sorted(both.tolist()) == sorted(source.tolist())
    assert both.max() == 255


def test_each_class_has_its_share_of_the_test_set(data):
    whole = data.train.targets.bincount() + data.test.targets.bincount()
    difference = data.test.targets.bincount() - whole * (360 / 1797)
    assert difference.abs().max() < 1


def test_statistics_are_measured_where_not_given(data):
    pixels = data.train.inputs.double() / 255
    assert data.facts.mean == pytest.approx([pixels.mean().item()], abs=1e-9)
    assert data.facts.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-9)
    given = digits.load(mean=[0.5], std=[0.2])
    assert (given.facts.mean, given.facts.std) == ((0.5,), (0.2,))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [1, 28, 28]),
        ("classes", 11),
        ("mean", [float("nan")]),
        ("std", [0.0]),
        ("augment", {"pad": -1}),
        ("augment", {"pad": 8}),
        ("augment", {"pad": 1.5}),
        ("augment", {"flip": 3}),
        ("augment", {"flop": True}),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_its_key(key, value):
    with pytest.raises(UserError, match=f"dataset.{key}") as caught:
        digits.load(**{key: value})
    assert "\n" not in str(caught.value)


def test_a_right_declaration_and_an_augmentation_are_taken():
    given = digits.load(shape=[1, 8, 8], classes=10, augment={"pad": 2, "flip": True})
    assert given.augment == Augment(2, True)


def test_fewer_images_than_a_batch_are_one_batch(data, caplog):
    caplog.set_level("INFO")
    train = data.sources(seed=0, device="cpu", batch_size=100, train_limit=60).train
    ((images, _),) = train.epoch(1)
    assert len(images) == train.n_samples == 48
    assert "batch_size=100: a batch is all 48 training samples" in caplog.text
