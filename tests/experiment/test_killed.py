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

from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder

from .processes import start, struck

SETTINGS = (
    "epochs=8",
    "model.hidden=[256]",
    "method.temperature=1",
    "checkpoint_seconds=0",
    "threads=1",
    "device=cpu",
    "evaluate.samples=2",
)
MID_EPOCH = 30  # of 8 times 23 steps: the seventh of the second epoch


def finish(out: Path, *more: str, settings: tuple[str, ...] = SETTINGS) -> RunFolder:
    process = start(out, *settings, *more)
    process.join(120)
    assert process.exitcode == 0
    return the_run(out)


def the_run(out: Path) -> RunFolder:
    (path,) = out.glob("digits/mlp/*/*")
    return RunFolder(path)


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
    *expected, expected_weights = undisturbed
    assert figures == expected
    for ours, theirs in zip(weights, expected_weights, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(value)), name
    assert sorted(entry.name for entry in folder.path.iterdir()) == [
        "best.pt", "checkpoint.pt", "config.yaml", "env.json", "metrics.csv", "result.json",
        "status.json", "train.log",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[tuple, float]:
    finish(tmp_path_factory.mktemp("warm"))  # the first start also imports everything
    started = time.monotonic()
    folder = finish(tmp_path_factory.mktemp("undisturbed"))
    return outcome(folder), time.monotonic() - started


def kill(process: multiprocessing.Process) -> None:
    """Kill it where it still lives; however that went, it is over afterwards."""
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)


def killed_at_random(out: Path, undisturbed: tuple, seed: int) -> None:
    """The moment lies anywhere from the start to the end, so the run may be done before it."""
    expected, seconds = undisturbed
    process = start(out, *SETTINGS)
    time.sleep(random.Random(seed).uniform(0.2, 1.0) * seconds)
    kill(process)
    for path in out.glob("digits/mlp/*/*"):
        folder = RunFolder(path)
        state = status.read(folder).effective
        assert state in {"stale", "absent", "done"}
        assert folder.result.exists() or (state != "done" and process.exitcode)
    assert_same(finish(out), expected)


@pytest.mark.parametrize("seed", range(1))
def test_sigkill_at_a_random_moment(tmp_path, undisturbed, seed):
    killed_at_random(tmp_path, undisturbed, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 23))
def test_sigkill_at_many_random_moments(tmp_path, undisturbed, seed):
    killed_at_random(tmp_path, undisturbed, seed)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bayesbinn", "pmf"])
def test_sigkill_of_a_compiled_run(tmp_path, method):
    choice = (f"method={method}", "method.lr=1e-3", "compile.optimizer=on", *SETTINGS)
    if method == "pmf":
        choice = tuple(entry for entry in choice if "temperature" not in entry)
    undisturbed = finish(tmp_path / "undisturbed", settings=choice)
    code = struck(tmp_path / "killed", *choice, step=MID_EPOCH, number=signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert the_run(tmp_path / "killed").checkpoint.exists()
    folder = finish(tmp_path / "killed", settings=choice)
    assert torch.load(folder.checkpoint)["compiled"]
    assert_same(folder, outcome(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_asks_to_stop(tmp_path, undisturbed, number):
    """Training stops inside an epoch, keeps what it did, and says so."""
    code = struck(tmp_path, *SETTINGS, step=MID_EPOCH, number=number)
    assert code == 128 + number
    folder = the_run(tmp_path)
    assert status.read(folder).state == "interrupted"
    state = torch.load(folder.checkpoint)
    assert (state["epoch"], state["batch"]) == (1, 7)
    assert_same(finish(tmp_path), undisturbed[0])


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.0005)


@pytest.mark.slow
def test_sigkill_while_the_checkpoint_is_written(tmp_path, undisturbed):
    """Kill until a temporary file is left behind: the proof that it hit a write."""

    def hit_a_write(out: Path) -> bool:
        def half_written() -> list[Path]:
            return list(out.glob("digits/mlp/*/*/.checkpoint.pt~*.tmp"))

        process = start(out, *SETTINGS)
        wait_for(lambda: half_written() or not process.is_alive())
        kill(process)
        return bool(half_written())

    attempts = (tmp_path / str(number) for number in range(20))
    hit = next((out for out in attempts if hit_a_write(out)), None)
    assert hit, "no kill hit the writing of a checkpoint"
    assert_same(finish(hit), undisturbed[0])


def test_a_damaged_newest_checkpoint_falls_back(tmp_path, undisturbed):
    process = start(tmp_path, *SETTINGS, "stop_after=4")
    process.join(60)
    folder = the_run(tmp_path)
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
    assert outcome(the_run(tmp_path))[1] != undisturbed[0][1]
