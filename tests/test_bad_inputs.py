"""Bad input of any kind: one or two lines that name key, value and what is allowed; exit code 2.

Some rows of each kind are command lines, as ``run.py`` takes them. The others begin where these
lead: at a config to check, or to run. The slow tests take them from the command line as well.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from tests.composing import composed

from bnnrepro.cli import export, legacy
from bnnrepro.cli.exit_code import exits
from bnnrepro.cli.report import main as paper
from bnnrepro.cli.run import main
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.runs import lock, process

Prepare = Callable[[Path, pytest.MonkeyPatch], None]
RUN_PY = Path(__file__).parents[1] / "run.py"
TINY = ["model.hidden=[8]", "batch_size=20", "device=cpu", "threads=1", "checkpoint_seconds=0"]
SMOKE = [*TINY, "preset=smoke"]
STOPPED = [*TINY, "preset=quick"]  # was stopped after the second of three epochs
RUNS = Path("multirun", "digits", "mlp", "bayesbinn")
MAPS = Path("multirun", "two_moons", "toy_mlp", "bayesbinn")


@exits
def checked(argv: list[str]) -> int:
    """Compose and check, as the command line does before it starts anything."""
    composed(*argv)
    return 0


@exits
def started(argv: list[str]) -> int:
    """Do what the command line does with a config that it has checked."""
    run(composed(*argv))
    return 0


class Row(NamedTuple):
    argv: list[str]
    fragments: list[str]
    prepare: Prepare | None = None  # makes files in the current folder
    entry: Callable[[Sequence[str]], int] = started
    name: str = ""

    def __str__(self) -> str:
        return self.name or " ".join(self.argv)


# Settings that cannot be composed or checked, and fragments that the message must have.
SETTINGS: list[tuple[list[str], list[str]]] = [
    # options
    (["dataset=cifar"], ["dataset=cifar", "digits", "did you mean"]),
    (["preset=tiny"], ["preset=tiny", "paper, quick, smoke"]),
    (["experiment=nope"], ["experiment=nope", "short_mnist_bayesbinn"]),
    (["+protocol.bayesbinn.lrr=1"], ["protocol.bayesbinn.lrr=1", "did you mean 'lr'"]),
    (["sweep=tabel7"], ["sweep=tabel7", "did you mean 'table7'"]),
    (["method=null"], ["method=null", "bayesbinn"]),
    (["method=[ste,bop]"], ["method=[ste,bop]", "bayesbinn"]),
    (["~method"], ["method", "bayesbinn"]),
    # keys
    (["method.lrr=1"], ["method.lrr=1", "temperature", "did you mean 'lr'?"]),
    (["methd.lr=1"], ["methd.lr=1", "did you mean 'method'?"]),
    (["evaluate.sample=3"], ["evaluate.sample=3", "did you mean 'samples'?"]),
    (["+method.foo=3"], ["method.foo=3", "temperature"]),
    (["+foo=3"], ["foo=3", "batch_size"]),
    (["~method.lr"], ["method.lr", "missing", "a number > 0"]),
    (["~method.lrr"], ["method.lrr", "did you mean 'lr'?"]),
    (["seed.x=1"], ["seed.x=1", "seed is a single value"]),
    # types and ranges
    (["seed=1.5"], ["seed=1.5", "whole number"]),
    (["seed=abc"], ["seed=abc", "whole number"]),
    (["seed=true"], ["seed=true", "whole number"]),
    (["epochs=0"], ["epochs=0", ">= 1"]),
    (["batch_size=1"], ["batch_size=1", ">= 2"]),
    (["method.lr=-1"], ["method.lr=-1", "a number > 0"]),
    (["method.lr=nan"], ["method.lr=nan", "a number > 0"]),
    (["method.lr=inf"], ["method.lr=inf", "a number > 0"]),
    (["method.lr="], ["method.lr=", "a number > 0"]),
    (["method.momentum=1"], ["method.momentum=1", "[0, 1)"]),
    (["model.dropout=1"], ["model.dropout=1", "[0, 1)"]),
    (["model.hidden=512"], ["model.hidden=512", "a list"]),
    (["model.hidden=[0]"], ["model.hidden=[0]", ">= 1"]),
    (["method=ste", "method.betas=[0.9]"], ["method.betas=[0.9]", "length 2"]),
    (["=3"], ["command line==3", "key=value"]),
    (["threads=0"], ["threads=0", "in [1, 1024]", "null"]),
    (["device=gpu"], ["device=gpu", "cpu"]),
    (["precision=half"], ["precision=half", "float32, tf32, bf16"]),
    (["compile.optimizer=maybe"], ["compile.optimizer=maybe", "auto, on, off"]),
    (["compile=on"], ["compile=on", "a group of the keys optimizer, network"]),
    (["optimizer.compile=on"], ["optimizer.compile=on", "is called compile.optimizer now"]),
    (["compile_network=true"], ["compile_network=true", "is called compile.network now"]),
    (["code=strict"], ["code=strict", "is called on_code_change"]),
    (["runs_per_job=2"], ["runs_per_job=2", "is called hydra.launcher.runs_per_job"]),
    (["compile.network=1"], ["compile.network=1", "true or false"]),
    (["on_done=never"], ["on_done=never", "skip, rerun"]),
    (["evaluate.average=mean"], ["evaluate.average=mean", "probabilities, logits"]),
    (["logger=wandb", "logger.mode=on"], ["logger.mode=on", "offline, online"]),
    (["dataset.augment=crop"], ["dataset.augment=crop", "pad, flip"]),
    (["method.name=a/b"], ["method.name=a/b", "letters"]),
    (["method._target_=nothing.here"], ["method._target_=nothing.here", "cannot be imported"]),
    (["method._target_=bnnrepro.models.vgg.VGG"], ["method._target_", "is a model"]),
    ([f"out={'a' * 300}"], ["out=aaa", "too long"]),
    ([f"out={'aaaaaaa/' * 510}"], ["out=aaa", "too long"]),
    (["dataset=image_folder"], ["dataset.root=???", "needs a value"]),
    (["dataset=permuted_digits", "dataset.tasks=0"], ["dataset.tasks=0", "in [2, 1000]"]),
    (["dataset=permuted_digits", "dataset.tasks=1"], ["dataset.tasks=1", "in [2, 1000]"]),
    (["dataset=permuted_digits", "dataset.prior=none"], ["prior=none", "posterior, fixed"]),
    (["dataset=permuted_digits", "dataset.norm_statistics=own"], ["=own", "shared, per_task"]),
    (["dataset=permuted_digits", "+dataset.validation_split=0.1"], ["no such key", "tasks"]),
    (["dataset.tasks=5"], ["dataset.tasks=5", "shape"]),
    # combinations
    (["dataset=digits", "model=unet"], ["model=unet", "is for segmentation"]),
    (
        ["dataset=shapes", "preset.stand_in=shapes", "preset.name=x"],
        ["stand_in=shapes", "dataset=shapes"],
    ),
    (["dataset=shapes", "dataset.crop=0"], ["dataset.crop=0", ">= 1 or null"]),
    (["dataset=shapes", "dataset.crops=0"], ["dataset.crops=0", ">= 1"]),
    (["dataset=shapes", "dataset.size=15"], ["dataset.size=15", ">= 16"]),
    (["dataset=shapes", "dataset.augment.pad=4"], ["dataset.augment.pad=4", "flip, rotate"]),
    (["dataset=shapes", "dataset.std=[1]"], ["dataset.mean=null", "both"]),
    (["dataset=shapes", "model.channels=[]"], ["model.channels=[]", "length >= 1"]),
    (
        ["dataset=isbi_em", "dataset.shape=[1,184,184]", "dataset.crop=null"],
        ["model=unet", "185x185", "184x184"],
    ),
    (["model=vgg", "dataset.shape=[1,7,7]"], ["model=vgg", "8x8", "7x7"]),
    (["dataset=two_moons", "model=mlp"], ["model=mlp", "takes images", "two_moons has points"]),
    (["dataset=toy_regression", "model=vgg"], ["model=vgg", "is for classification"]),
    (["dataset=two_moons", "dataset.points=1"], ["dataset.points=1", ">= 2"]),
    (["dataset=two_moons", "dataset.noise=nan"], ["dataset.noise=nan", ">= 0"]),
    (["evaluate.ood=minst"], ["evaluate.ood=minst", "did you mean 'mnist'"]),
    (["dataset=two_moons", "evaluate.ood=mnist"], ["evaluate.ood=mnist", "two_moons"]),
    (["dataset=permuted_mnist", "model=vgg"], ["model=vgg", "is for continual"]),
    (["dataset=permuted_mnist", "dataset.mean=null"], ["dataset.mean=null", "both"]),
    (["dataset=permuted_digits", "preset=smoke", "stop_after=6"], ["stop_after=6", "<= 5"]),
    (["dataset.mean=[0.5]"], ["dataset.std=null", "both"]),
    (["dataset.mean=[0,0]", "dataset.std=[1,1]"], ["dataset.mean=[0.0, 0.0]", "length 1"]),
    (["dataset.augment.pad=8"], ["dataset.augment.pad=8", "8x8"]),
    (["preset=quick", "stop_after=4"], ["stop_after=4", "<= 3"]),
    (["scheduler.final=1"], ["scheduler.final=1", "method.lr"]),
    (["scheduler=step", "scheduler.milestones=[3]"], ["scheduler.milestones=[3]", "exactly one"]),
    (["scheduler=step", "scheduler.step_size=null"], ["scheduler.milestones=null", "exactly one"]),
    (
        ["scheduler=step", "scheduler.step_size=null", "scheduler.milestones=[5,3]"],
        ["scheduler.milestones=[5, 3]", "increase"],
    ),
    (
        ["dataset=image_folder", "dataset.root=x", "dataset.size=9", "dataset.shape=[3,8,8]"],
        ["dataset.size=9", "contradicts"],
    ),
    # grammar and interpolation
    (["seed=[1"], ["seed=[1", "key=value"]),
    (["foo bar=3"], ["foo bar=3", "key=value"]),
    (["seed=${oc.env:NO_SUCH_VARIABLE}"], ["seed=", "NO_SUCH_VARIABLE"]),
    (["method.lr=${method.lr}"], ["method.lr=", "Recursive"]),
]

# Command lines: what Hydra and the program make of sweeps and flags, and a setting of each kind.
LINES: list[tuple[list[str], list[str]]] = [
    (["method=bayesbin"], ["method=bayesbin", "bop", "did you mean 'bayesbinn'?"]),
    (["methd=ste"], ["methd=ste", "did you mean 'method'?"]),
    (["hydra/launchr=basic"], ["hydra/launchr=basic", "did you mean 'hydra/launcher'?"]),
    (["seed=-1"], ["seed=-1", "a whole number >= 0"]),
    (["dataset=shapes", "model=mlp"], ["model=mlp", "is for", "dataset=shapes is for segm"]),
    (["seed"], ["seed", "key=value"]),
    (["seed=${nothing}"], ["seed=${nothing}", "not found"]),
    (["protocol=foo"], ["protocol=foo", "mnist"]),
    # sweeps
    (["seed=1,2"], ["seed=1,2", "-m"]),
    (["seed=range(3)"], ["seed=range(3)", "-m"]),
    (["hydra/launcher=basic"], ["hydra/launcher=basic", "python run.py -m hydra/launcher=basic"]),
    (["-m", "seed=range(0)"], ["seed=range(0)", "empty"]),
    (["-m", "seed=range(100000000)"], ["seed=range(100000000)", "10,000 points", "100,000,000"]),
    (["-m", "seed=shuffle(range(100000000))"], ["seed=shuffle(range(100000000))", "10,000"]),
    (["-m", "method.lr=range(0,1,1e-30)"], ["method.lr=range(0,1,1e-30)", "no end of them"]),
    (["-m", "seed=range(0,3,0)"], ["seed=range(0,3,0)", "no end of them"]),
    (["-m", "seed=range(1,300)", "epochs=range(1,200)"], ["seed=range(1,300)", "59,501"]),
    (["-m", "+hydra.sweeper.params.seed='range(20000)'"], ["seed=range(20000)", "20,000"]),
    (["-m", "--dry-run", "seed=range(100000000)"], ["seed=range(100000000)", "100,000,000"]),
    (
        ["-m", "seed=0,1", "hydra/launcher=local", "hydra.launcher.processes=1000000000"],
        ["hydra.launcher.processes=1000000000", "1024"],
    ),
    (["-m", "experiment=glob(zz*)"], ["experiment=glob(zz*)", "empty"]),
    (["-m", "seed=0,-1"], ["seed=-1", ">= 0"]),
    # both methods have the key and the default method lacks it: only the seed is wrong
    (["-m", "method=pmf,full_precision", "method.weight_decay=1", "seed=-1"], ["seed=-1"]),
    (["-m", "method=pmf,ste", "method.weight_decay=1"], ["method.weight_decay=1", "grad_clip"]),
    (["-m", "seed=0,-1", "hydra/launcher=basic"], ["seed=-1", ">= 0"]),
    (["-m", "method=ste,bayesbin"], ["method=bayesbin", "did you mean"]),
    (["-m", "protocol=mnist,foo"], ["protocol=foo", "mnist"]),
    (["-m", "hydra/launcher=slrm"], ["hydra/launcher=slrm", "sequential"]),
    (["-m", "hydra/launcher=basic,sequential"], ["hydra/launcher", "cannot be swept"]),
    # flags
    (["--nonsense"], ["--nonsense"]),
    (["--cfg", "wrong"], ["wrong", "job"]),
    (["-m", "--cfg", "job"], ["only one of"]),
    (["--cfg", "job", "--package", "methd"], ["--package=methd", "method"]),
    (["--config-dir", "nope"], ["--config-dir=nope"]),
    (["--config-name", "nope"], ["--config-name=nope"]),
]


# -- files in the way ---------------------------------------------------------------------------


def taken(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "taken").write_text("a file")


MNIST_FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def broken_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "broken_part.py").write_text("raise RuntimeError('no licence here\\nfor you')")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def mnist_files(spoil: Callable[[Path], None]) -> Prepare:
    """MNIST's layout with other bytes that pass for whole; then one file is spoilt."""

    def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from hashlib import md5

        from bnnrepro.data import mnist

        raw = folder / "data" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name in MNIST_FILES:
            (raw / name).write_bytes(name.encode())
        sums = {name: md5(name.encode()).hexdigest() for name in MNIST_FILES}
        monkeypatch.setattr(mnist, "RAW_MD5", sums)
        spoil(raw / MNIST_FILES[3])

    return prepare


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def half_a_cifar(folder: Path, _: pytest.MonkeyPatch) -> None:
    (folder / "data" / "cifar-10-batches-py").mkdir(parents=True)
    (folder / "data" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"no pickle")


