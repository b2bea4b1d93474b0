"""Images and labels in folders, in the layout of the ISBI 2012 electron microscopy challenge.

``train_imgs/img_N.png`` with ``train_labels/label_N.png``, ``val_imgs`` and ``val_labels``
likewise, and optionally ``test_imgs`` without labels. A label is 255 inside a cell, 0 on a
membrane; labels of 0 and 1 mean the same. The labelled images of ``val_*`` are the test set: the
published figures are of them, so they must select neither weights nor epoch. ``test_imgs`` are
predicted only. ``isbi`` accepts the challenge's own images alone, ``load`` any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bnnrepro.constraints import Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, DataError, dataset
from bnnrepro.data.decoding import decode, log_left_out, read_all, refuse_special_files
from bnnrepro.data.segmentation import SegmentationSet, content_hash

CLASSES = ("membrane", "cell")
PREFIX = {"imgs": "img", "labels": "label"}  # of the files' names, by the folder's suffix
LAYOUT = "train_imgs/img_N.png with train_labels/label_N.png, and val_* likewise, are needed"
# content_hash of ISBI's 24 and 6 labelled images, as the earlier reproduction split them.
ISBI = "3c74c95fb98e7490a9f29f08c43614999e0de214e20148642a22ac997be71ac8"


@dataset(SegmentationSet, name="label_folder", classes=2)
def load(root: Text) -> Arrays:
    """Return the images in folders.

    Args:
        root: folder that holds train_imgs, train_labels, val_imgs and val_labels, or isbi-em/ with
            them

    Raises:
        DataError: files are missing or inconsistent.
        UserError: a file that cannot be read.
    """
    folder = Path(root).expanduser()
    folder = folder / "isbi-em" if (folder / "isbi-em").is_dir() else folder
    train, test = read_pairs(folder, "train"), read_pairs(folder, "val")
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        sizes = " and ".join(size(samples.inputs[0, 0]) for samples in (train, test))
        raise DataError(f"train_imgs and val_imgs are {sizes}: one size is needed")
    unlabelled = None
    if (folder / "test_imgs").is_dir():
        pixels, names = grey_values(numbered(folder / "test_imgs"))
        images = torch.from_numpy(pixels)
        unlabelled = Samples(images[:, None], torch.zeros_like(images), names)
    return Arrays(train, test, CLASSES, content_hash(train, test), unlabelled)


@dataset(
    SegmentationSet,
    fixed=True,
    stand_ins=("shapes",),
    name="isbi_em",
    shape=(1, 512, 512),
    classes=2,
    validation_split=0.0,
    crop=388,
)
def isbi(root: Text = "data") -> Arrays:
    """Return ISBI's images.

    Args:
        root: folder that holds isbi-em/ with train_imgs, train_labels, val_imgs and val_labels

    Raises:
        DataError: see ``load``; or the pixels are not ISBI's, or split in another way.
        UserError: a file that cannot be read.
    """
    arrays = load.arrays(root)
    if arrays.fingerprint != ISBI:
        others = "dataset=label_folder takes any"
        raise DataError(
            f"not ISBI's images 0 to 23 in train_imgs and 24 to 29 in val_imgs; {others}"
        )
    return replace(arrays, fingerprint=None)  # known by its name


def read_pairs(folder: Path, split: str) -> Samples:
    """Return the images of a split with their labels, sorted by number."""
    images, labels = (numbered(folder / f"{split}_{kind}") for kind in PREFIX)
    for number in sorted(images.keys() ^ labels.keys()):
        (has, files), (lacks, others) = ("imgs", images), ("labels", labels)
        if number in labels:
            (has, files), (lacks, others) = (lacks, others), (has, files)
        counts = f"{split}_{has} has {len(files)} files, {split}_{lacks} {len(others)}"
        raise DataError(f"{counts}: {files[number].name} has no partner")
    pixels, names = grey_values(images)
    values, _ = grey_values(labels, masks=True)
    cell = 1 if values.max() <= 1 else 255
    for number, image, label in zip(sorted(images), pixels, values, strict=True):
        if image.shape != label.shape:
            partner = f"its label {labels[number].name} {size(label)}"
            raise DataError(f"{images[number]} is {size(image)}, {partner}")
        if wrong := sorted(set(np.unique(label).tolist()) - {0, cell}):
            allowed = "0 and 255 are allowed, or 0 and 1 in all labels"
            raise DataError(f"{labels[number]} has the value {wrong[0]}; {allowed}")
    cells = values == cell
    if cells.all() or not cells.any():
        only = cell if cells.all() else 0
        raise DataError(f"{split}_labels are all {only}; two values, 0 and 255, are needed")
    images_, labels_ = pixels[:, None], cells.astype(np.uint8)
    return Samples(torch.from_numpy(images_), torch.from_numpy(labels_), names)


def numbered(folder: Path) -> dict[int, Path]:
    """Return a folder's PNG files by their numbers, ``img_N.png`` or ``label_N.png``.

    Hidden files are ignored; so are files of other kinds, which are counted in the log.

    Raises:
        DataError: there is none, one has another name, or two have the same number.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; {LAYOUT}")
    prefix = PREFIX[folder.name.rpartition("_")[2]]
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    others = (path for path in entries if path.suffix.lower() != ".png")
    log_left_out(folder, others, "no PNG")
    files: dict[int, Path] = {}
    for path in (path for path in entries if path.suffix.lower() == ".png"):
        refuse_special_files([path])
        match = re.fullmatch(rf"{prefix}_([0-9]+)\.png", path.name)
        if match is None:
            raise DataError(f"{folder} has {path.name}; its files are named {prefix}_N.png")
        first = files.setdefault(int(match[1]), path)
        if first != path:
            raise DataError(f"{folder} has {first.name} and {path.name}, which are one number")
    if not files:
        raise DataError(f"no images in {folder}; {LAYOUT}")
    return files


def grey_values(
    files: Mapping[int, Path], masks: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return images sorted by number, uint8 (N, H, W), all of one size, and their names.

    Colour pictures count where every colour is a grey one; of masks with a coloured palette, the
    values are the numbers of the colours.
    """

    def work(_: Path, content: bytes) -> np.ndarray:
        image = decode(content)
        # A transparent pixel of a label has no class: transparency is refused, in images too.
        if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (
            255,
            255,
        ):
            raise ValueError("parts of it are transparent: 8-bit grey values are needed")
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            raise ValueError(f"its pixels are {image.mode}: 8-bit grey values are needed")
        if image.mode in ("1", "L"):
            return np.asarray(image.convert("L"), dtype=np.uint8)
        colours = np.asarray(image.convert("RGB"), dtype=np.uint8)
        if (colours == colours[..., :1]).all():
            return colours[..., 0].copy()
        if masks and image.mode == "P":
            return np.asarray(image, dtype=np.uint8)
        raise ValueError("its pixels are colours: 8-bit grey values are needed")

    paths = [files[number] for number in sorted(files)]
    pixels = read_all(paths, work)
    for path, array in zip(paths, pixels, strict=True):
        if array.shape != pixels[0].shape:
            here, there = f"{paths[0]} is {size(pixels[0])}", f"{path} is {size(array)}"
            raise DataError(f"the sizes differ: {here},\n{there}")
    return np.stack(pixels), tuple(path.stem for path in paths)


def size(image: np.ndarray | Tensor) -> str:
    """Return the size of an image (H, W) as people write it: ``512x512``."""
    return f"{image.shape[1]}x{image.shape[0]}"
