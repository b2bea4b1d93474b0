import csv
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from tests.cases import first_fast

from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.experiment import Result, run
from bnnrepro.training.loggers import tagged

CHECKOUT = Path(__file__).parents[2]
RunIt = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def run_it(tmp_path: Path) -> Iterator[RunIt]:
    threads = torch.get_num_threads()
    yield lambda *overrides: run(compose(*tiny(tmp_path), *overrides))
    torch.set_num_threads(threads)


def tiny(out: Path) -> list[str]:
    return ["dataset=digits", "epochs=4", "model.hidden=[16]", "threads=1", f"out={out / 'runs'}"]


# -- wandb --------------------------------------------------------------------------------------


def records(file: Path) -> Iterator[Any]:
    """Read a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, header = 32768, 7
    data, position, record = file.read_bytes(), 7, b""
    while position + header <= len(data):
        left = block - position % block
        if left < header:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        record += data[position + header : position + header + length]
        position += header + length
        if position <= len(data) and kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def wandb_files(folder: Path, killed: int = 0) -> list[Path]:
    """Return the files of a run's starts, whole: wandb's service writes on after ``finish``.

    ``killed`` of the starts have no end to wait for.
    """
    files = sorted(f for f in folder.glob("wandb/*/*.wandb") if "latest-run" not in f.parts)
    until = time.monotonic() + 60
    while sum(map(ended, files)) < len(files) - killed:
        assert time.monotonic() < until, "wandb does not end its file"
        time.sleep(0.05)
    return files


def ended(file: Path) -> bool:
    return any(record.WhichOneof("record_type") == "exit" for record in records(file))


def logged(folder: Path, killed: int = 0) -> list[dict[str, Any]]:
    rows = []
    for file in wandb_files(folder, killed):
        for record in records(file):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
    return rows


def exit_codes(folder: Path, killed: int = 0) -> list[int]:
    return [
        record.exit.exit_code
        for file in wandb_files(folder, killed)
        for record in records(file)
        if record.WhichOneof("record_type") == "exit"
    ]


def run_records(folder: Path) -> list[Any]:
    return [
        record.run
        for file in wandb_files(folder)
        for record in records(file)
        if record.WhichOneof("record_type") == "run"
    ]


def warnings_in(folder: Path) -> list[str]:
    log = folder / "train.log"
    return [line for line in log.read_text().splitlines() if "WARNING" in line]


def metrics(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as handle:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(handle)]


def test_a_resumed_run_stays_one_wandb_run_with_each_epoch_once(run_it: RunIt) -> None:
    folder = run_it("logger=wandb", "stop_after=2").folder.path
    again = run_it("logger=wandb", "logger.tags=[a]", "logger.group=g")
    assert again.folder.path == folder
    rows = logged(folder)
    assert [row["_step"] for row in rows] == [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row, expected in zip(rows, map(tagged, metrics(folder)), strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert exit_codes(folder) == [0, 0]
    first, second = run_records(folder)
    assert first.run_id == second.run_id == again.signature
    assert first.display_name == "digits/mlp/bayesbinn/seed0"
    assert (second.run_group, list(second.tags), second.project) == ("g", ["a"], "bnnrepro")
    config = {entry.key: json.loads(entry.value_json) for entry in second.config.update}
    assert config["model"]["hidden"] == [16]
    assert not (folder / "train.log").exists() or not warnings_in(folder)
    summary = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for file in wandb_files(folder)
        for record in records(file)
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    final = json.loads(again.path.read_text())["final"]
    assert summary["final/test/mode/accuracy"] == final["test"]["mode"]["accuracy"]
    assert "train/loss" in rows[0]
    assert "best/validation/mean/nll" in summary


@pytest.mark.slow
def test_rows_that_a_checkpoint_holds_but_wandb_does_not_are_logged_first(run_it: RunIt) -> None:
    run_it("logger=none", "stop_after=2")
    folder = run_it("logger=wandb").folder.path
    assert [row["_step"] for row in logged(folder)] == [1, 2, 3, 4]


def test_wandb_learns_that_a_run_failed(run_it: RunIt) -> None:
    folder = run_it("logger=none", "stop_after=1").folder
    folder.best.unlink()
    folder.best.mkdir()  # the next best epoch cannot be written
    with pytest.raises(RunFailedError, match=r"best\.pt: Is a directory"):
        run_it("logger=wandb")
    assert exit_codes(folder.path) == [1]


def test_the_environment_chooses_the_mode_where_the_config_does_not(
    run_it: RunIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = run_it("logger=wandb", "epochs=1").folder.path
    assert not list(folder.glob("wandb*"))
    folder = run_it("logger=wandb", "logger.mode=offline", "epochs=2").folder.path
    assert [row["_step"] for row in logged(folder)] == [1, 2]
    monkeypatch.setenv("WANDB_MODE", "no-mode")
    with pytest.raises(UserError, match="offline, online, disabled"):
        compose("logger=wandb")


def test_wandb_may_be_disabled_by_its_variable(
    run_it: RunIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert not list(run_it("logger=wandb", "epochs=1").folder.path.glob("wandb*"))


def finishes_with_one_warning(result: Result, logger: str) -> str:
    assert result.path.exists()
    (warning,) = warnings_in(result.folder.path)
    assert logger in warning
    return warning


@pytest.mark.parametrize(
    ("logger", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_missing_package_is_a_warning(
    run_it: RunIt, monkeypatch: pytest.MonkeyPatch, logger: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    finishes_with_one_warning(run_it(f"logger={logger}"), logger)


@pytest.mark.parametrize(
    "setting",
    [
        "project='a:b'",
        f"project={'p' * 129}",
        f"group={'g' * 129}",
        "tags=['']",
        f"tags=[{65 * 't'}]",
    ],
)
def test_what_wandb_refuses_is_refused_before_the_start(setting: str) -> None:
    with pytest.raises(UserError, match=f"logger.{setting.partition('=')[0]}"):
        compose("logger=wandb", f"logger.{setting}")


def test_online_without_a_login_is_a_warning(run_it: RunIt) -> None:
    result = run_it("logger=wandb", "logger.mode=online")
    assert "could not start" in finishes_with_one_warning(result, "wandb")


@pytest.mark.slow
def test_rows_that_wandb_failed_to_log_are_logged_by_the_resumed_run(
    run_it: RunIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = []

    class BrokenRun:
        summary: ClassVar[dict[str, float]] = {}

        def log(self, row: dict[str, Any], **_: Any) -> None:
            raise OSError("no space left")

        def finish(self, exit_code: int) -> None:
            finished.append(exit_code)
            raise OSError("no space left")

    broken = SimpleNamespace(init=lambda **_: BrokenRun(), Settings=lambda **_: SimpleNamespace())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", broken)
        folder = run_it("logger=wandb", "stop_after=2", "checkpoint_seconds=0").folder.path
        (warning,) = warnings_in(folder)
        assert "could not log: no space left" in warning
        assert finished == [0]
    run_it("logger=wandb")
    assert [row["_step"] for row in logged(folder)] == [1, 2, 3, 4]


def command(out: Path, *overrides: str) -> list[str]:
    return [sys.executable, str(CHECKOUT / "run.py"), *tiny(out), *overrides]


@pytest.mark.slow
def test_online_without_a_login_does_not_ask_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command(tmp_path, "logger=wandb", "logger.mode=online"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            timeout=120,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0
    (folder,) = (tmp_path / "runs").glob("*/*/*/*")
    assert "could not start" in warnings_in(folder)[0]


STRIKE = """
import os, sys
from bnnrepro.cli.run import main
from bnnrepro.training.loop import TrainingLoop

