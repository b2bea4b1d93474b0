"""A finished run, loaded for use."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

import bnnrepro
from bnnrepro.errors import UserError
from bnnrepro.running import Result, build


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    from bnnrepro.config.compose import compose
    from bnnrepro.running import run

    method = ["method.temperature=1", "method.init=1", "method.lr=1e-3", "scheduler=constant"]
    out = f"out={tmp_path_factory.mktemp('runs')}"
    small = ["epochs=6", "model.hidden=[32]", "device=cpu", "threads=1", "checkpoint_seconds=0"]
    return run(compose(*small, *method, out))


@pytest.mark.parametrize("which", ["best", "final"])
def test_a_loaded_run_predicts_what_its_result_says(finished: Result, which: str) -> None:
    from bnnrepro.config import check

    loaded = bnnrepro.load(finished.folder.path, which, device="cpu")
    assert all((value.abs() == 1).all() for value in loaded.model.parameters())
    posterior = loaded.trainer.optimizer.probabilities()
    for value in loaded.model.parameters():
        probability = posterior[value]
        assert probability.shape == value.shape
        assert ((probability >= 0) & (probability <= 1)).all()
        assert torch.equal(probability > 0.5, value > 0)

    split = build(check_again(check, loaded)).sources.test.split
    inputs = loaded.preprocess(split.images)
    wanted = finished.values[which]["test"]
    found = loaded.trainer.predict(inputs)
    accuracy = 100 * (found.argmax(1) == split.labels).double().mean()
    assert float(accuracy) == pytest.approx(wanted["mode"]["accuracy"])
    assert loaded.trainer.evaluate((inputs, split.labels)) == pytest.approx(wanted["mode"])
    mean = loaded.trainer.evaluate((inputs, split.labels), samples=10)
    assert mean == pytest.approx(wanted["mean"], rel=1e-4, abs=1e-4)
    assert len(loaded.classes) == 10
    assert loaded.result == finished.values


def check_again(check: Any, loaded: Any) -> Any:
    from omegaconf import DictConfig

    return check(DictConfig(loaded.config.to_dict()))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"cannot be read \(Too many open files\)"),
        (FileNotFoundError(errno.ENOENT, "No such file"), r"cannot be read \(No such file\)"),
        (MemoryError(), r"cannot be read \(not enough memory\)"),
        (ValueError("a byte that is no text"), "is damaged"),
    ],
    ids=repr,
)
def test_a_config_is_called_damaged_for_its_content_alone(
    finished: Result, trouble: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise trouble

    monkeypatch.setattr(yaml, "safe_load", fail)
    with pytest.raises(UserError, match=rf"^folder=.*config\.yaml: {said}"):
        bnnrepro.load(finished.folder.path, device="cpu")


def test_best_is_loaded_by_default_and_final_where_there_is_no_best(
    finished: Result, run_small: Callable[..., Result]
) -> None:
    loaded = bnnrepro.load(str(finished.folder.path), device="cpu")
    best = torch.load(finished.folder.best)["model"]
    assert all(torch.equal(value, best[n]) for n, value in loaded.model.state_dict().items())
    without = run_small("preset=smoke", "dataset.validation_split=0", "method=ste")
    last = torch.load(without.folder.checkpoint)["model"]
    loaded = bnnrepro.load(without.folder.path, device="cpu")
    assert all(torch.equal(value, last[n]) for n, value in loaded.model.state_dict().items())
