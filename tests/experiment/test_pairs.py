"""Every method on every data set, and MNIST itself."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.composing import composed

from bnnrepro.api import load
from bnnrepro.config.parts import conf_dir
from bnnrepro.experiment import Result, run

RunSmall = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("code_read_once")


def idx(array: np.ndarray) -> bytes:
    """MNIST's file format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_mnist(root: Path) -> list[tuple[Any, str, Any]]:
    from bnnrepro.data import mnist

    random, sums = np.random.default_rng(0), {}
    (root / mnist.RAW).mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        files = {
            f"{part}-images-idx3-ubyte": random.integers(0, 256, (count, 28, 28), np.uint8),
            f"{part}-labels-idx1-ubyte": np.arange(count, dtype=np.uint8) % 10,
        }
        for name, array in files.items():
            (root / mnist.RAW / name).write_bytes(idx(array))
            sums[name] = md5(idx(array)).hexdigest()
    return [(mnist, "RAW_MD5", sums)]


def write_cifar(root: Path, name: str) -> list[tuple[Any, str, Any]]:
    from bnnrepro.data.cifar import archive

    source, random = archive(name), np.random.default_rng(0)
    classes, key = (10, "labels") if name == "cifar10" else (100, "fine_labels")
    folder = root / source.base_folder
    folder.mkdir(parents=True)

    def written(file: str, value: object) -> str:
        (folder / file).write_bytes(pickle.dumps(value))
        return md5((folder / file).read_bytes()).hexdigest()

    sums = []
    for listed in ("train_list", "test_list"):
        renewed = []
        for file, _ in getattr(source, listed):
            data = random.integers(0, 256, (60, 3072), np.uint8)
            value = {"data": data, key: random.integers(0, classes, 60).tolist()}
            renewed.append([file, written(file, value)])
        sums.append((source, listed, renewed))
    names = {source.meta["key"]: [f"class {number}" for number in range(classes)]}
    meta = source.meta | {"md5": written(source.meta["filename"], names)}
    return [*sums, (source, "meta", meta)]


def write_images(root: Path) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind in ("circle", "cross", "square"):
            (root / split / kind).mkdir(parents=True)
            for number in range(20):
                pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / kind / f"{number}.png")


def write_micrographs(root: Path) -> None:
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(24):
            label = random.integers(0, 2, (24, 24)) * 255
            for kind, pixels in (("img", label // 2 + 60), ("label", label)):
                folder = root / f"{split}_{'imgs' if kind == 'img' else 'labels'}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{kind}_{number}.png")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Any, str, Any]]]:
    """All data sets in miniature as they lie on disk, and the checksums that they go with."""
    root, sums = tmp_path_factory.mktemp("data"), []
    sums += write_mnist(root)
    sums += write_cifar(root, "cifar10")
    sums += write_cifar(root, "cifar100")
    write_images(root / "images")
    write_micrographs(root / "micrographs")
    return root, sums


@pytest.fixture
def data(written: tuple[Path, list[tuple[Any, str, Any]]], monkeypatch: pytest.MonkeyPatch) -> Path:
    root, sums = written
    for owner, name, value in sums:
        monkeypatch.setattr(owner, name, value)
    return root


VGG = ["model.channels=[2,2,2,2,2,2]", "model.hidden=[8]"]
DATA_SETS = {
    "digits": ["model.hidden=[8]"],
    "mnist": ["model.hidden=[8]", "dataset.root={data}", "dataset.download=false"],
    "cifar10": [*VGG, "dataset.root={data}", "dataset.download=false"],
    "cifar100": [*VGG, "dataset.root={data}", "dataset.download=false"],
    "image_folder": ["model.hidden=[8]", "dataset.root={data}/images"],
    "permuted_digits": ["model.hidden=[8]", "dataset.tasks=2"],
    "permuted_mnist": [
        "model.hidden=[8]",
        "dataset.tasks=2",
        "dataset.root={data}",
        "dataset.download=false",
    ],
    "shapes": ["model.channels=[2,2]", "dataset.size=24"],
    "label_folder": ["dataset.root={data}/micrographs", "dataset.crop=20", "model.channels=[2,2]"],
}
METHODS = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))


@pytest.mark.parametrize("dataset", DATA_SETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_data_set(
    method: str, dataset: str, data: Path, tmp_path: Path
) -> None:
    settings = [each.format(data=data) for each in DATA_SETS[dataset]]
    short = ["preset.name=short", "preset.train_limit=60", "preset.test_limit=40", "epochs=1"]
    common = ["batch_size=20", "device=cpu", "threads=1", "evaluate.samples=2", f"out={tmp_path}"]
    finished = run(composed(f"dataset={dataset}", f"method={method}", *settings, *short, *common))
    result = json.loads(finished.path.read_text())
    tasks = 2 if dataset.startswith("permuted") else 1
    assert (result["method"], result["dataset"], result["epochs"]) == (method, dataset, tasks)
    folder = finished.folder
    state = torch.load(folder.best if "best" in result else folder.checkpoint)
    weights = [value for value in state["model"].values() if value.dim() >= 2]
    assert weights
    binary = all((value.abs() == 1).all() for value in weights)
    assert binary == (method != "full_precision")


@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "cifar100"])
def test_smoke_needs_no_data_and_says_what_stood_in(tmp_path: Path, dataset: str) -> None:
    overrides = [f"dataset={dataset}", f"dataset.root={tmp_path / 'nothing'}", "preset=smoke"]
    config = composed(*overrides, f"out={tmp_path / 'runs'}", "device=cpu", "threads=1", "epochs=1")
    finished = run(config)
    result = finished.values
    assert (result["dataset"], result["stands_for"]) == ("digits", dataset)
    assert finished.folder.path.parts[-4] == dataset
    assert (result["n_train"], result["n_validation"], result["n_test"]) == (180, 20, 100)
    again = load(finished.folder.path, device="cpu")
    assert len(again.classes) == config.dataset.classes
    assert not (tmp_path / "nothing").exists()


# -- the real MNIST -----------------------------------------------------------------------------


@pytest.mark.realdata
def test_real_mnist_in_short(run_small: RunSmall, real_data: Path) -> None:
    root = [f"dataset.root={real_data}", "dataset.download=false"]
    real = ["preset=smoke", "preset.stand_in=null", "epochs=1"]
    result = run_small("dataset=mnist", *root, *real).values
    assert (result["dataset"], result["stands_for"]) == ("mnist", None)
    assert (result["n_train"], result["n_validation"], result["n_test"]) == (180, 20, 100)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(1800)
def test_an_epoch_of_real_mnist_in_little_memory(real_data: Path, tmp_path: Path) -> None:
    code = (  # getrusage's peak would be the larger one of this process and of its parent
        "import sys; from bnnrepro.cli.run import main; done = main(sys.argv[1:]); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(done)"
    )
    root = [f"dataset.root={real_data}", "dataset.download=false"]
    argv = [*root, f"out={tmp_path}", "device=cpu", "threads=1", "epochs=1"]
    command = [sys.executable, "-c", code, "method=bayesbinn", "dataset=mnist", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.splitlines()[-1])
    assert kilobytes * 1024 < 900e6
    (path,) = tmp_path.glob("mnist/mlp/bayesbinn/*/result.json")
    result = json.loads(path.read_text())
    assert (result["n_train"], result["preset"]) == (54_000, "paper")
    assert result["parameters"]["binary"] == 10_014_720
    assert json.loads(path.read_text())["best"]["test"]["mode"]["accuracy"] > 90
