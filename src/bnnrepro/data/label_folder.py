"""Images and labels in folders, in the layout of the ISBI 2012 electron microscopy challenge.

``train_imgs/img_N.png`` with ``train_labels/label_N.png``, ``val_imgs`` and ``val_labels``
likewise, and optionally ``test_imgs`` without labels. A label is 255 inside a cell, 0 on a
membrane. The labelled images of ``val_*`` are the test set: the published figures are of them, so
they must select neither weights nor epoch. ``test_imgs`` are predicted only. ``isbi`` accepts the
challenge's own images alone, ``load`` any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bnnrepro.data.decoding import decode, read_all, refuse_special_files
from bnnrepro.data.label_maps import Pairs, SegmentationAugment, SegmentationData, content_hash
from bnnrepro.data.metadata import channel_statistics, per_channel
from bnnrepro.errors import UserError

KEY = "dataset.root"
CLASSES = ("membrane", "cell")
PREFIX = {"imgs": "img", "labels": "label"}  # of the files' names, by the folder's suffix
LAYOUT = "train_imgs/img_N.png with train_labels/label_N.png, and val_* likewise, are needed"
# content_hash of ISBI's 24 and 6 labelled images, as the earlier reproduction split them.
ISBI = "3c74c95fb98e7490a9f29f08c43614999e0de214e20148642a22ac997be71ac8"


def load(
    *,
    name: str = "label_folder",
    root: str | Path,
    crop: int | None = None,
    crops: int = 1,
    augment: Mapping[str, bool] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> SegmentationData:
    """Return the images in folders.

    Args:
        name: the data set's name.
        root: the folder that holds train_imgs and the others, or a folder ``isbi-em`` with them.
        crop: side of the square training crops, in pixels; None: whole images.
        crops: crops of each image per epoch, >= 1.
        augment: ``{"flip": bool, "rotate": bool}``.
        mean: each channel's mean in 0..1, or None: measured from the training images.
        std: each channel's standard deviation in 0..1, or None: measured likewise.
        shape: the declared (C, H, W), or None: that of the data.
        classes: the declared number of classes, or None.

    Raises:
        UserError: files are missing, unreadable or inconsistent.
    """
    root = Path(root).expanduser()
    folder = root / "isbi-em" if (root / "isbi-em").is_dir() else root
    train, test = (read_pairs(root, folder, split) for split in ("train", "val"))
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join("x".join(map(str, s.images.shape[:1:-1])) for s in (train, test))
        raise UserError(KEY, str(root), f"train_imgs and val_imgs are {sizes}: one size is needed")
    unlabelled = None
    if (folder / "test_imgs").is_dir():
        unlabelled = read_unlabelled(root, folder / "test_imgs")
    return build_segmentation_data(
        train,
        test,
        unlabelled,
        name=name,
        crop=crop,
        crops=crops,
        augment=augment,
        mean=mean,
        std=std,
        shape=shape,
        classes=classes,
        fingerprint=content_hash(train, test),
    )


def isbi(
    *,
    name: str = "isbi_em",
    root: str | Path,
    crop: int | None = None,
    crops: int = 1,
    augment: Mapping[str, bool] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> SegmentationData:
    """Return ISBI's images; arguments and errors are those of ``load``.

    Raises:
        UserError: the pixels are not ISBI's, or not split as in the earlier reproduction.
    """
    data = load(
        name=name,
        root=root,
        crop=crop,
        crops=crops,
        augment=augment,
        mean=mean,
        std=std,
        shape=shape,
        classes=classes,
    )
    if data.fingerprint != ISBI:
        allowed = (
            "not ISBI's images 0 to 23 in train_imgs and 24 to 29 in val_imgs; "
            "dataset=label_folder takes any"
        )
        raise UserError(KEY, str(root), allowed)
    return replace(data, fingerprint=None)  # known by its name


def build_segmentation_data(
    train: Pairs,
    test: Pairs,
    unlabelled: Pairs | None,
    *,
    name: str,
    crop: int | None,
    crops: int,
    augment: Mapping[str, bool] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    shape: Sequence[int] | None,
    classes: int | None,
    fingerprint: str | None = None,
) -> SegmentationData:
    """Return the data set, checked against its configuration; see ``load``."""
    channels, height, width = train.images.shape[1:]
    if shape is not None and tuple(shape) != (channels, height, width):
        allowed = f"{name} has images of {[channels, height, width]}"
        raise UserError("dataset.shape", list(shape), allowed)
    if classes is not None and classes != len(CLASSES):
        raise UserError("dataset.classes", classes, f"{name} has {len(CLASSES)} classes")
    if crop is not None and crop > min(height, width):
        allowed = f"{name} has images of {width}x{height}: at most {min(height, width)}, or null"
        raise UserError("dataset.crop", crop, allowed)
    augmentation = SegmentationAugment(**(augment or {}))
    if augmentation.rotate and crop is None and height != width:
        allowed = f"images of {width}x{height} cannot be turned: give dataset.crop, or false"
        raise UserError("dataset.augment.rotate", "true", allowed)
    if mean is None or std is None:
        mean, std = channel_statistics(train.images)
    return SegmentationData(
        name=name,
        train=train,
        test=test,
        classes=CLASSES,
        mean=per_channel("mean", mean, channels),
        std=per_channel("std", std, channels),
        crop=crop,
        crops=crops,
        augmentation=augmentation,
        unlabelled=unlabelled,
        fingerprint=fingerprint,
    )


def read_pairs(root: Path, folder: Path, split: str) -> Pairs:
    """Return the images of a split with their labels, sorted by number."""
    images = numbered(root, folder / f"{split}_imgs")
    labels = numbered(root, folder / f"{split}_labels")
    for number in sorted(images.keys() ^ labels.keys()):
        has, lacks = ("imgs", "labels") if number in images else ("labels", "imgs")
        unmatched = (images.get(number) or labels[number]).name
        allowed = (
            f"{split}_{has} has {len(images if has == 'imgs' else labels)} files, {split}_{lacks} "
            f"{len(labels if has == 'imgs' else images)}: {unmatched} has no partner"
        )
        raise UserError(KEY, str(root), allowed)
    order = sorted(images)
    pixels = grey_values([images[number] for number in order], root)
    values = grey_values([labels[number] for number in order], root)
    for number, image, label in zip(order, pixels, values, strict=True):
        if image.shape != label.shape:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (image, label)]
            allowed = f"{images[number]} is {sizes[0]}, its label {labels[number].name} {sizes[1]}"
            raise UserError(KEY, str(root), allowed)
        others = sorted(set(np.unique(label).tolist()) - {0, 255})
        if others:
            allowed = f"{labels[number]} has the value {others[0]}; 0 and 255 are allowed"
            raise UserError(KEY, str(root), allowed)
    cells = np.stack(values) == 255
    if cells.all() or not cells.any():
        allowed = f"{split}_labels are all {255 if cells.all() else 0}; both 0 and 255 are needed"
        raise UserError(KEY, str(root), allowed)
    names = tuple(images[number].stem for number in order)
    return Pairs(
        torch.from_numpy(np.stack(pixels)[:, None]), torch.from_numpy(cells.astype(np.uint8)), names
    )


def read_unlabelled(root: Path, folder: Path) -> Pairs:
    """Return images without labels, sorted by number; each label is 0."""
    files = numbered(root, folder)
    pixels = np.stack(grey_values([files[number] for number in sorted(files)], root))
    names = tuple(files[number].stem for number in sorted(files))
    images = torch.from_numpy(pixels)
    return Pairs(images[:, None], torch.zeros_like(images), names)


def numbered(root: Path, folder: Path) -> dict[int, Path]:
    """Return a folder's PNG files by their numbers, ``img_N.png`` or ``label_N.png``.

    Hidden files and files of other kinds are ignored.

    Raises:
        UserError: there is none, one has another name, or two have the same number.
    """
    if not folder.is_dir():
        raise UserError(KEY, str(root), f"no folder {folder}; {LAYOUT}")
    prefix = PREFIX[folder.name.rpartition("_")[2]]
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != ".png":
            continue
        refuse_special_files(KEY, root, [path])
        match = re.fullmatch(rf"{prefix}_([0-9]+)\.png", path.name)
        if match is None:
            allowed = f"{folder} has {path.name}; its files are named {prefix}_N.png"
            raise UserError(KEY, str(root), allowed)
        first = files.setdefault(int(match[1]), path)
        if first != path:
            allowed = f"{folder} has {first.name} and {path.name}, which are one number"
            raise UserError(KEY, str(root), allowed)
    if not files:
        raise UserError(KEY, str(root), f"no images in {folder}; {LAYOUT}")
    return files


def grey_values(paths: list[Path], root: Path) -> list[np.ndarray]:
    """Return the pixels of images, uint8 (H, W), all of the first one's size."""

    def work(_: Path, content: bytes) -> np.ndarray:
        image = decode(content)
        # A transparent pixel of a label has no class: transparency is refused, in images too.
        if image.mode not in ("1", "L") or image.has_transparency_data:
            kind = f"{image.mode} with transparency" if image.mode in ("1", "L") else image.mode
            raise ValueError(f"its pixels are {kind}: 8-bit grey values are needed")
        return np.asarray(image.convert("L"), dtype=np.uint8)

    pixels = read_all(paths, work)
    for path, array in zip(paths, pixels, strict=True):
        if array.shape != pixels[0].shape:
            sizes = [f"{a.shape[1]}x{a.shape[0]}" for a in (pixels[0], array)]
            allowed = f"the sizes differ: {paths[0]} is {sizes[0]},\n{path} is {sizes[1]}"
            raise UserError(KEY, str(root), allowed)
    return pixels
