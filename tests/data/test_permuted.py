"""Permuted images: each task has its own permutation, and all share the images in memory."""

import pytest
import torch

from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.permuted import PermutedSet, permutations


@pytest.fixture
def data() -> PermutedSet:
    """Forty images of two channels in which every pixel is another value."""
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4) + torch.tensor([0, 100]).view(
        1, 2, 1, 1
    ).to(torch.uint8)
    samples = Samples(pixels.expand(40, 2, 3, 4).contiguous(), torch.arange(40) % 2)
    arrays = Arrays(samples, samples, ("a", "b"))
    return PermutedSet(arrays, name="x", tasks=4, mean=(0.0, 0.0), std=(1 / 255, 1 / 255))


def prepared(data: PermutedSet, seed: int = 0):
    return data.sources(seed=seed, device="cpu", batch_size=8)


def first_image(source) -> torch.Tensor:
    return next(iter(source.epoch(0)))[0][0].round()


def test_every_task_has_an_order_of_its_own_the_first_one_too(data: PermutedSet) -> None:
    sources = prepared(data)
    plain = data.test.inputs[0].float()
    seen = [plain]
    for task in range(4):
        image = first_image(sources.test.of(task))
        assert torch.equal(image.flatten(1).sort().values, plain.flatten(1))
        assert not any(torch.equal(image, task) for task in seen)
        seen.append(image)


def test_training_and_test_are_permuted_alike_and_in_every_channel(data: PermutedSet) -> None:
    sources = prepared(data)
    for task in range(4):
        test = first_image(sources.test.of(task))
        assert torch.equal(first_image(sources.train.of(task)), test)
        assert torch.equal(test[1] - test[0], torch.full((3, 4), 100.0))


def test_labels_stay_and_epochs_are_shuffled_as_of_the_images(data: PermutedSet) -> None:
    train = prepared(data).train
    for epoch in (0, 5):
        expected = [y.tolist() for _, y in train.epoch(epoch)]
        assert [y.tolist() for _, y in train.of(2).epoch(epoch)] == expected
        assert [y.tolist() for _, y in train.of(2).epoch(epoch, 3)] == expected[3:]
    with pytest.raises(ValueError, match="start is 9"):
        train.epoch(0, 9)


def test_the_images_are_kept_once(data: PermutedSet) -> None:
    sources = prepared(data)
    assert all(sources.train.of(task).fetch is sources.train.fetch for task in range(4))


def test_permutations_come_from_the_seed_and_not_from_the_number_of_tasks() -> None:
    assert torch.equal(permutations(5, 64, seed=3)[:2], permutations(2, 64, seed=3))
    assert not torch.equal(permutations(2, 64, seed=3), permutations(2, 64, seed=4))
    assert torch.equal(permutations(3, 64, 0).sort(1).values, torch.arange(64).expand(3, 64))
