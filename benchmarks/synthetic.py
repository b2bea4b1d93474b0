"""Random images of a real data set's size, to measure speed and memory on."""

import torch

from bnnrepro.data.dataset import Augmentation, ImageData, Split

SIZES = {  # training images, test images, shape
    "mnist": (60_000, 10_000, (1, 28, 28)),
    "cifar10": (50_000, 10_000, (3, 32, 32)),
}


def load(name: str, **_: object) -> ImageData:
    """Return random uint8 images and labels of 10 classes; cifar10's are cropped and flipped.

    All other settings of the real data set's configuration are ignored.
    """
    n_train, n_test, shape = SIZES[name]
    stream = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.empty(count, *shape, dtype=torch.uint8).random_(0, 256, generator=stream)
        return Split(images, torch.randint(10, (count,), generator=stream))

    channels = shape[0]
    return ImageData(
        name=name,
        train=split(n_train),
        test=split(n_test),
        classes=tuple("0123456789"),
        mean=(0.5,) * channels,
        std=(0.29,) * channels,
        augmentation=Augmentation(pad=4, flip=True) if name == "cifar10" else None,
    )
