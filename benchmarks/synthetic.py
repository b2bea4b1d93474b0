"""Random images of a real data set's size, to measure speed and memory on."""

from typing import Literal

import torch

from bnnrepro.constraints import Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.images import ImageSet

SIZES = {  # training images, test images, shape
    "mnist": (60_000, 10_000, (1, 28, 28)),
    "cifar10": (50_000, 10_000, (3, 32, 32)),
}


@dataset(ImageSet)
def load(
    name: Literal["mnist", "cifar10"], root: Text | None = None, download: bool = False
) -> Arrays:
    """Return random uint8 images and labels of 10 classes.

    Args:
        name: the data set whose size they have
        root: not used
        download: not used
    """
    n_train, n_test, shape = SIZES[name]
    stream = torch.Generator().manual_seed(0)

    def samples(count: int) -> Samples:
        images = torch.empty(count, *shape, dtype=torch.uint8).random_(0, 256, generator=stream)
        return Samples(images, torch.randint(10, (count,), generator=stream))

    return Arrays(samples(n_train), samples(n_test), tuple("0123456789"))
