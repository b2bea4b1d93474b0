"""A run killed at any moment and started again ends in the bits of an undisturbed one."""

import csv
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from bnnrepro.cli import main
from bnnrepro.store import status
from bnnrepro.store.folder import RunFolder

# A fork of a process that has everything imported: a start costs 0.1 s instead of 5.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "bnnrepro.data.torchvision_import",
        "bnnrepro.cli",
        "bnnrepro.running",
        "sklearn.datasets",
        "sklearn.model_selection",
    ]
)
SETTINGS = (
    "epochs=8",
    "model.hidden=[256]",
    "method.temperature=1",
    "checkpoint_seconds=0",
    "threads=1",
    "device=cpu",
    "evaluate.samples=2",
)


def start(out: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> multiprocessing.Process:
    process = FORKS.Process(target=main, args=([f"out={out}", *settings, *more],))
    process.start()
    return process


def finish(out: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> RunFolder:
    process = start(out, *more, settings=settings)
    process.join(120)
    assert process.exitcode == 0
    (result,) = out.glob("digits/mlp/*/*/result.json")
    return RunFolder(result.parent)


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return value


def outcome(folder: RunFolder) -> tuple:
    """Everything that a run leaves and that must not depend on how it got there."""
    result = without_times(json.loads(folder.result.read_text()))
    with folder.metrics.open() as handle:
        rows = [without_times(row) for row in csv.DictReader(handle)]
    final, best = (torch.load(path) for path in (folder.checkpoint, folder.best))
    for row in final["rows"]:
        row.pop("seconds")
    weights = [state["model"] | flat(state["optimizer"]) for state in (final, best)]
    return result, rows, final["rows"], weights


def flat(optimizer: dict) -> dict:
    states = optimizer["state"]
    return {f"{i}.{name}": value for i, state in states.items() for name, value in state.items()}


def assert_same(folder: RunFolder, undisturbed: tuple) -> None:
    *figures, weights = outcome(folder)
    *wanted, wanted_weights = undisturbed
    assert figures == wanted
    for ours, theirs in zip(weights, wanted_weights, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(value)), name
    assert sorted(each.name for each in folder.path.iterdir()) == [
        "best.pt", "checkpoint.pt", "config.yaml", "env.json", "metrics.csv", "result.json",
        "status.json", "train.log",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[tuple, float]:
    finish(tmp_path_factory.mktemp("warm"))  # the first start also imports everything
    started = time.monotonic()
    folder = finish(tmp_path_factory.mktemp("undisturbed"))
    return outcome(folder), time.monotonic() - started


def kill_at(process: multiprocessing.Process, number: int) -> None:
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(60)


def killed_at_random(out: Path, undisturbed: tuple, seed: int, number: int) -> None:
    wanted, seconds = undisturbed
    process = start(out)
    time.sleep(random.Random(seed).uniform(0.2, 1.0) * seconds)
    kill_at(process, number)
    for path in out.glob("digits/mlp/*/*"):
        if process.exitcode:
            expected = (
                {"stale", "absent"} if number == signal.SIGKILL else {"interrupted", "absent"}
            )
            assert status.read(RunFolder(path)).effective in expected
    assert process.exitcode in (0, -signal.SIGKILL, 128 + number, -number)
    assert_same(finish(out), wanted)


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_at_a_random_moment(tmp_path, undisturbed, seed):
    killed_at_random(tmp_path, undisturbed, seed, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_sigkill_at_twenty_random_moments(tmp_path, undisturbed, seed):
    killed_at_random(tmp_path, undisturbed, seed, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayesbinn", "pmf"])
def test_sigkill_of_a_compiled_run(tmp_path, method):
    choice = (f"method={method}", "method.lr=1e-3", "optimizer.compile=on", *SETTINGS)
    if method == "pmf":
        choice = tuple(each for each in choice if "temperature" not in each)
    undisturbed = finish(tmp_path / "undisturbed", settings=choice)
    process = start(tmp_path / "killed", settings=choice)
    wait_for(lambda: list(tmp_path.glob("killed/digits/mlp/*/*/checkpoint.pt")))
    kill_at(process, signal.SIGKILL)
    folder = finish(tmp_path / "killed", settings=choice)
    assert torch.load(folder.checkpoint)["compiled"]
    assert_same(folder, outcome(undisturbed))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_that_asks_to_stop(tmp_path, undisturbed, number):
    """Training stops inside an epoch, keeps what it did, and says so."""
    process = start(tmp_path)
    wait_for(lambda: list(tmp_path.glob("digits/mlp/*/*/checkpoint.pt")))
    kill_at(process, number)
    assert process.exitcode == 128 + number
    (path,) = tmp_path.glob("digits/mlp/*/*")
    assert status.read(RunFolder(path)).state == "interrupted"
    assert_same(finish(tmp_path), undisturbed[0])


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.0005)


def test_sigkill_while_the_checkpoint_is_written(tmp_path, undisturbed):
    """Kill until a temporary file is left behind: the proof that it hit a write."""

    def half_written() -> list[Path]:
        return list(tmp_path.glob("digits/mlp/*/*/.checkpoint.pt~*.tmp"))

    def hit_a_write() -> bool:
        process = start(tmp_path)
        wait_for(lambda: half_written() or not process.is_alive())
        kill_at(process, signal.SIGKILL)
        return bool(half_written())

    assert any(hit_a_write() for _ in range(20)), "no kill hit the writing of a checkpoint"
    assert_same(finish(tmp_path), undisturbed[0])


def test_a_damaged_newest_checkpoint_falls_back(tmp_path, undisturbed):
    process = start(tmp_path, "stop_after=4")
    process.join(60)
    (path,) = tmp_path.glob("digits/mlp/*/*")
    folder = RunFolder(path)
    assert status.read(folder).state == "interrupted"
    assert process.exitcode == 0
    data = bytearray(folder.checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    folder.checkpoint.write_bytes(data)
    assert_same(finish(tmp_path), undisturbed[0])
    assert "falling back to the checkpoint before" in folder.log.read_text()
    assert "resumed after epoch 3 of 8" in folder.log.read_text()


def test_another_seed_is_another_run(tmp_path, undisturbed):
    finish(tmp_path, "seed=1")
    (path,) = tmp_path.glob("digits/mlp/*/*")
    assert outcome(RunFolder(path))[1] != undisturbed[0][1]
