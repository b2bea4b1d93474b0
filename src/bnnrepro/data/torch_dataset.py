"""A torch ``Dataset`` of images and classes as a data set of this suite, read as it is needed.

By its class, in a config, with ``dataset=torch``; or from Python::

    @dataset(ImageSet, name="mine")
    def load(root: Text) -> Arrays:
        return arrays_of(Mine(root, train=True), Mine(root, train=False), ("cat", "dog"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnnrepro.constraints import shown
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.images import ImageSet
from bnnrepro.data.streaming import fetched_ahead, streamed
from bnnrepro.errors import DataError, UserError
from bnnrepro.importing import locate


@dataset(ImageSet, name="torch")
def load(train: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> Arrays:
    """Return any Dataset of images, such as torchvision's; see ``arrays_of``.

    Its classes' names are its attribute ``classes``, if it has one, else their numbers.

    Args:
        train: the training set: ``_target_``, the name of a class or function, and its arguments
        test: likewise; null: the training set's, with ``train: false``
    """
    first = _made("train", train)
    second = _made("test", {**train, "train": False} if test is None else test)
    return arrays_of(first, second, getattr(first, "classes", None))


def _made(part: str, values: Mapping[str, Any]) -> Any:
    """Call what a part's ``_target_`` names with its other keys."""
    key = f"dataset.{part}"
    if not isinstance(values, Mapping) or not isinstance(values.get("_target_"), str):
        allowed = "must be _target_, the name of a Dataset's class, and its arguments"
        raise UserError(key, shown(values), allowed)
    arguments = {**values}
    target = arguments.pop("_target_")
    try:
        return locate(f"{key}._target_", target)(**arguments)
    except (TypeError, ValueError, RuntimeError, OSError) as error:  # torchvision's, without files
        raise UserError(key, target, " ".join(str(error).split())) from error


def arrays_of(train: Any, test: Any, classes: Sequence[str] | None = None) -> Arrays:
    """Return the samples of two Datasets; nothing but their targets is kept in memory.

    Every sample is read once, for its target and the fingerprint, and then whenever it is in a
    batch, in one thread. Order, batches, augmentation and normalisation are the suite's, so that a
    run resumes to the same bits: a sample must be the same whenever it is read.

    Args:
        train: a ``torch.utils.data.Dataset`` whose item k, for k from 0, is a pair (image, class):
            a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W), of uint8; and a whole
            number. Of a DataLoader, its Dataset is taken.
        test: likewise, the test set.
        classes: the classes' names; None: their numbers, up to the training set's last.

    Raises:
        DataError: an item of another kind, dtype or size; its number is named.
    """
    digest = hashlib.sha256("\0".join(classes or ()).encode())
    parts = [_samples(which, part, digest) for which, part in (("train", train), ("test", test))]
    if classes is None:
        classes = [str(k) for k in range(int(parts[0].targets.max()) + 1)]
    return Arrays(parts[0], parts[1], tuple(classes), digest.hexdigest())


def _samples(which: str, data: Any, digest: Any) -> Samples:
    data = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(data, IterableDataset) or not isinstance(data, Dataset):
        kind = type(data).__name__
        raise DataError(f"{which} is a {kind}: a Dataset with items by number is needed")
    count, targets, shape = len(data), [], None  # type: ignore[arg-type]

    digest.update(f"{which} {count}\n".encode())

    def item(place: int) -> tuple[np.ndarray, int]:
        return _item(f"{which}[{place}]", data[place])

    for pixels, target in fetched_ahead(item, range(count), 16):
        if shape not in (None, pixels.shape):
            here = f"{which}[{len(targets)}] has the shape {pixels.shape}"
            raise DataError(f"{here}, the one before {shape}: all must be of one size")
        shape = pixels.shape
        targets.append(target)
        digest.update(np.ascontiguousarray(pixels).tobytes() + f" {target} {shape}\n".encode())
    if shape is None:
        raise DataError(f"{which} is empty")

    def read(places: list[int]) -> np.ndarray:
        return np.stack([item(place)[0] for place in places])

    return Samples(streamed(read, (count, *shape)), torch.tensor(targets))


def _item(place: str, found: Any) -> tuple[np.ndarray, int]:
    """Return an item's pixels, uint8 (C, H, W), and its class."""
    try:
        image, target = found
        number = int(target)
        if number != target or number < 0:
            raise ValueError
    except (TypeError, ValueError):
        allowed = "must be a pair of an image and the number of its class"
        raise DataError(f"{place} {allowed}") from None
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        allowed = "must be of uint8, 0 to 255; the suite normalises and augments"
        raise DataError(f"{place} is an image of {pixels.dtype}: {allowed}")
    if isinstance(image, torch.Tensor) and pixels.ndim == 3:
        return pixels, number
    if pixels.ndim not in (2, 3):
        raise DataError(f"{place} has the shape {pixels.shape}: must be (H, W) or (H, W, C)")
    return np.atleast_3d(pixels).transpose(2, 0, 1), number
