"""Images and labels in folders, as the ISBI 2012 electron microscopy challenge is laid out.

``train_imgs/img_N.png`` with ``train_labels/label_N.png``, ``val_imgs`` and ``val_labels``
likewise, and perhaps ``test_imgs`` without labels. A label is 255 inside a cell, 0 on a membrane.
The labelled images of ``val_*`` are the test set: the published figures are of them, so that
neither weights nor epoch may be chosen by them. ``test_imgs`` are predicted and not measured.
``isbi`` reads the challenge's own images and no others, ``load`` any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bnnrepro.data.decoding import decode, read_all, refuse_strange
from bnnrepro.data.label_maps import Pairs, SegmentationData, Turning, content_of
from bnnrepro.data.metadata import channel_statistics, per_channel
from bnnrepro.errors import UserError

KEY = "dataset.root"
CLASSES = ("membrane", "cell")
PREFIX = {"imgs": "img", "labels": "label"}  # of the files' names, by the folder's ending
LAYOUT = "train_imgs/img_N.png with train_labels/label_N.png, and val_* likewise, are needed"
# content_of ISBI's 24 and 6 labelled images, as the earlier reproduction split them.
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
        crop: side of the squares trained on, in pixels; None: whole images.
        crops: squares from an image in an epoch, >= 1.
        augment: ``{"flip": bool, "rotate": bool}``.
        mean: each channel's mean in 0..1, or None: measured from the training images.
        std: each channel's standard deviation in 0..1, or None: measured likewise.
        shape: the declared (C, H, W), or None: as found.
        classes: the declared number of classes, or None.

    Raises:
        UserError: what is missing, cannot be read, or does not fit together.
    """
    root = Path(root).expanduser()
    inside = root / "isbi-em"
    folder = inside if inside.is_dir() else root
    train, test = (read_pairs(root, folder, split) for split in ("train", "val"))
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join("x".join(map(str, each.images.shape[:1:-1])) for each in (train, test))
        raise UserError(KEY, str(root), f"train_imgs and val_imgs are {sizes}: one size is needed")
    unlabelled = None
    if (folder / "test_imgs").is_dir():
        unlabelled = read_unlabelled(root, folder / "test_imgs")
    return finished(
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
        fingerprint=content_of(train, test),
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
        UserError: the pixels are not ISBI's, or lie in other files than the earlier reproduction's.
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


def finished(
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
    """Return the data set, checked against what its configuration declares; see ``load``."""
    found = list(train.images.shape[1:])
    if shape is not None and list(shape) != found:
        raise UserError("dataset.shape", list(shape), f"{name} has images of {found}")
    if classes is not None and classes != len(CLASSES):
        raise UserError("dataset.classes", classes, f"{name} has {len(CLASSES)} classes")
    if crop is not None and crop > min(found[1:]):
        allowed = f"{name} has images of {found[2]}x{found[1]}: at most {min(found[1:])}, or null"
        raise UserError("dataset.crop", crop, allowed)
    turning = Turning(**(augment or {}))
    if turning.rotate and crop is None and found[1] != found[2]:
        allowed = f"images of {found[2]}x{found[1]} cannot be turned: give dataset.crop, or false"
        raise UserError("dataset.augment.rotate", "true", allowed)
    if mean is None or std is None:
        mean, std = channel_statistics(train.images)
    return SegmentationData(
        name=name,
        train=train,
        test=test,
        classes=CLASSES,
        mean=per_channel("mean", mean, found[0]),
        std=per_channel("std", std, found[0]),
        crop=crop,
        crops=crops,
        turning=turning,
        unlabelled=unlabelled,
        fingerprint=fingerprint,
    )


def read_pairs(root: Path, folder: Path, split: str) -> Pairs:
    """Return the images of a split with their labels, by number."""
    images = numbered(root, folder / f"{split}_imgs")
    labels = numbered(root, folder / f"{split}_labels")
    for number in sorted(images.keys() ^ labels.keys()):
        has, lacks = ("imgs", "labels") if number in images else ("labels", "imgs")
        found = (images.get(number) or labels[number]).name
        allowed = (
            f"{split}_{has} has {len(images if has == 'imgs' else labels)} files, {split}_{lacks} "
            f"{len(labels if has == 'imgs' else images)}: {found} has no partner"
        )
        raise UserError(KEY, str(root), allowed)
    order = sorted(images)
    pixels = grey_values([images[number] for number in order], root)
    wanted = grey_values([labels[number] for number in order], root)
    for number, pixel, label in zip(order, pixels, wanted, strict=True):
        if pixel.shape != label.shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (pixel, label)]
            allowed = f"{images[number]} is {sizes[0]}, its label {labels[number].name} {sizes[1]}"
            raise UserError(KEY, str(root), allowed)
        others = sorted(set(np.unique(label).tolist()) - {0, 255})
        if others:
            allowed = f"{labels[number]} has the value {others[0]}; 0 and 255 are allowed"
            raise UserError(KEY, str(root), allowed)
    cells = np.stack(wanted) == 255
    if cells.all() or not cells.any():
        allowed = f"{split}_labels are all {255 if cells.all() else 0}; both 0 and 255 are needed"
        raise UserError(KEY, str(root), allowed)
    names = tuple(images[number].stem for number in order)
    return Pairs(
        torch.from_numpy(np.stack(pixels)[:, None]), torch.from_numpy(cells.astype(np.uint8)), names
    )


def read_unlabelled(root: Path, folder: Path) -> Pairs:
    """Return images without labels, by number; each label is 0."""
    files = numbered(root, folder)
    pixels = np.stack(grey_values([files[number] for number in sorted(files)], root))
    names = tuple(files[number].stem for number in sorted(files))
    images = torch.from_numpy(pixels)
    return Pairs(images[:, None], torch.zeros_like(images), names)


def numbered(root: Path, folder: Path) -> dict[int, Path]:
    """Return a folder's PNG files by their numbers, ``img_N.png`` or ``label_N.png``.

    Files of other kinds and hidden ones are passed over.

    Raises:
        UserError: there is none, one has another name, or two have the same number.
    """
    if not folder.is_dir():
        raise UserError(KEY, str(root), f"no folder {folder}; {LAYOUT}")
    prefix = PREFIX[folder.name.rpartition("_")[2]]
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != ".png":
            continue
        refuse_strange(KEY, root, [path])
        match = re.fullmatch(rf"{prefix}_([0-9]+)\.png", path.name)
        if match is None:
            allowed = f"{folder} has {path.name}; its files are named {prefix}_N.png"
            raise UserError(KEY, str(root), allowed)
        other = found.setdefault(int(match[1]), path)
        if other != path:
            allowed = f"{folder} has {other.name} and {path.name}, which are one number"
            raise UserError(KEY, str(root), allowed)
    if not found:
        raise UserError(KEY, str(root), f"no images in {folder}; {LAYOUT}")
    return found


def grey_values(paths: list[Path], root: Path) -> list[np.ndarray]:
    """Return the pixels of images, uint8 (H, W), all of the first one's size."""

    def work(_: Path, content: bytes) -> np.ndarray:
        image = decode(content)
        # A transparent pixel of a label has no class, so transparency is refused, in images too.
        if image.mode not in ("1", "L") or image.has_transparency_data:
            kind = f"{image.mode} with transparency" if image.mode in ("1", "L") else image.mode
            raise ValueError(f"its pixels are {kind}: 8-bit grey values are needed")
        return np.asarray(image.convert("L"), dtype=np.uint8)

    pixels = read_all(paths, work)
    for path, found in zip(paths, pixels, strict=True):
        if found.shape != pixels[0].shape:
            sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (pixels[0], found)]
            allowed = f"the sizes differ: {paths[0]} is {sizes[0]},\n{path} is {sizes[1]}"
            raise UserError(KEY, str(root), allowed)
    return pixels
