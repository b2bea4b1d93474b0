"""A user's tree of image files: ``root/train/<class>/*`` and ``root/test/<class>/*``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bnnrepro.data.dataset import ImageData, Split
from bnnrepro.data.decoding import decode, on_white, read_all, refuse_special_files
from bnnrepro.data.metadata import build_image_data
from bnnrepro.data.torchvision_import import torchvision
from bnnrepro.errors import UserError

KEY = "dataset.root"
GRAY_MODES = {"1", "L", "LA"}
COLOUR_MODES = {"P", "RGB", "RGBA", "CMYK", "YCbCr"}
ENDINGS = torchvision.datasets.folder.IMG_EXTENSIONS
# Version of decoding and resizing: part of the fingerprint.
DECODING = "upright, on white"

log = logging.getLogger(__name__)


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

    Without a ``test`` folder, ``val`` is the test set, which is logged.

    Args:
        name: the data set's name.
        root: the folder that holds ``train`` and ``test`` (or ``val``).
        size: the side in pixels that every image is resized to, bilinear; None: unchanged.
        mean: see :func:`bnnrepro.data.metadata.build_image_data`, also for what follows.
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
    files = [path for path, _ in train.files + test.files]
    pixels, digests = read(files, size)
    return build_image_data(
        as_split(train, pixels[: len(train.files)]),
        as_split(test, pixels[len(train.files) :]),
        train.classes,
        name=name,
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
        fingerprint=fingerprint(root, dict(zip(files, digests, strict=True)), train.classes, size),
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
    """Return one split's files, sorted by class, folder and name.

    Hidden entries are ignored; files of other kinds too, which are counted in the log.

    Raises:
        UserError: there is no class, or one has no image or a name that is not UTF-8.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    classes = [name for name in classes if not hidden(name)]
    if not classes:
        raise UserError(KEY, str(root), f"no images in {folder.name}: no folder of a class there")
    files: list[tuple[Path, int]] = []
    left_out: Counter[str] = Counter()
    for label, name in enumerate(classes):
        if not name.isprintable():
            allowed = f"{folder.name} has the class {name!a}: its name must be UTF-8 text"
            raise UserError(KEY, str(root), allowed)
        paths = files_below(folder / name)
        images = [path for path in paths if path.suffix.lower() in ENDINGS]
        refuse_special_files(KEY, root, images)
        left_out.update(path.suffix for path in paths if path.suffix.lower() not in ENDINGS)
        if not images:
            allowed = f"no images in {folder.name}/{name}; they end in {' '.join(ENDINGS)}"
            raise UserError(KEY, str(root), allowed)
        files += [(path, label) for path in images]
    if left_out:
        kinds = ", ".join(f"{count} {kind or 'without'}" for kind, count in left_out.most_common(5))
        log.warning("%s: files of these endings are left out: %s", folder, kinds)
    return Tree(files, classes)


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


def read(files: Sequence[Path], size: int | None) -> tuple[list[np.ndarray], list[str]]:
    """Return each file's pixels, uint8 (1 or 3, H, W), and the sha256 of its bytes.

    Raises:
        UserError: a file cannot be read, or is of another size than the first without ``size``.
    """
    (first,) = read_all(files[:1], lambda _, content: decode(content).size)

    def work(path: Path, content: bytes) -> tuple[np.ndarray, str]:
        image = decode(content)
        if image.mode not in GRAY_MODES | COLOUR_MODES:
            raise ValueError(f"its pixels are {image.mode}: 8 bits a channel are needed")
        if size is None and image.size != first:
            here, there = ("x".join(map(str, size)) for size in (first, image.size))
            raise UserError(
                "dataset.size",
                "null",
                "a side in pixels is needed, as the sizes differ:\n"
                f"{files[0]} is {here}, {path} is {there}",
            )
        image = on_white(image, "L" if image.mode in GRAY_MODES else "RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.atleast_3d(np.asarray(image, dtype=np.uint8)).transpose(2, 0, 1)
        return pixels, hashlib.sha256(content).hexdigest()

    pixels, digests = zip(*read_all(files, work), strict=True)
    channels = max(map(len, pixels))  # one colour image gives all of them three planes
    equal = [array if len(array) == channels else array.repeat(channels, 0) for array in pixels]
    return equal, list(digests)


def as_split(tree: Tree, pixels: Sequence[np.ndarray]) -> Split:
    """Return the images of a split with their labels."""
    labels = torch.tensor([label for _, label in tree.files])
    return Split(torch.from_numpy(np.stack(pixels)), labels)


def fingerprint(
    root: Path, digests: Mapping[Path, str], classes: Sequence[str], size: int | None
) -> str:
    """Return a sha256 of names below the root, contents, classes, and how they are decoded."""
    digest = hashlib.sha256()
    for line in (f"decoding {DECODING}", f"size {size}", *(f"class {name}" for name in classes)):
        digest.update(f"{line}\n".encode())
    for path in sorted(digests):
        relative = path.relative_to(root).as_posix()
        digest.update(f"{digests[path]} {relative}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
