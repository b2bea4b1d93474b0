"""Permuted images: each task has its own permutation, and all share the images in memory."""

import pytest
import torch

from bnnrepro.data.dataset import ImageData, Split
from bnnrepro.data.permuted import PermutedImages, permutations
from bnnrepro.data.splits import make_sources


@pytest.fixture
def data() -> PermutedImages:
    """Forty images of two channels in which every pixel is another value."""
    pixels = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4) + torch.tensor([0, 100]).view(
        1, 2, 1, 1
    ).to(torch.uint8)
    split = Split(pixels.expand(40, 2, 3, 4).contiguous(), torch.arange(40) % 2)
    images = ImageData("x", split, split, ("a", "b"), (0.0, 0.0), (1 / 255, 1 / 255), None)
    return PermutedImages(images, tasks=4)


def prepared(data: PermutedImages, seed: int = 0):
    options = {"validation_split": 0.0, "device": "cpu", "batch_size": 8}
    return make_sources(data, seed=seed, **options)


def first_image(source) -> torch.Tensor:
    return next(iter(source.epoch(0)))[0][0].round()


def test_every_task_has_an_order_of_its_own_the_first_one_too(data: PermutedImages) -> None:
    sources = prepared(data)
    plain = data.images.test.images[0].float()
    seen = [plain]
    for task in range(4):
        image = first_image(sources.test.of(task))
        assert torch.equal(image.flatten(1).sort().values, plain.flatten(1))
        assert not any(torch.equal(image, task) for task in seen)
        seen.append(image)


def test_training_and_test_are_permuted_alike_and_in_every_channel(data: PermutedImages) -> None:
    sources = prepared(data)
    for task in range(4):
        test = first_image(sources.test.of(task))
        assert torch.equal(first_image(sources.train.of(task)), test)
        assert torch.equal(test[1] - test[0], torch.full((3, 4), 100.0))


def test_labels_stay_and_epochs_are_shuffled_as_of_the_images(data: PermutedImages) -> None:
    train = prepared(data).train
    for epoch in (0, 5):
        expected = [y.tolist() for _, y in train.batches.epoch(epoch)]
        assert [y.tolist() for _, y in train.of(2).epoch(epoch)] == expected
        assert [y.tolist() for _, y in train.of(2).epoch(epoch, 3)] == expected[3:]
    with pytest.raises(ValueError, match="start is 9"):
        train.epoch(0, 9)


def test_the_images_are_kept_once(data: PermutedImages) -> None:
    sources = prepared(data)
    kept = sources.train.batches.split.images
    assert all(sources.train.of(t).batches.split.images is kept for t in range(4))
    assert kept.dtype == torch.uint8


def test_permutations_come_from_the_seed_and_not_from_the_number_of_tasks() -> None:
    assert torch.equal(permutations(5, 64, seed=3)[:2], permutations(2, 64, seed=3))
    assert not torch.equal(permutations(2, 64, seed=3), permutations(2, 64, seed=4))
    assert torch.equal(permutations(3, 64, 0).sort(1).values, torch.arange(64).expand(3, 64))
