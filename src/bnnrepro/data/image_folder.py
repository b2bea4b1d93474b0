"""A user's tree of image files: ``root/train/<class>/*`` and ``root/test/<class>/*``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bnnrepro.constraints import Count, Fraction, Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import LIMIT_SEED, Arrays, DataError, dataset, hold_out, refuse_one_class
from bnnrepro.data.decoding import (
    COLOUR_MODES,
    GRAY_MODES,
    decode,
    log_left_out,
    on_white,
    read_all,
    refuse_special_files,
)
from bnnrepro.data.images import ImageSet
from bnnrepro.data.streaming import fits_in_memory, streamed
from bnnrepro.errors import UserError

# torchvision's, without the time that its import takes.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Version of decoding and resizing: part of the fingerprint.
DECODING = "upright, on white"
SPLIT_KEY = "dataset.test_split"

log = logging.getLogger(__name__)


def check_size(values: Mapping[str, Any]) -> None:
    """Raise UserError for a size that contradicts the declared shape."""
    size, shape = values["size"], values["shape"]
    if size and shape and shape[1:] != [size, size]:
        raise UserError("dataset.size", size, f"contradicts dataset.shape={shape}")


@dataset(ImageSet, check=check_size, name="image_folder")
def load(
    root: Text,
    size: Count | None = None,
    test_split: Fraction = 0.0,
    in_memory: bool | Literal["auto"] = "auto",
) -> Arrays:
    """Return a tree of images: the classes are the folders, one channel if all are grayscale.

    Without a ``test`` folder, ``val`` is the test set, which is logged.

    Args:
        root: the folder that holds train/<class>/ and test/<class>/; or <class>/ with test_split
        size: resize to size x size pixels, bilinear; null: all images have one size already
        test_split: fraction of train/ that is the test set, the same for every seed, where there is
            neither test/ nor val/
        in_memory: false: read each batch from its files; auto: if all take over a quarter of RAM

    Raises:
        DataError: a folder is missing, empty or of one class, or the test set has other classes.
        UserError: an image that cannot be read, or images of unequal sizes without ``size``.
    """
    train, test = find_splits(folder := Path(root).expanduser(), test_split)
    files = [*chain(*train.values()), *chain(*test.values())]
    kept = _fit(files, size) if in_memory == "auto" else in_memory
    digests, read, shape = survey(files, size, kept)
    classes, held = labels(train), len(files) - (n := len(labels(train)))
    if kept:
        images = torch.from_numpy(read(list(range(len(files)))))
        parts = images[:n], images[n:]
    else:
        log.info("%s: %d images are read from their files in every epoch", folder, len(files))
        parts = (
            streamed(read, (n, *shape[1:])),
            streamed(lambda places: read([n + place for place in places]), (held, *shape[1:])),
        )
    return Arrays(
        Samples(parts[0], classes),
        Samples(parts[1], labels(test)),
        tuple(train),
        fingerprint(folder, dict(zip(files, digests, strict=True)), train, size),
    )


def _fit(files: Sequence[Path], size: int | None) -> bool:
    """Return whether all images may be held in memory, by the first one's size."""
    (first,) = read_all(files[:1], lambda _, content: decode(content).size)
    width, height = first if size is None else (size, size)
    return fits_in_memory(2 * 3 * width * height * len(files))  # read singly, then stacked


def labels(split: Mapping[str, Sequence[Path]]) -> Tensor:
    """Return the class of each file, int64 (N,)."""
    counts = torch.tensor([len(paths) for paths in split.values()])
    return torch.arange(len(split)).repeat_interleave(counts)


