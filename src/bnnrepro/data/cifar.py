"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test photographs, 32x32."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from bnnrepro.constraints import Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.download import ensure_files
from bnnrepro.data.images import ImageSet
from bnnrepro.importing import torchvision


@dataset(ImageSet, fixed=True, stand_ins=("digits",), shape=(3, 32, 32))
def load(
    name: Literal["cifar10", "cifar100"], root: Text = "data", download: bool = True
) -> Arrays:
    """Return CIFAR-10 or CIFAR-100 (fine labels) in its original order.

    Args:
        name: which of the two
        root: folder of the data, which holds cifar-10-batches-py or cifar-100-python; the
            environment variable BNNREPRO_DATA changes it for all data sets
        download: download missing files

    Raises:
        UserError: see ``ensure``.
    """
    ensure(name, root, download=download)
    train, test = (archive(name)(Path(root).expanduser(), train=part) for part in (True, False))
    return Arrays(_samples(train), _samples(test), tuple(train.classes))


def _samples(source: Any) -> Samples:
    """Return torchvision's uint8 array (N, H, W, C) and its labels as samples."""
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return Samples(images, torch.tensor(source.targets))


def archive(name: str) -> Any:
    """Return torchvision's class of ``cifar10`` or ``cifar100``, which knows its files."""
    return getattr(torchvision().datasets, name.upper())


def ensure(name: str, root: str | Path, *, download: bool) -> None:
    """Return once the files of ``cifar10`` or ``cifar100`` are intact under the root.

    Raises:
        UserError: files that are missing or damaged, a failed download, or a root that cannot be
            written; see :func:`bnnrepro.data.download.ensure_files`.
    """
    root, source = Path(root).expanduser(), archive(name)
    listed = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    files = {f"{source.base_folder}/{file}": md5 for file, md5 in listed}

    def fetch() -> None:
        torchvision().datasets.utils.download_and_extract_archive(
            source.url, root, filename=source.filename, md5=source.tgz_md5
        )

    ensure_files(source.__name__, root, files, fetch, download=download)
