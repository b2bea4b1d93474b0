"""Images whose pixels are permuted: the tasks of continual learning (Goodfellow et al. 2014).

A task is the whole data set with a permutation of the pixels, one for each task, the first
included; the labels stay. All tasks share the images in memory: a batch is permuted when made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnrepro.constraints import Interval, Text
from bnnrepro.data import digits as digits_file
from bnnrepro.data import mnist as mnist_file
from bnnrepro.data.batches import Batches, Pair, Samples
from bnnrepro.data.dataset import Arrays, check_batch, dataset
from bnnrepro.data.images import EVALUATION_BATCH_SIZE, Images, image_batches
from bnnrepro.seeds import derive


@dataclass(frozen=True, eq=False, kw_only=True)
class PermutedBatches(Batches):
    """Batches of one task; ``of`` returns another task's, with the same images in memory.

    Args:
        permutations: int64, shape (T, H W), on the images' device: pixel p of task t is pixel
            ``permutations[t, p]`` of the image, in every channel.
        task: the task, from 0.
    """

    permutations: Tensor
    task: int = 0

    def of(self, task: int) -> PermutedBatches:
        """Return the batches of a task, from 0."""
        return replace(self, task=task)

    def epoch(self, number: int, start: int = 0) -> Iterator[Pair]:
        """Return an iterator over an epoch's batches, from batch ``start`` (0-based) on."""
        order = self.permutations[self.task]
        return ((permute(x, order), y) for x, y in super().epoch(number, start))


class PermutedSet(Images):
    """Tasks in a row, each with its own permutation of the pixels; all tasks share the outputs.

    Args:
        arrays: see ``Images``, also for the other keys.
        tasks: number of tasks, each trained for `epochs`, one after the other
        prior: prior of later tasks: the posterior of the task before, or fixed at method.prior
        norm_statistics: BatchNorm's running statistics: shared by all tasks, or separate for each
    """

    task = "continual"
    for_task = ("prior", "norm_statistics")
    tasks_in_a_row = "tasks"

    def __init__(
        self,
        arrays: Arrays,
        *,
        tasks: Annotated[int, Interval(ge=2, le=1000)] = 5,
        prior: Literal["posterior", "fixed"] = "posterior",
        norm_statistics: Literal["shared", "per_task"] = "shared",
        **common: Any,
    ) -> None:
        super().__init__(arrays, **common)
        self.facts = replace(self.facts, tasks=tasks)

    def training(
        self, samples: Samples, batch_size: int, seed: int, margin: int = 0
    ) -> PermutedBatches:
        """Return shuffled batches of the first task, never augmented."""
        check_batch(batch_size, len(samples))
        return self._permuted(samples, seed, batch_size=batch_size, shuffle=True)

    def evaluation(self, samples: Samples, seed: int, margin: int = 0) -> PermutedBatches:
        """Return batches of the first task, in the data's order."""
        return self._permuted(samples, seed, batch_size=EVALUATION_BATCH_SIZE)

    def _permuted(self, samples: Samples, seed: int, **settings: Any) -> PermutedBatches:
        _, height, width = self.facts.shape
        orders = permutations(self.facts.tasks or 1, height * width, seed)
        make = partial(PermutedBatches, permutations=orders.to(samples.inputs.device))
        return image_batches(samples, self.facts, make=make, seed=seed, **settings)


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


@dataset(PermutedSet, fixed=True, name="permuted_digits", shape=(1, 8, 8), classes=10)
def digits() -> Arrays:
    """Return the digits of scikit-learn."""
    return digits_file.load.arrays()


@dataset(
    PermutedSet,
    fixed=True,
    name="permuted_mnist",
    shape=(1, 28, 28),
    classes=10,
    mean=(0.1307,),
    std=(0.3081,),
)
def mnist(root: Text = "data", download: bool = True) -> Arrays:
    """Return MNIST.

    Args:
        root: folder of the data; the environment variable BNNREPRO_DATA changes it for all data
            sets
        download: download missing files
    """
    return mnist_file.load.arrays(root, download)
