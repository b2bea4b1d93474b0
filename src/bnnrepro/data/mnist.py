"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

from bnnrepro.constraints import Text
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays, dataset
from bnnrepro.data.download import ensure_files
from bnnrepro.data.images import ImageSet
from bnnrepro.importing import torchvision

RAW = Path("MNIST", "raw")
# torchvision has the md5 of the archives only; these are the unpacked files'.
RAW_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@dataset(
    ImageSet,
    fixed=True,
    stand_ins=("digits",),
    name="mnist",
    shape=(1, 28, 28),
    classes=10,
    mean=(0.1307,),
    std=(0.3081,),
)
def load(root: Text = "data", download: bool = True) -> Arrays:
    """Return MNIST in its original order.

    Args:
        root: folder of the data, which holds MNIST/raw as torchvision lays it out; the environment
            variable BNNREPRO_DATA changes it for all data sets
        download: download missing files

    Raises:
        UserError: see ``ensure``.
    """
    ensure(root, download=download)
    raw, reader = Path(root).expanduser() / RAW, torchvision().datasets.mnist
    train, test = (
        Samples(
            reader.read_image_file(str(raw / f"{part}-images-idx3-ubyte")).unsqueeze(1),
            reader.read_label_file(str(raw / f"{part}-labels-idx1-ubyte")),
        )
        for part in ("train", "t10k")
    )
    return Arrays(train, test, tuple(map(str, range(10))))


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
    source, tools = torchvision().datasets.MNIST, torchvision().datasets.utils
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
