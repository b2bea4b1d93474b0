"""Bad input of any kind: one or two lines that name key, value and what is allowed; exit code 2."""

from pathlib import Path

import pytest

from bnnrepro.cli import main
from bnnrepro.errors import UserError

# (command line, fragments that the message must have)
ROWS: list[tuple[list[str], list[str]]] = [
    # options
    (["method=bayesbin"], ["method=bayesbin", "bop", "did you mean 'bayesbinn'?"]),
    (["dataset=cifar"], ["dataset=cifar", "digits", "did you mean"]),
    (["preset=tiny"], ["preset=tiny", "paper, quick, smoke"]),
    (["experiment=nope"], ["experiment=nope", "short_mnist_bayesbinn"]),
    (["protocol=foo"], ["protocol=foo", "mnist_ste"]),
    (["protocol/shared=foo"], ["protocol/shared=foo", "mnist"]),
    (["method=null"], ["method=null", "bayesbinn"]),
    (["method=[ste,bop]"], ["method=[ste,bop]", "bayesbinn"]),
    (["~method"], ["method", "bayesbinn"]),
    # keys
    (["methd=ste"], ["methd=ste", "did you mean 'method'?"]),
    (["method.lrr=1"], ["method.lrr=1", "temperature", "did you mean 'lr'?"]),
    (["methd.lr=1"], ["methd.lr=1", "did you mean 'method'?"]),
    (["evaluate.sample=3"], ["evaluate.sample=3", "did you mean 'samples'?"]),
    (["+method.foo=3"], ["method.foo=3", "temperature"]),
    (["+foo=3"], ["foo=3", "batch_size"]),
    (["~method.lr"], ["method.lr", "missing", "a number > 0"]),
    (["~method.lrr"], ["method.lrr", "did you mean 'lr'?"]),
    (["hydra/launchr=basic"], ["hydra/launchr=basic", "did you mean 'hydra/launcher'?"]),
    (["seed.x=1"], ["seed.x=1", "seed is a single value"]),
    # types and ranges
    (["seed=-1"], ["seed=-1", "a whole number >= 0"]),
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
    (["threads=0"], ["threads=0", ">= 1", "null"]),
    (["device=gpu"], ["device=gpu", "cpu"]),
    (["on_done=never"], ["on_done=never", "skip, rerun"]),
    (["evaluate.average=mean"], ["evaluate.average=mean", "probabilities, logits"]),
    (["logger=wandb", "logger.mode=on"], ["logger.mode=on", "offline, online"]),
    (["dataset.augment=crop"], ["dataset.augment=crop", "pad, flip"]),
    (["method.name=a/b"], ["method.name=a/b", "letters"]),
    (["method._target_=nothing.here"], ["method._target_=nothing.here", "cannot be imported"]),
    (["method._target_=bnnrepro.models.vgg.VGG"], ["method._target_", "is a model"]),
    (["dataset=image_folder"], ["dataset.root=???", "needs a value"]),
    # combinations
    (["model=vgg", "dataset.shape=[1,7,7]"], ["model=vgg", "8x8", "7x7"]),
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
    (["seed"], ["seed", "key=value"]),
    (["seed=[1"], ["seed=[1", "key=value"]),
    (["foo bar=3"], ["foo bar=3", "key=value"]),
    (["seed=${nothing}"], ["seed=${nothing}", "not found"]),
    (["seed=${oc.env:NO_SUCH_VARIABLE}"], ["seed=", "NO_SUCH_VARIABLE"]),
    (["method.lr=${method.lr}"], ["method.lr=", "Recursive"]),
    # sweeps
    (["seed=1,2"], ["seed=1,2", "-m"]),
    (["seed=range(3)"], ["seed=range(3)", "-m"]),
    (["hydra/launcher=basic"], ["hydra/launcher=basic", "python run.py -m hydra/launcher=basic"]),
    (["-m", "seed=range(0)"], ["seed=range(0)", "empty"]),
    (["-m", "experiment=glob(zz*)"], ["experiment=glob(zz*)", "empty"]),
    (["-m", "seed=0,-1"], ["seed=-1", ">= 0"]),
    # both methods have the key and the default method lacks it: only the seed is wrong
    (["-m", "method=pmf,full_precision", "method.weight_decay=1", "seed=-1"], ["seed=-1"]),
    (["-m", "method=pmf,ste", "method.weight_decay=1"], ["method.weight_decay=1", "grad_clip"]),
    (["-m", "seed=0,-1", "hydra/launcher=basic"], ["seed=-1", ">= 0"]),
    (["-m", "method=ste,bayesbin"], ["method=bayesbin", "did you mean"]),
    (["-m", "protocol=mnist_bayesbinn,foo"], ["protocol=foo", "mnist_ste"]),
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


@pytest.mark.parametrize(("argv", "fragments"), ROWS, ids=lambda each: " ".join(each))
def test_bad_input(
    argv: list[str],
    fragments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    for fragment in fragments:
        assert fragment in err
    assert not list(tmp_path.iterdir()), "something was left behind"


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("lr: [1\n", ["broken.yaml:2", "not valid YAML"]),
        ("- a\n- b\n", ["method=['a', 'b']", "mapping"]),
        ("defaults:\n  - nothing_here\n", ["nothing_here"]),
        ("lr: ${oops\n", ["oops"]),
    ],
)
def test_a_broken_file(
    text: str, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "broken.yaml").write_text(text)
    assert main(["--config-dir", str(tmp_path), "method=broken"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) <= 2
    for fragment in fragments:
        assert fragment in err


def test_the_whole_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError) as caught:
        main(["method=bayesbin"])
    assert caught.value.__cause__ is not None
