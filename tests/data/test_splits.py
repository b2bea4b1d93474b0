import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, hold_out
from bnnrepro.data.images import Augment, ImageSet
from bnnrepro.errors import UserError


@pytest.fixture
def data():
    def split(n):
        labels = torch.arange(n)
        images = (labels % 200 + 1).to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4)
        return Samples(images.contiguous(), labels)

    names = tuple(map(str, range(1200)))
    arrays = Arrays(split(1200), split(600), names)
    return ImageSet(arrays, name="x", mean=(0.0,), std=(1.0,), augment=Augment(pad=2, flip=True))


def sources_of(data, validation_split=0.1, **options):
    data.validation_split = validation_split
    return data.sources(**{"seed": 0, "device": "cpu", "batch_size": 32} | options)


def samples(batches, epoch=1):
    return sorted(label for _, y in batches.epoch(epoch) for label in y.tolist())


def test_training_and_validation_share_no_sample_and_miss_none(data):
    sources = sources_of(data)
    train, validation = samples(sources.train), samples(sources.validation)
    assert len(validation) == 120
    assert sorted(train + validation) == list(range(1200))
    assert samples(sources.test) == list(range(600))


def test_only_training_images_are_augmented_and_shuffled(data):
    sources = sources_of(data)
    for batches in (sources.validation, sources.test):
        labels = torch.cat([y for _, y in batches.epoch(1)])
        assert labels.tolist() == sorted(labels.tolist())
        assert all((x > 0).all() for x, _ in batches.epoch(1))
    assert any((x == 0).any() for x, _ in sources.train.epoch(1))


def test_without_a_split_there_is_no_validation(data):
    sources = sources_of(data, validation_split=0)
    assert sources.validation is None
    assert sources.train.n_samples == 1200


def test_limits_take_the_same_random_samples_for_every_seed(data):
    limits = {"train_limit": 100, "test_limit": 50}
    seen = []
    for seed in (0, 1):
        sources = sources_of(data, seed=seed, **limits)
        assert sources.validation.n_samples == 10
        used = sorted(samples(sources.train) + samples(sources.validation))
        seen.append((used, samples(sources.test)))
    assert seen[0] == seen[1]
    assert [len(part) for part in seen[0]] == [100, 50]
    assert seen[0][0] != list(range(100))


def test_a_limit_above_the_data_takes_all(data):
    assert sources_of(data, test_limit=10**6).test.n_samples == 600


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_limit", 0),
        ("test_limit", -1),
        ("batch_size", 0),
        ("validation_split", 1),
    ],
)
def test_what_does_not_fit_is_named(data, key, value):
    with pytest.raises(UserError, match=key):
        sources_of(data, **{key: value})


@given(n=st.integers(10, 500), percent=st.integers(10, 80), seed=st.integers(0, 2**31))
def test_every_sample_is_on_exactly_one_side_and_sizes_are_fixed(n, percent, seed):
    train, validation = hold_out(n, percent / 100, seed)
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(n))
    assert len(validation) == round(n * (percent / 100))  # in that order, as documented
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())


def test_the_seed_alone_decides():
    assert torch.equal(hold_out(100, 0.1, 3)[1], hold_out(100, 0.1, 3)[1])
    assert not torch.equal(hold_out(100, 0.1, 3)[1], hold_out(100, 0.1, 4)[1])


def test_no_fraction_holds_nothing_out():
    train, validation = hold_out(7, 0, 0)
    assert train.tolist() == list(range(7))
    assert validation.dtype == torch.int64
    assert len(validation) == 0


@pytest.mark.parametrize(
    ("n", "fraction"), [(10, 1.0), (10, -0.1), (10, 0.99), (10, 0.01), (10, float("nan"))]
)
def test_a_fraction_that_leaves_a_side_empty_is_refused(n, fraction):
    with pytest.raises(UserError, match="validation_split"):
        hold_out(n, fraction, 0)