train_batch = TrainingLoop._train_batch

def strike(self, *batch):
    train_batch(self, *batch)
    if self.epoch == 5:
        os.killpg(0, int(sys.argv[1]))

TrainingLoop._train_batch = strike
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_never_doubles_an_epoch(
    run_it: RunIt, tmp_path: Path, number: signal.Signals
) -> None:
    """The signal goes to wandb's own process too, as from a terminal or a cluster."""
    changes = ["logger=wandb", "epochs=20", "checkpoint_seconds=0"]
    argv = [sys.executable, "-c", STRIKE, str(int(number)), *tiny(tmp_path), *changes]
    code = subprocess.run(argv, start_new_session=True, timeout=120).returncode
    killed = number == signal.SIGKILL
    assert code == (-number if killed else 128 + number)
    (folder,) = (tmp_path / "runs").glob("*/*/*/*")
    assert exit_codes(folder, killed) == ([] if killed else [code])
    run_it(*changes)
    steps = [row["_step"] for row in logged(folder, killed)]
    assert sorted(set(steps)) == steps
    assert steps[-1] == 20
    if not killed:
        assert len(steps) == 20


# -- TensorBoard --------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("before", first_fast(["tensorboard", "none"]))
def test_a_resumed_run_has_each_epoch_once_in_tensorboard(run_it: RunIt, before: str) -> None:
    run_it(f"logger={before}", "stop_after=2")
    folder = run_it("logger=tensorboard").folder.path
    rows = metrics(folder)
    actual = scalars(folder)
    figures = {name for name in actual if name.startswith(("final/", "best/"))}
    assert {"final/test/mode/accuracy", "best/validation/mean/nll"} <= figures
    names = {next(iter(tagged({name: 0}))): name for name in rows[0].keys() - {"epoch"}}
    assert set(actual) - figures == set(names)
    assert {"train/loss", "validation/accuracy", "lr", "flipped"} <= set(names)
    for name, column in names.items():
        assert [step for step, _ in actual[name]] == [1, 2, 3, 4]
        assert [value for _, value in actual[name]] == pytest.approx([row[column] for row in rows])


def test_tensorboard_that_cannot_write_is_a_warning(run_it: RunIt) -> None:
    folder = run_it("logger=none", "stop_after=2").folder.path
    (folder / "tensorboard").write_text("in the way")
    finishes_with_one_warning(run_it("logger=tensorboard"), "tensorboard")


# -- both ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_loggers_at_once_in_a_sweep(tmp_path: Path) -> None:
    chosen = ["logger=[wandb,tensorboard]", "epochs=1", "seed=0,1"]
    assert main(["-m", *tiny(tmp_path), *chosen]) == 0
    folders = list((tmp_path / "runs").glob("*/*/*/*"))
    assert len(folders) == 2
    assert all("train/loss" in scalars(folder) for folder in folders)
    assert [len(logged(folder)) for folder in folders] == [1, 1]
    (group,) = {run.run_group for folder in folders for run in run_records(folder)}
    assert group.startswith("sweep-")


def test_an_unknown_logger_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"wandb|tensorboard"):
        compose("logger=tensorbord")
    with pytest.raises(UserError, match="must be one of none, tensorboard, wandb"):
        compose("logger.name=wandb+tensorbord")


def test_logger_packages_are_imported_only_where_they_are_chosen() -> None:
    code = (
        "import sys, bnnrepro.training.loggers; "
        "sys.exit(bool({'wandb', 'tensorboard', 'torch.utils.tensorboard'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
