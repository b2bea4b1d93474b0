"""A torch ``Dataset`` of images and classes as a data set of this suite, read as it is needed.

By its class, in a config, with ``dataset=torch``; or from Python::

    @dataset(ImageSet, name="mine")
    def load(root: Text) -> Arrays:
        return arrays_of(Mine(root, train=True), Mine(root, train=False), ("cat", "dog"))
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnnrepro.constraints import shown
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset, refuse_one_class
from bnnrepro.data.decoding import COLOUR_MODES, GRAY_MODES, on_white
from bnnrepro.data.images import ImageSet
from bnnrepro.data.streaming import fetched_ahead, streamed
from bnnrepro.errors import DataError, UserError
from bnnrepro.importing import locate

MOST_CLASSES = 100_000
_NAME = (str, int, tuple, list)


@dataset(ImageSet)
def load(train: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> Arrays:
    """Return any Dataset of images, such as torchvision's; see ``arrays_of``.

    Its classes' names are its attribute ``classes``, if it has one, else their numbers.

    Args:
        train: the training set: ``_target_``, the name of a class or function, and its arguments,
            which may be such calls too, as a transform
        test: likewise; null: the training set's, with ``train: false``
    """
    first = _made("dataset.train", train)
    try:
        second = _made("dataset.test", {**train, "train": False} if test is None else test)
    except UserError as error:
        if test is not None:
            raise
        cure = "null is dataset.train with train: false; give dataset.test"
        raise UserError(error.key, error.value, f"{error.allowed}; {cure}") from error
    names = getattr(first, "classes", None)
    if names is None:
        return arrays_of(first, second)
    if not isinstance(names, list | tuple) or not all(isinstance(n, _NAME) for n in names):
        allowed = f"its attribute classes must be a list of names, not {shown(names)}"
        raise UserError("dataset.train", str(train["_target_"]), allowed)
    # ImageNet's are tuples of synonyms
    words = [n if isinstance(n, tuple | list) else (n,) for n in names]
    return arrays_of(first, second, [", ".join(map(str, own)) for own in words])


def _made(key: str, values: Any) -> Any:
    """Call what ``_target_`` names with the other keys, after those of its arguments."""
    if not isinstance(values, Mapping) or not isinstance(values.get("_target_"), str):
        allowed = "must be _target_, the name of a Dataset's class, and its arguments"
        raise UserError(key, shown(values), allowed)
    arguments = {
        name: _made(f"{key}.{name}", value)
        if isinstance(value, Mapping) and "_target_" in value
        else value
        for name, value in values.items()
        if name != "_target_"
    }
    made = locate(f"{key}._target_", values["_target_"])
    try:
        return made(**arguments)
    except Exception as error:  # of anybody's class
        raise UserError(key, values["_target_"], _words(error)) from error


def _words(error: Exception) -> str:
    name = "" if isinstance(error, TypeError | RuntimeError) else f"{type(error).__name__}: "
    return name + " ".join(str(error).split())


def arrays_of(train: Any, test: Any, classes: Sequence[str] | None = None) -> Arrays:
    """Return the samples of two Datasets; nothing but their targets is kept in memory.

    Every sample is read once, for its target and the fingerprint, and then whenever it is in a
    batch, in one thread. Order, batches, augmentation and normalisation are the suite's, so that a
    run resumes to the same bits: a sample must be the same whenever it is read.

    Args:
        train: a ``torch.utils.data.Dataset`` whose item k, for k from 0, is a pair (image, class):
            a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W), of uint8; and a whole
            number. A PIL image is taken as one of ``dataset=image_folder`` is: grey or in colours,
            on white where it is transparent. Of a DataLoader, its Dataset is taken.
        test: likewise, the test set.
        classes: the classes' names, two or more, a repeated one told apart by its number; None:
            their numbers, up to the last in ``train``.

    Raises:
        DataError: an item of another kind, dtype or size; its number is named.
    """
    digest = hashlib.sha256("\0".join(classes or ()).encode())
    parts = [_samples(which, part, digest) for which, part in (("train", train), ("test", test))]
    if classes is None:
        classes = [str(k) for k in range(int(parts[0].targets.max()) + 1)]
    refuse_one_class(classes)
    return Arrays(parts[0], parts[1], _distinct(classes), digest.hexdigest())


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, with its number after one that is repeated: two of ImageNet's are crane."""
    count = Counter(names)
    numbered = [f"{name} ({k})" for k, name in enumerate(names)]
    pairs = zip(names, numbered, strict=True)
    some = tuple(name if count[name] == 1 else other for name, other in pairs)
    return some if len({*some}) == len(some) else tuple(numbered)


def _samples(which: str, data: Any, digest: Any) -> Samples:
    data = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(data, IterableDataset) or not isinstance(data, Dataset):
        kind = type(data).__name__
        raise DataError(f"{which} is a {kind}: a Dataset with items by number is needed")
    count, targets, shape = len(data), [], None  # type: ignore[arg-type]

    digest.update(f"{which} {count}\n".encode())

    def item(place: int) -> tuple[np.ndarray, int]:
        try:
            found = data[place]
        except Exception as error:  # of anybody's class
            raise DataError(f"{which}[{place}] fails: {_words(error)}") from error
        return _item(f"{which}[{place}]", found)

    for pixels, target in fetched_ahead(item, range(count), 16):
        if shape not in (None, pixels.shape):
            here = f"{which}[{len(targets)}] has the shape {pixels.shape}"
            raise DataError(f"{here}, the one before {shape}: all must be alike")
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
    except (TypeError, ValueError):
        allowed = "must be a pair of an image and the number of its class"
        raise DataError(f"{place} {allowed}") from None
    try:
        number = int(target)
        if number != target or not 0 <= number < MOST_CLASSES:
            raise ValueError
    except (TypeError, ValueError, OverflowError, RuntimeError):
        allowed = "must be a whole number from 0, the class"
        raise DataError(f"{place} has the label {shown(target)}: {allowed}") from None
    if (mode := getattr(image, "mode", None)) in GRAY_MODES | COLOUR_MODES:
        image = on_white(image, "L" if mode in GRAY_MODES else "RGB")
    pixels = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image)
    if pixels.dtype != np.uint8:
        allowed = "must be of uint8, 0 to 255; the suite normalises and augments"
        raise DataError(f"{place} is an image of {pixels.dtype}: {allowed}")
    if isinstance(image, torch.Tensor) and pixels.ndim == 3:
        return pixels, number
    if pixels.ndim not in (2, 3):
        raise DataError(f"{place} has the shape {pixels.shape}: must be (H, W) or (H, W, C)")
    return np.atleast_3d(pixels).transpose(2, 0, 1), number
