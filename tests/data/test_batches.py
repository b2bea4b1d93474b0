import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Facts
from bnnrepro.data.images import Augment, image_batches
from bnnrepro.errors import UserError


def facts(**known):
    usual = {"name": "x", "task": "classification", "fingerprint": None, "shape": (1, 4, 4)}
    return Facts(**usual | {"outputs": 10, "mean": (0.0,), "std": (1.0,)} | known)


def batches(n=23, **options):
    """Batches of n images; an image's label is its number and its pixels' value."""
    return image_batches(numbered(n), facts(std=(1 / 255,)), **({"batch_size": 5} | options))


def numbered(n):
    labels = torch.arange(n)
    images = labels.to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4).contiguous()
    return Samples(images, labels)


def labels_of(epoch):
    return [y.tolist() for _, y in epoch]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 60), shuffle=st.booleans())
def test_an_epoch_has_every_sample_once(n, size, shuffle):
    source = batches(n, batch_size=size, shuffle=shuffle)
    labels = labels_of(source.epoch(1))
    seen = list(itertools.chain.from_iterable(labels))
    assert sorted(seen) == list(range(n))
    assert len(labels) == len(source)
    assert source.n_samples == n
    if not shuffle:
        assert seen == list(range(n))


def test_images_stay_with_their_labels():
    for x, y in batches(shuffle=True).epoch(1):
        assert x.dtype == torch.float32
        assert x.shape == (len(y), 1, 4, 4)
        assert torch.allclose(x[:, 0, 0, 0], y.float(), atol=1e-3)


@pytest.mark.parametrize("n", [11, 16, 21])
def test_a_single_last_sample_joins_the_batch_before_it_in_training_only(n):
    training = [len(y) for y in labels_of(batches(n, shuffle=True).epoch(1))]
    assert training == [5] * (n // 5 - 1) + [6]
    evaluation = [len(y) for y in labels_of(batches(n).epoch(1))]
    assert evaluation == [5] * (n // 5) + [1]


def test_each_epoch_and_each_seed_has_an_order_of_its_own():
    source = batches(shuffle=True)
    assert labels_of(source.epoch(1)) == labels_of(source.epoch(1))
    assert labels_of(source.epoch(1)) != labels_of(source.epoch(2))
    assert labels_of(source.epoch(1)) != labels_of(batches(shuffle=True, seed=1).epoch(1))


@pytest.mark.parametrize("start", range(6))
def test_a_resumed_epoch_equals_the_undisturbed_one_bit_for_bit(start):
    options = {"shuffle": True, "augment": Augment(3, True), "seed": 7}
    whole = list(batches(**options).epoch(4))
    resumed = list(batches(**options).epoch(4, start=start))
    assert len(resumed) == len(whole) - start
    for (x, y), (same_x, same_y) in zip(whole[start:], resumed, strict=True):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)


def test_batches_and_epochs_are_augmented_differently():
    images = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8).expand(64, 1, 8, 8)
    samples = Samples(images.contiguous(), torch.arange(64))
    source = image_batches(samples, facts(), Augment(4), batch_size=16)
    seen = [x for number in (1, 2) for x, _ in source.epoch(number)]
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def test_the_data_are_never_changed():
    samples = numbered(23)
    settings = {"batch_size": 5, "shuffle": True}
    for x, _ in image_batches(samples, facts(), Augment(2, True), **settings).epoch(1):
        x.zero_()
    assert torch.equal(samples.inputs, numbered(23).inputs)


@pytest.mark.parametrize(("size", "shuffle"), [(0, True), (-1, False)])
def test_a_batch_size_below_one_is_refused(size, shuffle):
    with pytest.raises(UserError, match="batch_size"):
        batches(batch_size=size, shuffle=shuffle)


def test_an_evaluation_batch_may_be_larger_than_the_data():
    assert len(batches(batch_size=1000)) == 1


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_outside_the_epoch_is_refused(start):
    with pytest.raises(ValueError, match="start"):
        batches().epoch(1, start=start)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        batches(n=0)
