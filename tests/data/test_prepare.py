import pytest
import torch

from bnnrepro.data.dataset import Augmentation, ImageData, Split
from bnnrepro.data.splits import prepare
from bnnrepro.errors import UserError


@pytest.fixture
def data():
    def split(n):
        labels = torch.arange(n)
        images = (labels % 200 + 1).to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4)
        return Split(images.contiguous(), labels)

    names = tuple(map(str, range(1200)))
    augmentation = Augmentation(pad=2, flip=True)
    return ImageData("x", split(1200), split(600), names, (0.0,), (1.0,), augmentation)


def prepared(data, **options):
    given = {"validation_split": 0.1, "seed": 0, "device": "cpu", "batch_size": 32}
    return prepare(data, **(given | options))


def samples(batches, epoch=1):
    return sorted(label for _, y in batches.epoch(epoch) for label in y.tolist())


def test_training_and_validation_share_no_sample_and_miss_none(data):
    sources = prepared(data)
    train, validation = samples(sources.train), samples(sources.validation)
    assert len(validation) == 120
    assert sorted(train + validation) == list(range(1200))
    assert samples(sources.test) == list(range(600))


def test_only_training_images_are_augmented_and_shuffled(data):
    sources = prepared(data)
    for batches in (sources.validation, sources.test):
        labels = torch.cat([y for _, y in batches.epoch(1)])
        assert labels.tolist() == sorted(labels.tolist())
        assert all((x > 0).all() for x, _ in batches.epoch(1))
    assert any((x == 0).any() for x, _ in sources.train.epoch(1))


def test_without_a_split_there_is_no_validation(data):
    sources = prepared(data, validation_split=0)
    assert sources.validation is None
    assert sources.train.n_samples == 1200


def test_limits_take_the_same_random_samples_for_every_seed(data):
    limits = {"train_limit": 100, "test_limit": 50}
    seen = []
    for seed in (0, 1):
        sources = prepared(data, seed=seed, **limits)
        assert sources.validation.n_samples == 10
        used = sorted(samples(sources.train) + samples(sources.validation))
        seen.append((used, samples(sources.test)))
    assert seen[0] == seen[1]
    assert [len(part) for part in seen[0]] == [100, 50]
    assert seen[0][0] != list(range(100))


def test_a_limit_above_the_data_takes_all(data):
    assert prepared(data, test_limit=10**6).test.n_samples == 600


@pytest.mark.parametrize(
    ("key", "value"),
    [("train_limit", 0), ("test_limit", -1), ("batch_size", 1081), ("validation_split", 1)],
)
def test_what_does_not_fit_is_named(data, key, value):
    with pytest.raises(UserError, match=key):
        prepared(data, **{key: value})