def find_splits(
    root: Path, test_split: float = 0.0
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the files of the training and of the test set, by class."""
    if test_split and not any((root / name).is_dir() for name in ("test", "val")):
        files = find_files(root / "train" if (root / "train").is_dir() else root)
        refuse_one_class([*files])
        return _split(files, test_split)
    for folder in (root, root / "train"):
        if not folder.is_dir():
            needed = "train/<class>/ and test/<class>/ with images are needed"
            raise DataError(f"no folder {folder}; {needed}")
    test_folder = root / "test"
    if not test_folder.is_dir():
        test_folder = root / "val"
        if not test_folder.is_dir():
            cure = "one is needed, or dataset.test_split=0.2 takes that share of train/"
            raise DataError(f"neither test/ nor val/ there; {cure}")
        log.info("no test folder in %s: val is the test set", root)
    train, test = find_files(root / "train"), find_files(test_folder)
    refuse_one_class([*train])
    if differing := sorted(train.keys() ^ test.keys()):
        one = f"only one of them has {', '.join(differing[:5])}"
        raise DataError(f"the same classes are needed in train and {test_folder.name}; {one}")
    return train, test


def _split(
    files: Mapping[str, Sequence[Path]], share: float
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the files that remain, and a share that is held out at random, by class."""
    held = set(hold_out(sum(map(len, files.values())), share, LIMIT_SEED, SPLIT_KEY)[1].tolist())
    numbers = iter(range(sum(map(len, files.values()))))
    train: dict[str, list[Path]] = {name: [] for name in files}
    test: dict[str, list[Path]] = {name: [] for name in files}
    for name, paths in files.items():
        for path in paths:
            (test if next(numbers) in held else train)[name].append(path)
    return train, test


def find_files(folder: Path) -> dict[str, list[Path]]:
    """Return each class's files, sorted by class, folder and name.

    Hidden entries and links to a folder above are ignored; so are files of other kinds and those
    beside the classes' folders, which are counted in the log.

    Raises:
        DataError: there is no class, or one has no image or a name that is not UTF-8.
    """
    entries = sorted(path for path in folder.iterdir() if not hidden(path.name))
    above = {folder.resolve(), *folder.resolve().parents}
    files: dict[str, list[Path]] = {}
    left_out = [path for path in entries if not path.is_dir()]
    for name in (p.name for p in entries if p.is_dir() and p.resolve() not in above):
        if not name.isprintable():
            raise DataError(f"{folder.name} has the class {name!a}: its name must be UTF-8 text")
        paths = files_below(folder / name)
        files[name] = [path for path in paths if path.suffix.lower() in ENDINGS]
        refuse_special_files(files[name])
        left_out += [path for path in paths if path.suffix.lower() not in ENDINGS]
        if not files[name]:
            endings = " ".join(ENDINGS)
            raise DataError(f"no images in {folder.name}/{name}; they end in {endings}")
    if not files:
        raise DataError(f"no images in {folder.name}: no folder of a class there")
    log_left_out(folder, left_out, "no images of a class")
    return files


def files_below(folder: Path) -> list[Path]:
    """Return the files at any depth that are not hidden, sorted by folder, then by name.

    Links are followed, except those to a parent folder; no folder is entered twice.
    """

    def fail(error: OSError) -> None:
        raise error  # os.walk would silently skip a folder that cannot be read

    files = []
    entered = set(folder.resolve().parents)
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        real = Path(parent).resolve()
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not hidden(name))
        files += [(parent, name) for name in names if not hidden(name)]
    return [Path(parent, name) for parent, name in sorted(files)]


def hidden(name: str) -> bool:
    """Return whether a folder's entry is hidden or macOS's own."""
    return name.startswith(".") or name == "__MACOSX"


def survey(
    files: Sequence[Path], size: int | None, in_memory: bool
) -> tuple[list[str], Callable[[list[int]], np.ndarray], tuple[int, ...]]:
    """Decode every file once.

    Returns:
        The sha256 of each file's bytes; a function from places to pixels, uint8 (B, C, H, W), kept
        in memory or read again at each call; and (N, C, H, W).

    Raises:
        UserError: a file cannot be read, or is of another size than the first without ``size``.
    """
    (first,) = read_all(files[:1], lambda _, content: decode(content).size)
    names = [str(path) for path in files]  # a Path takes ten times as much memory

    def decoded(path: Path, content: bytes) -> np.ndarray:
        return pixels_of(path, content, size, first, names[0])

    def work(path: Path, content: bytes) -> tuple[np.ndarray | None, int, str]:
        pixels = decoded(path, content)
        digest = hashlib.sha256(content).hexdigest()
        return pixels if in_memory else None, len(pixels), digest

    kept, planes, digests = zip(*read_all(files, work), strict=True)
    channels = max(planes)  # one colour image gives all of them three planes

    def stacked(images: Iterable[np.ndarray]) -> np.ndarray:
        return np.stack([p if len(p) == channels else p.repeat(channels, 0) for p in images])

    def read(places: list[int]) -> np.ndarray:
        if in_memory:
            return stacked(kept[place] for place in places)
        return stacked(read_all([Path(names[place]) for place in places], decoded))

    width, height = first if size is None else (size, size)
    return list(digests), read, (len(files), channels, height, width)


def pixels_of(
    path: Path, content: bytes, size: int | None, needed: tuple[int, int], model: str
) -> np.ndarray:
    """Return a file's pixels, uint8 (1 or 3, H, W).

    Args:
        path: of the file.
        content: its bytes.
        size: see ``load``.
        needed: width and height without ``size``, those of the file ``model``.
        model: named by the error.
    """
    from PIL import Image

    image = decode(content)
    if image.mode not in GRAY_MODES | COLOUR_MODES:
        raise ValueError(f"its pixels are {image.mode}: 8 bits a channel are needed")
    if size is None and image.size != needed:
        here, there = ("x".join(map(str, size)) for size in (needed, image.size))
        allowed = "a side in pixels is needed, as the sizes differ:"
        both = f"{model} is {here}, {path} is {there}"
        raise UserError("dataset.size", "null", f"{allowed}\n{both}")
    image = on_white(image, "L" if image.mode in GRAY_MODES else "RGB")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image, dtype=np.uint8)).transpose(2, 0, 1)


def fingerprint(
    root: Path, digests: Mapping[Path, str], classes: Iterable[str], size: int | None
) -> str:
    """Return a sha256 of names below the root, contents, classes, and how they are decoded."""
    digest = hashlib.sha256()
    for line in (f"decoding {DECODING}", f"size {size}", *(f"class {name}" for name in classes)):
        digest.update(f"{line}\n".encode())
    for path in sorted(digests):
        relative = path.relative_to(root).as_posix()
        digest.update(f"{digests[path]} {relative}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
