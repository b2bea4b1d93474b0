"""Any tree of image files: ``root/train/<class>/*`` and ``root/test/<class>/*``."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from bnnrepro.data.assemble import assemble
from bnnrepro.data.torchvision_import import torchvision
from bnnrepro.data.types import ImageData, Split
from bnnrepro.errors import UserError

KEY = "dataset.root"
GRAY_MODES = {"1", "L", "LA"}
COLOUR_MODES = {"P", "RGB", "RGBA", "CMYK", "YCbCr"}
CHUNK = 256  # files a thread takes at a time; single ones cost more than small images do

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Tree:
    """The files of one split: paths, each with its class's number, and the classes' names."""

    files: list[tuple[Path, int]]
    classes: list[str]


def load(
    *,
    name: str = "image_folder",
    root: str | Path,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> ImageData:
    """Return a tree of images: the classes are the folders, one channel if all are grayscale.

    Where there is no ``test`` folder, ``val`` is the test set, and a log line says so.

    Args:
        name: the data set's name.
        root: the folder that holds ``train`` and ``test`` (or ``val``).
        size: the side in pixels that every image is resized to, bilinear; None: as they are.
        mean: see :func:`bnnrepro.data.assemble.assemble`, also for what follows.
        std: likewise.
        augment: likewise.
        shape: likewise.
        classes: likewise.

    Raises:
        UserError: a folder that is missing, empty or of one class, other classes in the test
            set, an image that cannot be read, images of unequal sizes without ``size``, or a
            declared value that the data contradict.
    """
    if size is not None and size < 1:
        raise UserError("dataset.size", size, "a side in pixels, at least 1, or null")
    root = Path(root).expanduser()
    train, test = find_trees(root)
    modes = check_headers([path for path, _ in train.files + test.files], size)
    mode = "L" if modes <= GRAY_MODES else "RGB"
    return assemble(
        read(train, mode, size),
        read(test, mode, size),
        train.classes,
        name=name,
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
        fingerprint=fingerprint(root, train, test, size),
    )


def find_trees(root: Path) -> tuple[Tree, Tree]:
    """Return the files of the training and of the test set."""
    for folder in (root, root / "train"):
        if not folder.is_dir():
            allowed = f"no folder {folder}; train/<class>/ and test/<class>/ with images are needed"
            raise UserError(KEY, str(root), allowed)
    test_folder = root / "test"
    if not test_folder.is_dir():
        test_folder = root / "val"
        if not test_folder.is_dir():
            raise UserError(KEY, str(root), "neither test/ nor val/ there; one is needed")
        log.info("no test folder in %s: val is the test set", root)
    train, test = find_tree(root, root / "train"), find_tree(root, test_folder)
    if len(train.classes) < 2:
        allowed = f"train has the one class {train.classes[0]}; at least two are needed"
        raise UserError(KEY, str(root), allowed)
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        allowed = (
            f"the same classes are needed in train and {test_folder.name}; "
            f"only one of them has {', '.join(differing[:5])}"
        )
        raise UserError(KEY, str(root), allowed)
    return train, test


def find_tree(root: Path, folder: Path) -> Tree:
    """Return one split's files, sorted by class and name."""
    try:
        found = torchvision.datasets.ImageFolder(folder)
    except FileNotFoundError as error:
        reason = " ".join(str(error).split())
        raise UserError(KEY, str(root), f"no images in {folder.name}: {reason}") from error
    return Tree([(Path(path), label) for path, label in found.samples], found.classes)


def check_headers(paths: list[Path], size: int | None) -> set[str]:
    """Return the images' modes; check from the headers alone that they fit together."""

    def header(path: Path) -> tuple[str, tuple[int, int]]:
        with Image.open(path) as image:
            return image.mode, image.size

    found = in_threads(header, paths)
    for path, (mode, dimensions) in zip(paths, found, strict=True):
        if mode not in GRAY_MODES | COLOUR_MODES:
            allowed = f"{path} has pixels of mode {mode}; 8 bits a channel are needed"
            raise UserError(KEY, str(path.parent), allowed)
        if size is None and dimensions != found[0][1]:
            first = "x".join(map(str, found[0][1]))
            other = "x".join(map(str, dimensions))
            raise UserError(
                "dataset.size",
                "null",
                f"a side in pixels is needed, as the sizes differ:\n"
                f"{paths[0]} is {first}, {path} is {other}",
            )
    return {mode for mode, _ in found}


def read(tree: Tree, mode: str, size: int | None) -> Split:
    """Return the decoded images, ``mode`` L or RGB, and their labels."""

    def decode(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            converted = image.convert(mode)
        if size is not None:
            converted = converted.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted, dtype=np.uint8)
        return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)

    images = np.stack(in_threads(decode, [path for path, _ in tree.files]))
    labels = torch.tensor([label for _, label in tree.files])
    return Split(torch.from_numpy(images), labels)


def in_threads(work: Callable[[Path], T], paths: list[Path]) -> list[T]:
    """Return ``work`` of every path, in order; a file that it fails on is the user's to mend."""

    def guarded(path: Path) -> T:
        try:
            return work(path)
        except Exception as error:  # Pillow's formats raise whatever their parsers raise
            reason = " ".join(str(error).split())
            allowed = f"{path} cannot be read as an image ({reason})"
            raise UserError(KEY, str(path.parent), allowed) from error

    chunks = [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        done = pool.map(lambda chunk: [guarded(path) for path in chunk], chunks)
        return list(itertools.chain.from_iterable(done))


def fingerprint(root: Path, train: Tree, test: Tree, size: int | None) -> str:
    """Return a sha256 of relative names, file sizes, classes and the size chosen."""
    digest = hashlib.sha256()
    for line in (f"size {size}", *(f"class {name}" for name in train.classes)):
        digest.update(f"{line}\n".encode())
    for path in sorted(path for path, _ in train.files + test.files):
        relative = path.relative_to(root).as_posix()
        digest.update(f"{path.stat().st_size} {relative}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
