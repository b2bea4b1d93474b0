"""Images whose pixels are permuted: the tasks of continual learning (Goodfellow et al. 2014).

A task is the whole data set with a permutation of the pixels, one for each task, the first
included; the labels stay. All tasks share the images in memory: a batch is permuted when made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnnrepro.data import digits as digits_file
from bnnrepro.data import mnist as mnist_file
from bnnrepro.data.batches import Batches
from bnnrepro.data.dataset import ImageData
from bnnrepro.data.splits import Sources, make_sources
from bnnrepro.seeds import derive


@dataclass(frozen=True)
class PermutedImages:
    """A data set for continual learning.

    Args:
        images: the images that every task permutes; never augmented.
        tasks: number of tasks, >= 2.
    """

    task: ClassVar[str] = "continual"

    images: ImageData
    tasks: int

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.images.name

    @property
    def fingerprint(self) -> str | None:
        """A hash of the content, for data given by a path; None for a fixed data set."""
        return self.images.fingerprint

    @property
    def shape(self) -> tuple[int, int, int]:
        """An image's shape (C, H, W)."""
        return self.images.shape

    @property
    def outputs(self) -> int:
        """The number of classes; all tasks share the outputs (a single head)."""
        return self.images.outputs

    def about(self) -> dict[str, Any]:
        """Return the metadata that make a checkpoint usable without the data set."""
        return self.images.about() | {"tasks": self.tasks}

    def without_samples(self) -> PermutedImages:
        """Return the same data set without its samples."""
        return replace(self, images=self.images.without_samples())


@dataclass(frozen=True)
class PermutedBatches:
    """Batches of one task; ``of`` returns another task's, with the same images in memory.

    Args:
        batches: of the unpermuted images.
        permutations: int64, shape (T, H W), on the images' device: pixel p of task t is pixel
            ``permutations[t, p]`` of the image, in every channel.
        task: the task, from 0.
    """

    batches: Batches
    permutations: Tensor
    task: int = 0

    def of(self, task: int) -> PermutedBatches:
        """Return the batches of a task, from 0."""
        return replace(self, task=task)

    @property
    def n_samples(self) -> int:
        """The number of samples of an epoch."""
        return self.batches.n_samples

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches, from batch ``start`` (0-based) on."""
        order = self.permutations[self.task]
        return ((permute(x, order), y) for x, y in self.batches.epoch(number, start))


def permute(images: Tensor, order: Tensor) -> Tensor:
    """Return images (B, C, H, W) whose pixel p is pixel ``order[p]``; order has shape (H W,)."""
    return images.flatten(2).index_select(2, order).view(images.shape)


def permutations(tasks: int, pixels: int, seed: int) -> Tensor:
    """Return the tasks' permutations, int64 of shape (tasks, pixels), a function of the seed.

    A task's permutation does not depend on the number of tasks.
    """
    orders = []
    for task in range(tasks):
        generator = torch.Generator().manual_seed(derive(seed, "permutation", task))
        orders.append(torch.randperm(pixels, generator=generator))
    return torch.stack(orders)


@make_sources.register
def _(
    data: PermutedImages,
    *,
    validation_split: float,
    seed: int,
    device: torch.device | str,
    batch_size: int,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Sources:
    plain = make_sources(
        data.images,
        validation_split=validation_split,
        seed=seed,
        device=device,
        batch_size=batch_size,
        train_limit=train_limit,
        test_limit=test_limit,
    )
    orders = permutations(data.tasks, prod(data.shape[1:]), seed).to(device)
    train, validation, test = (
        PermutedBatches(batches, orders) if isinstance(batches, Batches) else None
        for batches in (plain.train, plain.validation, plain.test)
    )
    assert train is not None
    assert test is not None
    return Sources(train, validation, test)


def mnist(
    *,
    tasks: int,
    name: str = "permuted_mnist",
    root: str | Path = "data",
    download: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> PermutedImages:
    """Return permuted MNIST; arguments and errors are those of :func:`bnnrepro.data.mnist.load`."""
    images = mnist_file.load(
        name=name, root=root, download=download, mean=mean, std=std, shape=shape, classes=classes
    )
    return PermutedImages(images, tasks)


def digits(
    *,
    tasks: int,
    name: str = "permuted_digits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> PermutedImages:
    """Return permuted digits; arguments and errors are those of ``bnnrepro.data.digits.load``."""
    images = digits_file.load(name=name, mean=mean, std=std, shape=shape, classes=classes)
    return PermutedImages(images, tasks)
