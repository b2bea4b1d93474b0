"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test photographs, 32x32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnnrepro.data.dataset import ImageData, Split
from bnnrepro.data.download import ensure_files
from bnnrepro.data.metadata import build_image_data
from bnnrepro.data.torchvision_import import torchvision
from bnnrepro.errors import UserError, nearest

SETS = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}


def load(
    *,
    name: str,
    root: str | Path = "data",
    download: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> ImageData:
    """Return CIFAR-10 or CIFAR-100 (fine labels), shape (3, 32, 32), in the original order.

    Args:
        name: ``cifar10`` or ``cifar100``.
        root: the folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``.
        download: allow missing or damaged files to be downloaded.
        mean: see :func:`bnnrepro.data.metadata.build_image_data`, also for what follows.
        std: likewise.
        augment: likewise.
        shape: likewise.
        classes: likewise.

    Raises:
        UserError: another name, files that are missing or damaged, a failed download, a root
            that cannot be written, or a declared value that the data contradict.
    """
    if name not in SETS:
        raise UserError("dataset.name", name, f"cifar10 or cifar100{nearest(name, SETS)}")
    ensure(name, root, download=download)
    folder = Path(root).expanduser()
    train, test = (SETS[name](folder, train=train) for train in (True, False))
    return build_image_data(
        as_split(train.data, train.targets),
        as_split(test.data, test.targets),
        train.classes,
        name=name,
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
    )


def as_split(data: np.ndarray, labels: list[int]) -> Split:
    """Return torchvision's uint8 array (N, H, W, C) and its labels as a split."""
    images = torch.from_numpy(data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(labels))


def ensure(name: str, root: str | Path, *, download: bool) -> None:
    """Return once the files of ``cifar10`` or ``cifar100`` are intact under the root.

    Raises:
        UserError: see :func:`bnnrepro.data.download.ensure_files`.
    """
    root = Path(root).expanduser()
    source = SETS[name]
    listed = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    files = {f"{source.base_folder}/{file}": md5 for file, md5 in listed}

    def fetch() -> None:
        torchvision.datasets.utils.download_and_extract_archive(
            source.url, root, filename=source.filename, md5=source.tgz_md5
        )

    ensure_files(source.__name__, root, files, fetch, download=download)
