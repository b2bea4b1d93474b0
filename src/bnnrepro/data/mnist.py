"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

from bnnrepro.data.dataset import ImageData, Split
from bnnrepro.data.download import ensure_files
from bnnrepro.data.metadata import build_image_data
from bnnrepro.data.torchvision_import import torchvision

RAW = Path("MNIST", "raw")
# torchvision has the md5 of the archives only; these are the unpacked files'.
RAW_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(
    *,
    name: str = "mnist",
    root: str | Path = "data",
    download: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> ImageData:
    """Return MNIST, shape (1, 28, 28), 10 classes, in the original order.

    Args:
        name: the data set's name.
        root: the folder that holds ``MNIST/raw``, as torchvision lays it out.
        download: allow missing or damaged files to be downloaded.
        mean: see :func:`bnnrepro.data.metadata.build_image_data`, also for what follows.
        std: likewise.
        augment: likewise.
        shape: likewise.
        classes: likewise.

    Raises:
        UserError: files that are missing or damaged, a failed download, a root that cannot be
            written, or a declared value that the data contradict.
    """
    ensure(root, download=download)
    raw = Path(root).expanduser() / RAW
    reader = torchvision.datasets.mnist
    train, test = (
        Split(
            reader.read_image_file(str(raw / f"{part}-images-idx3-ubyte")).unsqueeze(1),
            reader.read_label_file(str(raw / f"{part}-labels-idx1-ubyte")),
        )
        for part in ("train", "t10k")
    )
    return build_image_data(
        train,
        test,
        [str(digit) for digit in range(10)],
        name=name,
        mean=mean,
        std=std,
        augment=augment,
        shape=shape,
        classes=classes,
    )


def ensure(root: str | Path, *, download: bool) -> None:
    """Return once MNIST's four files are intact under the root.

    Raises:
        UserError: see :func:`bnnrepro.data.download.ensure_files`.
    """
    root = Path(root).expanduser()
    files = {(RAW / file).as_posix(): md5 for file, md5 in RAW_MD5.items()}
    ensure_files("MNIST", root, files, lambda: fetch(root / RAW), download=download)


def fetch(raw: Path) -> None:
    """Download and unpack missing and damaged files, each from the first mirror that has it."""
    source = torchvision.datasets.MNIST
    tools = torchvision.datasets.utils
    for archive, md5 in source.resources:
        file = archive.removesuffix(".gz")
        if tools.check_integrity(raw / file, RAW_MD5[file]):
            continue
        failures = []
        for mirror in source.mirrors:
            try:
                tools.download_and_extract_archive(mirror + archive, raw, filename=archive, md5=md5)
                break
            except (RuntimeError, URLError) as error:
                failures.append(f"{mirror}: {error}")
        else:
            raise RuntimeError("; ".join(failures))
