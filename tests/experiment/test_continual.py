"""A continual run stopped or killed, inside a task or between two, ends in the same bits."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnrepro.experiment import Result
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.metrics import read_metrics

from .processes import strike_at, struck

# 3 tasks of 2 epochs of 4 steps.
SETTINGS = (
    "dataset=permuted_digits",
    "dataset.tasks=3",
    "model.hidden=[24]",
    "batch_size=50",
    "preset=smoke",
    "preset.epochs=2",
    "checkpoint_seconds=0",
    "device=cpu",
    "threads=1",
    "evaluate.samples=2",
)
BAYESBINN = (
    "method.temperature=0.5",
    "method.lr=0.05",
    "method.init=1",
    "dataset.norm_statistics=per_task",
)
CHOICES = {"bayesbinn": BAYESBINN, "ste": ("method=ste",)}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key != "seconds"}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def tensors(value: Any) -> list[torch.Tensor]:
    """All tensors of a state, the prior and the copies after each task among them."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    for name in ("result.json", "posterior.json"):
        files = [run_folder.path / name for run_folder in (one, other)]
        assert files[0].exists() == files[1].exists()
        if files[0].exists():
            actual, expected = (without_times(json.loads(file.read_text())) for file in files)
            assert actual == expected
    assert without_times(read_metrics(one.metrics)) == without_times(read_metrics(other.metrics))
    states = [torch.load(run_folder.checkpoint) for run_folder in (one, other)]
    for key in ("model", "optimizer", "task"):
        actual, expected = (tensors(state[key]) for state in states)
        assert len(actual) == len(expected) > 0
        assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


@pytest.mark.parametrize("method", CHOICES)
@pytest.mark.parametrize("step", [1, 8, 9, 11, 12, 17])
def test_a_stop_after_any_step(
    run_small: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    step: int,
) -> None:
    """Step 8 ends the first task, 9 is the first with the new prior, 12 ends an epoch of task 2."""
    settings = (*SETTINGS, *CHOICES[method])
    undisturbed = run_small(*settings, out=tmp_path / "undisturbed").folder
    with monkeypatch.context() as patch:
        strike_at(patch, step, signal.SIGTERM)
        with pytest.raises(SystemExit) as stopped:
            run_small(*settings)
    assert stopped.value.code == 143
    assert_same(run_small(*settings).folder, undisturbed)


@pytest.mark.parametrize("epochs", [2, 3, 4])
def test_stop_after(run_small: Callable[..., Result], tmp_path: Path, epochs: int) -> None:
    settings = (*SETTINGS, *BAYESBINN)
    undisturbed = run_small(*settings, out=tmp_path / "undisturbed").folder
    assert run_small(*settings, f"stop_after={epochs}").values is None
    assert_same(run_small(*settings).folder, undisturbed)


@pytest.mark.parametrize("step", [8, 9, 14])
def test_a_kill_in_the_second_task(
    run_small: Callable[..., Result], tmp_path: Path, step: int
) -> None:
    settings = (*SETTINGS, *BAYESBINN)
    undisturbed = run_small(*settings, out=tmp_path / "undisturbed").folder
    code = struck(tmp_path / "runs", *settings, step=step, number=signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert_same(run_small(*settings).folder, undisturbed)