def no_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNREPRO_DATA", "nowhere")


def without_gpu(folder: Path, _: pytest.MonkeyPatch) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


def images(change: Callable[[Path], None] = lambda root: None) -> Prepare:
    """A tree of two classes, three images each to train and to test on; then it is changed."""

    def prepare(folder: Path, _: pytest.MonkeyPatch) -> None:
        for split in ("train", "test"):
            for kind in ("cat", "dog"):
                (folder / "tree" / split / kind).mkdir(parents=True)
                for number in range(3):
                    path = folder / "tree" / split / kind / f"{number}.png"
                    Image.new("L", (4, 4), 40 * number).save(path)
        change(folder / "tree")

    return prepare


def snelson(inputs: str | None, outputs: str) -> Prepare:
    """Snelson's two files with other content; None leaves the first one out."""

    def prepare(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / "data").mkdir()
        if inputs is not None:
            (folder / "data" / "train_inputs").write_text(inputs)
        (folder / "data" / "train_outputs").write_text(outputs)

    return prepare


def empty_folder(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def no_images(root: Path) -> None:
    for path in (root / "train").rglob("*.png"):
        path.unlink()


def one_class(root: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(root / split / "dog")


def copied(source: str, target: str) -> Callable[[Path], None]:
    """Return what copies a file of a data set."""

    def copy(root: Path) -> None:
        shutil.copy(root / source, root / target)

    return copy


def micrographs(change: Callable[[Path], None] = lambda root: None) -> Prepare:
    """Images of 24x24 with their labels, three to train and two to test on; then changed."""

    def prepare(folder: Path, _: pytest.MonkeyPatch) -> None:
        for split, numbers in (("train", range(3)), ("val", range(3, 5))):
            for number in numbers:
                label = Image.new("L", (24, 24), 0)
                label.paste(255, (0, 0, 20, 20))
                for kind, image in (("img", label.point(lambda x: x // 2)), ("label", label)):
                    path = folder / f"tree/{split}_{kind}s/{kind}_{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image.save(path)
        change(folder / "tree")

    return prepare


def all_of(path: str, value: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for each in root.glob(path):
            Image.new("L", (24, 24), value).save(each)

    return change


# -- runs that were there before ----------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run (SMOKE), one stopped after two of three epochs (STOPPED), and
    one of figure 3's, judged with a single draw, and one of real weights."""
    folder = tmp_path_factory.mktemp("runs")
    moons = ["dataset=two_moons", "preset=smoke", "evaluate.samples=1", "threads=1"]
    real = [*SMOKE, "method=full_precision"]
    for argv in (SMOKE, [*STOPPED, "stop_after=2"], moons, real):
        assert main([f"out={folder / 'multirun'}", *argv]) == 0
    return folder


def of_a_run(file: str, *spoil: Callable[[Path], None], among: Path = RUNS) -> Prepare:
    """Spoil a file (and others like it) of every run that has it."""

    def prepare(folder: Path, _: pytest.MonkeyPatch) -> None:
        paths = list((folder / among).glob(f"*/{file}"))
        assert paths
        for path in paths:
            for each in spoil:
                each(path)

    return prepare


def no_json(path: Path) -> None:
    path.write_text('{"signature": ')


def of_another_config(path: Path) -> None:
    """Put the finished run's state, which is whole, into the place of the stopped one's."""
    if not (path.parent / "result.json").exists():
        (other,) = path.parents[1].glob("*/result.json")
        shutil.copy(other.parent / "checkpoint.pt", path)


def held(path: Path) -> None:
    """Another process that lives holds the run."""
    other = os.getppid()
    owner = replace(lock._myself(), pid=other, process=process.start_mark(other))
    (path.parent / ".lock.1").write_text(json.dumps(asdict(owner)))


# -- what only shows when a run is built --------------------------------------------------------

FOLDER = ["dataset=image_folder", "dataset.root=tree", *SMOKE, "batch_size=2"]
EM = ["dataset=label_folder", "dataset.root=tree", "model.channels=[2,2]", "preset=smoke"]
EM += ["dataset.crop=20", "batch_size=2", "device=cpu", "threads=1"]
EM += ["dataset.validation_split=0"]
HERE = ["dataset.root=data", "dataset.download=false"]

ROWS_OF_RUNS: list[Row] = [
    # points
    *(
        Row(
            ["dataset=snelson", "dataset.root=data", "device=cpu"],
            ["dataset.root=data", *fragments],
            snelson(inputs, outputs),
            name=f"snelson {name}",
        )
        for name, inputs, outputs, fragments in (
            ("missing", None, "1\n", ["no train_inputs", "SPGP demo"]),
            ("empty", "", "1\n", ["train_inputs", "empty"]),
            ("not finite", "1\nnan\n", "1\n2\n", ["train_inputs", "number 2", "finite"]),
            ("no number", "1\n2\n", "1\ntwo\n", ["train_outputs", "'two'", "finite"]),
            ("unequal", "1\n2\n", "1\n", ["2 numbers", "1 in train_outputs"]),
            ("another set", "1\n2\n", "1\n2\n", ["not Snelson's 200"]),
        )
    ),
    # data
    Row(["dataset=mnist", *HERE], ["dataset.root=data", "no MNIST there", "make data"]),
    Row(
        ["dataset=mnist", *HERE],
        ["dataset.root=data", "t10k-labels", "missing"],
        mnist_files(Path.unlink),
        name="mnist without a file",
    ),
    Row(
        ["dataset=mnist", *HERE],
        ["dataset.root=data", "t10k-labels", "damaged or cut short"],
        mnist_files(cut_short),
        name="mnist cut short",
    ),
    Row(
        ["dataset=mnist", *HERE],
        ["dataset.root=data", "t10k-labels", "damaged or cut short"],
        mnist_files(flip_a_bit),
        name="mnist with a wrong bit",
    ),
    Row(["dataset=permuted_mnist", *HERE], ["dataset.root=data", "no MNIST there", "make data"]),
    Row(["dataset=cifar10", *HERE], ["dataset.root=data", "no CIFAR10 there", "make data"]),
    Row(["dataset=cifar100", *HERE], ["dataset.root=data", "no CIFAR100 there"]),
    Row(
        ["dataset=cifar10", *HERE],
        ["dataset.root=data", "data_batch_1", "damaged or cut short"],
        half_a_cifar,
        name="half a cifar10",
    ),
    Row(
        ["dataset=mnist", "dataset.download=false"],
        ["dataset.root=nowhere", "no MNIST there"],
        no_data,
        name="BNNREPRO_DATA=nowhere",
    ),
    Row(
        ["dataset=mnist", "dataset.root=taken/data"],
        ["dataset.root=taken/data", "cannot be written"],
        taken,
        name="a data root beneath a file",
    ),
    Row(["dataset=mnist", "dataset.root=/proc/data"], ["dataset.root=/proc/data", "written"]),
    Row(["dataset.shape=[1,9,9]", *SMOKE], ["dataset.shape=[1, 9, 9]", "[1, 8, 8]"]),
    Row(["dataset.classes=7", *SMOKE], ["dataset.classes=7", "10 classes"]),
    Row(["dataset=image_folder", "dataset.root=nope"], ["dataset.root=nope", "train/<class>/"]),
    Row(FOLDER, ["dataset.root=tree", "no folder tree/train"], images(empty_folder), name="empty"),
    Row(FOLDER, ["dataset.root=tree", "no images in train"], images(no_images), name="no images"),
    Row(FOLDER, ["dataset.root=tree", "one class cat"], images(one_class), name="one class"),
    Row(
        FOLDER,
        ["dataset.root=tree", "only one of them", "wolf"],
        images(lambda root: (root / "test" / "dog").rename(root / "test" / "wolf")),
        name="other classes",
    ),
    Row(
        FOLDER,
        ["dataset.root=tree", "test/dog/1.png cannot be read"],
        images(lambda root: cut_short_by_half(root / "test" / "dog" / "1.png")),
        name="an unreadable image",
    ),
    Row(
        FOLDER,
        ["dataset.size=null", "cat/0.png is 4x4", "dog/2.png is 5x4"],
        images(lambda root: Image.new("L", (5, 4)).save(root / "train" / "dog" / "2.png")),
        name="different sizes",
    ),
    Row(
        [*FOLDER, "model=vgg", "model.hidden=[8]", "model.channels=[2,2,2,2,2,2]"],
        ["model=vgg", "(1, 4, 4)", "VGG takes images"],
        images(),
        name="images too small",
    ),
    Row(
        [*FOLDER, "dataset.test_split=0.5"],
        ["dataset.root=tree", "the one class cat; at least two"],
        images(lambda root: [shutil.rmtree(root / part) for part in ("train/dog", "test")]),
        name="one class to split",
    ),
    Row(
        [*FOLDER, "dataset.validation_split=0.8"],
        ["batch_size=2", "has 1 of the 2 or more samples"],
        images(),
        name="one training image",
    ),
    Row(
        ["dataset=isbi_em", "dataset.root=nope"],
        ["dataset.root=nope", "no folder nope/train_imgs", "train_labels/label_N.png"],
    ),
    Row(
        EM, ["dataset.root=tree", "no folder tree/train_imgs"], micrographs(empty_folder), name="em"
    ),
    Row(
        EM,
        ["dataset.root=tree", "no images in tree/val_labels"],
        micrographs(lambda root: [each.unlink() for each in root.glob("val_labels/*")] and None),
        name="em without labels",
    ),
    Row(
        ["dataset=label_folder", "dataset.root=tree", "dataset.crop=68"],
        ["dataset.crop=68", "at most 24"],
        micrographs(),
        name="isbi, small images",
    ),
    Row(
        ["dataset=isbi_em", "dataset.root=tree", "dataset.shape=null", "dataset.crop=null"],
        ["dataset.root=tree", "not ISBI's images", "dataset=label_folder takes any"],
        micrographs(),
        name="isbi, other images",
    ),
    Row(
        EM,
        ["dataset.root=tree", "train_imgs has 3 files, train_labels 2: img_1.png"],
        micrographs(lambda root: (root / "train_labels/label_1.png").unlink()),
        name="em, a label missing",
    ),
    Row(
        EM,
        ["dataset.root=tree", "tree/train_imgs has label_1.png; its files are named img_N.png"],
        micrographs(copied("train_labels/label_1.png", "train_imgs")),
        name="em, a label among the images",
    ),
    Row(
        EM,
        ["dataset.root=tree", "tree/val_imgs has img_03.png and img_3.png, which are one number"],
        micrographs(copied("val_imgs/img_3.png", "val_imgs/img_03.png")),
        name="em, a number twice",
    ),
    Row(
        EM,
        ["dataset.root=tree", "label_4.png is 23x24"],
        micrographs(lambda root: Image.new("L", (23, 24)).save(root / "val_labels/label_4.png")),
        name="em, another size",
    ),
    Row(
        EM,
        ["dataset.root=tree", "label_2.png has the value 7; 0 and 255"],
        micrographs(all_of("train_labels/label_2.png", 7)),
        name="em, unknown values",
    ),
    Row(
        EM,
        ["dataset.root=tree", "val_labels are all 255"],
        micrographs(all_of("val_labels/*", 255)),
        name="em, one class",
    ),
    Row(
        EM,
        ["dataset.root=tree", "img_0.png cannot be read"],
        micrographs(lambda root: cut_short_by_half(root / "train_imgs/img_0.png")),
        name="em, unreadable",
    ),
    Row([*EM, "dataset.crop=25"], ["dataset.crop=25", "at most 24"], micrographs(), name="em crop"),
    Row(
        [*EM, "model.channels=[2,2,2]"],
        ["model=unet", "(1, 24, 24)", "at least 41"],
        micrographs(),
        name="em, images too small",
    ),
    Row(
        [*EM, "dataset.validation_split=0.01"],
        ["dataset.validation_split=0.01", "none of 3"],
        micrographs(),
        name="em split",
    ),
    # sizes
    Row([*SMOKE, "dataset.validation_split=0.999"], ["dataset.validation_split=0.999", "none of"]),
    Row([*SMOKE, "dataset.validation_split=0.001"], ["dataset.validation_split=0.001", "none of"]),
    # parts
    Row(
        [*SMOKE, "method=full_precision", "method._target_=torch.optim.Adam"],
        ["method=full_precision", "BinaryOptimizer"],
    ),
    Row([*SMOKE, "dataset._target_=bnnrepro.data.image_folder.load"], ["dataset.root", "missing"]),
    # places
    Row(
        [*SMOKE, "model._target_=broken_part.Net"],
        ["model._target_=broken_part.Net", "cannot be imported: RuntimeError: no licence here"],
        broken_module,
    ),
    Row([*SMOKE, "out=taken"], ["out=taken", "must be a folder"], taken),
    Row([*SMOKE, "out=taken/deep"], ["out=taken/deep", "must be a folder"], taken),
    Row([*SMOKE, "out=/proc/runs"], ["out=/proc/runs", "that can be written"]),
    Row([*SMOKE, "device=cuda"], ["device=cuda", "there are 0 GPUs here", "cpu"], without_gpu),
    Row([*SMOKE, "device=cuda:99"], ["device=cuda:99", "GPUs here", "cpu"]),
]

FIGURE_3 = ["figure", "3", "--preset", "smoke", "--seeds", "1"]

ROWS_OF_OLD_RUNS: list[Row] = [
    Row(
        STOPPED,
        ["checkpoint=", "checkpoint.pt: damaged", "move the run's folder away"],
        of_a_run("checkpoint*.pt", flip_a_bit),
        name="both checkpoints damaged",
    ),
    Row(
        STOPPED,
        ["checkpoint=", "checkpoint.pt", "is of the configuration", "move the run's folder away"],
        of_a_run("checkpoint.pt", of_another_config),
        name="a checkpoint of another config",
    ),
    Row(
        STOPPED,
        ["run=multirun/digits/mlp/bayesbinn/", "is being run by process"],
        of_a_run("status.json", held),
        name="run by another process",
    ),
    Row(
        [*SMOKE, "evaluate.samples=3"],
        ["checkpoint=", "best.pt: damaged", "put a copy back"],
        of_a_run("best.pt", flip_a_bit),
        name="a damaged best.pt",
    ),
    Row(
        [*SMOKE, "evaluate.samples=3"],
        ["checkpoint=", "best.pt: missing", "put a copy back"],
        of_a_run("best.pt", Path.unlink),
        name="a missing best.pt",
    ),
    Row(
        FIGURE_3,
        ["map=multirun/two_moons/", "not that of 10 draws", "python run.py sweep=figure3 "],
        entry=paper,
        name="a map of other draws",
    ),
    *(
        Row(
            FIGURE_3,
            ["map=multirun/two_moons/", "damaged or cut short", "python run.py sweep=figure3 "],
            of_a_run("map.npz", spoil, among=MAPS),
            paper,
            f"a map {name}",
        )
        for name, spoil in (("cut short", cut_short), ("with a wrong bit", flip_a_bit))
    ),
]


# -- exports ------------------------------------------------------------------------------------

REAL = Path("multirun", "digits", "mlp", "full_precision")


def the_run(among: Path = RUNS, change: Callable[[Path], None] = lambda run: None) -> Prepare:
    """Give a finished run the name that the rows of exports have, and change it."""

    def prepare(folder: Path, _: pytest.MonkeyPatch) -> None:
        (result,) = (folder / among).glob("*/result.json")
        result.parent.rename(folder / "run")
        change(folder / "run")

    return prepare


def weight(value: float) -> Callable[[Path], None]:
    """Return what writes a value into the saved weights and the method's own state."""

    def change(folder: Path) -> None:
        from bnnrepro.training import checkpoint

        state = checkpoint.load(folder / "best.pt")
        state["model"]["layers.1.norm.running_mean"][3] = value
        checkpoint.save(folder / "best.pt", state, state["signature"])

    return change


def variance(folder: Path) -> None:
    from bnnrepro.training import checkpoint

    state = checkpoint.load(folder / "best.pt")
    state["model"]["layers.0.norm.running_var"][1] = -2
    checkpoint.save(folder / "best.pt", state, state["signature"])


def occupied(folder: Path) -> None:
    (folder / "export").mkdir()
    (folder / "export" / "notes.txt").write_text("mine")


def of_another_run(folder: Path) -> None:
    (folder / "export").mkdir()
    record = {"signature": "0123456789", "files": {}}
    (folder / "export" / "export.json").write_text(json.dumps(record))


def a_file(folder: Path) -> None:
    (folder / "export").write_text("a file")


def unfinished(folder: Path) -> None:
    (folder / "result.json").unlink()


EXPORTS: list[tuple[str, list[str], Prepare | None, list[str]]] = [
    ("of nothing", [], None, ["RUN=run", "the folder of a finished run"]),
    ("of an unfinished run", [], the_run(change=unfinished), ["RUN=run", "no result.json"]),
    (
        "of a damaged result",
        [],
        the_run(change=lambda run: no_json(run / "result.json")),
        ["result=run/result.json", "not JSON"],
    ),
    (
        "of a damaged checkpoint",
        [],
        the_run(change=lambda run: flip_a_bit(run / "best.pt")),
        ["folder=run/best.pt", "damaged"],
    ),
    ("without words", ["--which"], None, ["command line=", "expected one argument"]),
    ("of the last", ["--which", "last"], the_run(), ["which=last", "'best' or 'final'"]),
    (
        "as tflite",
        ["--format", "tflite"],
        the_run(),
        ["--format=tflite", "safetensors, onnx, c"],
    ),
    (
        "as safetensor",
        ["--format", "onnx,safetensor"],
        the_run(),
        ["--format=safetensor", "did you mean 'safetensors'?"],
    ),
    (
        "of tanh as C",
        ["--format", "c"],
        the_run(MAPS),
        ["--format=c", "layers.1, Tanh(), has no C", "safetensors and onnx"],
    ),
    ("of no draws", ["--draws", "0"], the_run(), ["--draws=0", ">= 1"]),
    ("of some draws", ["--draws", "x"], None, ["command line=", "--draws", "invalid int"]),
    ("of int8", ["--input", "int8"], the_run(), ["--input=int8", "did you mean 'uint8'?"]),
    (
        "of points as pixels",
        ["--input", "uint8"],
        the_run(MAPS),
        ["--input=uint8", "must be float"],
    ),
    ("of real weights", [], the_run(REAL), ["model=MLP", "nothing is binary"]),
    ("of NaN", [], the_run(change=weight(float("nan"))), ["layers.1.norm.running_mean=nan"]),
    ("of infinity", [], the_run(change=weight(float("inf"))), ["running_mean=inf", "finite"]),
    ("of a variance", [], the_run(change=variance), ["layers.0.norm.running_var=-2", ">= 0"]),
    ("into other files", [], the_run(change=occupied), ["--out=run/export", "--out"]),
    ("into another's", [], the_run(change=of_another_run), ["--out=run/export", "export.json"]),
    ("into a file", [], the_run(change=a_file), ["--out=run/export", "--out"]),
    ("into nowhere", ["--out", "no/where"], the_run(), ["--out=no/where", "folder that exists"]),
    ("into /proc", ["--out", "/proc/x"], the_run(), ["--out=/proc/x", "cannot be written"]),
]
ROWS_OF_EXPORTS = [
    Row(["run", *words], fragments, prepare, export.main, f"an export {name}")
    for name, words, prepare, fragments in EXPORTS
]


def old_file(content: object) -> Prepare:
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda folder, _: (folder / "old.json").write_text(text) and None


OLD = ["bayesbinn", "old.json"]
ROWS_OF_OLD_FILES: list[Row] = [
    Row(OLD, ["FILE=old.json", "cannot be read"], entry=legacy.main, name="no file"),
    Row(OLD, ["FILE=old.json", "not JSON"], old_file("{'a': 1}"), legacy.main, "no JSON"),
    Row(OLD, ["FILE=old.json", "one JSON object"], old_file([1]), legacy.main, "a list"),
    Row(OLD, ["dataset=", "missing"], old_file({}), legacy.main, "an empty object"),
    Row(
        OLD,
        ["epoch=3", "did you mean 'epochs'?"],
        old_file({"epoch": 3}),
        legacy.main,
        "an unknown old key",
    ),
    Row(["bayes", "old.json"], ["program=bayes", "ste"], old_file({}), legacy.main, "no program"),
]


def cut_short_by_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# -- the test -----------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


def assert_says(err: str, fragments: list[str]) -> None:
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    for fragment in fragments:
        assert fragment in err


COMMANDS = (  # rows that fail in different places; in the slow suite as real processes
    "method=bayesbin",
    "-m seed=0,-1",
    "half a cifar10",
    "an unreadable image",
    f"{' '.join(SMOKE)} dataset.validation_split=0.999",
    f"{' '.join(SMOKE)} out=taken",
)
ROWS = [
    *(Row(*each, entry=main) for each in LINES),
    *(Row(*each, entry=checked) for each in SETTINGS),
    *(
        row._replace(entry=main) if str(row) in COMMANDS else row
        for row in (*ROWS_OF_RUNS, *ROWS_OF_OLD_RUNS, *ROWS_OF_EXPORTS, *ROWS_OF_OLD_FILES)
    ),
]
CASES = [
    *(pytest.param(row, id=str(row)) for row in ROWS),
    *(
        pytest.param(row._replace(entry=main), id=f"run.py {row}", marks=pytest.mark.slow)
        for row in ROWS
        if row.entry in (checked, started)
    ),
]


@pytest.mark.parametrize("row", CASES)
def test_bad_input(
    row: Row,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if row.name in [old.name for old in (*ROWS_OF_OLD_RUNS, *ROWS_OF_EXPORTS)]:
        shutil.copytree(request.getfixturevalue("runs"), tmp_path, dirs_exist_ok=True)
        capsys.readouterr()
    if row.prepare is not None:
        row.prepare(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert row.entry(row.argv) == 2
    out, err = capsys.readouterr()
    assert "result:" not in out
    assert_says(err, row.fragments)
    assert tree(tmp_path) == before, "something was left behind"


@pytest.mark.slow
def test_as_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same from outside, as real processes."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    rows = [next(row for row in ROWS if str(row) == name) for name in COMMANDS]
    children = []
    for number, row in enumerate(rows):
        folder = tmp_path / str(number)
        folder.mkdir()
        if row.prepare is not None:
            row.prepare(folder, monkeypatch)
        command = [sys.executable, RUN_PY, *row.argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        children.append((row, folder, tree(folder), subprocess.Popen(command, cwd=folder, **pipes)))
    for row, folder, before, child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 2
        assert "result:" not in out
        assert_says(err, row.fragments)
        assert tree(folder) == before, "something was left behind"


# -- load() -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "which", "fragments"),
    [
        (shutil.rmtree, None, ["result=", "cannot be read"]),
        (lambda run: no_json(run / "result.json"), None, ["result=", "not JSON"]),
        (
            lambda run: (run / "config.yaml").unlink(),
            None,
            ["folder=", "config.yaml", "No such file"],
        ),
        (lambda run: (run / "config.yaml").write_text("- 1"), None, ["folder=", "damaged"]),
        (lambda run: flip_a_bit(run / "best.pt"), None, ["folder=", "best.pt", "damaged"]),
        (lambda run: (run / "checkpoint.pt").unlink(), "final", ["folder=", "checkpoint.pt"]),
        (lambda run: None, "last", ["which=last", "'best' or 'final'"]),
    ],
)
def test_load_of_what_is_no_run(
    runs: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    which: str | None,
    fragments: list[str],
) -> None:
    from bnnrepro import load

    (result,) = (runs / RUNS).glob("*/result.json")
    folder = Path(shutil.copytree(result.parent, tmp_path / "run"))
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load(folder, which)
    assert_says(f"error: {caught.value}", fragments)
