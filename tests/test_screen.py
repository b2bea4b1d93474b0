"""The screen: a run outlives it, and nothing that is printed commands a terminal."""

import json
import os
import pickle
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from bnnrepro import screen
from bnnrepro.config.compose import compose
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.experiment.logs import logging_to
from bnnrepro.launch.job import Batch
from bnnrepro.launch.payload import current_workdir, make_spec
from bnnrepro.launch.plan import make_plan
from bnnrepro.launch.submission import Reservation, Submission
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import Run
from bnnrepro.runs.status_table import overview

from .experiment.processes import on_screen

RUN_PY = Path(__file__).parents[1] / "run.py"
TINY = ("preset=smoke", "model.hidden=[8]", "device=cpu", "threads=1")
EVIL = "no \x1b]0;title\x07 \x9b31mred\x7f \u202ekcab\u2066 \r\ngone\udcff"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def the_run(out: Path) -> RunFolder:
    (path,) = out.glob("digits/mlp/*/*")
    return RunFolder(path)


def read_a_line(fifo: Path) -> None:
    """Open a pipe, read its first line, and go, as ``head -1`` does."""
    with fifo.open("rb", buffering=0) as pipe:
        while pipe.read(1) != b"\n":
            pass


def test_a_screen_without_the_sign_shows_it_spelt() -> None:
    assert "98 ± 1 … é".encode("ascii", "bnnrepro.legible") == b"98 +- 1 ... \\xe9"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code = "from bnnrepro import screen; screen.guard(); print('1 ± 2')"
    assert subprocess.check_output([sys.executable, "-c", code], env=env) == b"1 +- 2\n"


# -- a screen that breaks -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["head", "full", "closed"])
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")], ids=["run", "sweep"])
def test_a_run_outlives_its_screen(tmp_path: Path, kind: str, sweep: tuple[str, ...]) -> None:
    out, where = tmp_path / "runs", {"full": "/dev/full", "closed": ""}.get(kind)
    if where is None:
        where = str(tmp_path / "pipe")
        os.mkfifo(where)
    process = on_screen(where, RUN_PY, *sweep, f"out={out}", *TINY)
    if kind == "head":
        read_a_line(Path(where))
    process.join(120)
    assert process.exitcode == 0
    states = [json.loads(path.read_text())["state"] for path in out.glob("*/*/*/*/status.json")]
    assert states == ["done"] * (2 if sweep else 1)
    if not sweep:
        lost = "output 1 is lost" in the_run(out).log.read_text(encoding="utf-8")
        assert lost == (kind != "closed")


def test_a_closed_terminal_saves_the_run(tmp_path: Path) -> None:
    """The terminal sends SIGHUP, and then every write to it fails."""
    ours, theirs = os.openpty()
    process = on_screen(
        os.ttyname(theirs), RUN_PY, f"out={tmp_path}", "model.hidden=[8]", "epochs=100000",
        "device=cpu", "threads=1", "checkpoint_seconds=1e6",
    )  # fmt: skip
    try:
        shown = b""
        while b"epoch      2/100000" not in shown:  # the line of an epoch, above the bar
            assert select.select([ours], [], [], 60)[0], shown
            shown += os.read(ours, 4096)
        os.close(theirs)
        os.close(ours)
        process.join(60)
        assert process.exitcode == 128 + signal.SIGHUP
    finally:
        process.kill()
    folder = the_run(tmp_path)
    state = status.read(folder)
    assert state.state == "interrupted"
    assert torch.load(folder.checkpoint)["epoch"] >= 2


JOB = """
import pickle
from pathlib import Path

if __name__ == "__main__":
    pickle.loads(Path({batch!r}).read_bytes())()
"""


@pytest.mark.parametrize("at_once", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_job_outlives_a_full_disk_under_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.chdir(tmp_path)
    points = [["seed=0"], ["seed=1"]]
    runs = make_plan([compose(*TINY, *point) for point in points], points)
    paths = [[str(planned.run.folder.path.absolute()) for planned in runs]]
    made = Submission.create("multirun", "test", {"kind": "local"}, paths)
    Reservation(runs, made.name).make()
    batch = Batch([make_spec(run, 1) for run in runs], made, current_workdir(), at_once=at_once)
    (tmp_path / "batch").write_bytes(pickle.dumps(batch))
    (tmp_path / "job.py").write_text(JOB.format(batch=str(tmp_path / "batch")))
    process = on_screen("/dev/full", tmp_path / "job.py")
    process.join(120)
    assert process.exitcode == 0
    assert [status.read(planned.run.folder).state for planned in runs] == ["done", "done"]


@pytest.mark.parametrize(
    "words",
    [
        [str(RUN_PY), "--help"],
        ["-m", "bnnrepro", "status", "--all", "multirun"],
        ["-m", "bnnrepro", "status", "--watch", "0.1", "multirun"],
    ],
    ids=["help", "status", "watch"],
)
def test_a_command_ends_quietly_with_its_reader(tmp_path: Path, words: list[str]) -> None:
    for number in range(3):
        failed_at(tmp_path / "multirun", f"{number:010x}", "for a reason")
    process = subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1 if "--watch" in words else 0)
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert (process.wait(60), said) == (0, b"")


@pytest.mark.parametrize(
    "words", [[str(RUN_PY), "--cfg", "job"], ["-m", "bnnrepro", "status", "multirun"]]
)
def test_a_command_whose_output_finds_no_room_has_failed(tmp_path: Path, words: list[str]) -> None:
    failed_at(tmp_path / "multirun", "0123456789", "for a reason")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"error: standard output: No space left on device" in done.stderr


def test_a_programs_own_screen_is_left_alone(
    run_small: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run that is part of another program is done too, where that program's screen breaks."""

    class Broken:
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

        flush = write

        def isatty(self) -> bool:
            return False

    broken = Broken()
    monkeypatch.setattr(sys, "stdout", broken)
    with suppress(BrokenPipeError):
        run_small("preset=smoke")
    assert sys.stdout is broken
    (path,) = tmp_path.glob("runs/digits/mlp/*/*")
    assert status.read(RunFolder(path)).state == "done"
    assert "progress could not log" in (path / "train.log").read_text(encoding="utf-8")


def test_a_pipe_that_is_full_for_a_while_is_not_lost() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as other:
        os.set_blocking(writer, False)
        shown = screen._guarded(stream, writer)
        print("x" * 200_000, file=shown, flush=True)
        assert len(other.read(1 << 20)) > 1000
        print("end", file=shown, flush=True)
        assert other.read(1 << 20).endswith(b"end\n")


# -- locales ------------------------------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
FAILS = """
import sys
from pathlib import Path
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
status.record_failure(RunFolder(Path(sys.argv[1])), ValueError("\\u00b1 5 \\u2026 \\u4e2d"))
"""


def test_a_failure_is_recorded_and_shown_under_any_locale(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "digits" / "mlp" / "ste" / "0123456789"
    folder.mkdir(parents=True)
    environment = {**os.environ, **ASCII}
    subprocess.run([sys.executable, "-c", FAILS, folder], env=environment, check=True)
    assert status.read(RunFolder(folder)).error == "± 5 … 中"
    assert "ValueError: ± 5 … 中\n" in (folder / "train.log").read_text(encoding="utf-8")
    listed = [sys.executable, "-m", "bnnrepro", "status", tmp_path / "multirun"]
    done = subprocess.run(listed, env=environment, capture_output=True, check=True)
    assert rb"+- 5 ... \u4e2d" in done.stdout


# -- control characters -------------------------------------------------------------------------


def failed_at(root: Path, name: str, error: str, method: str = "ste") -> RunFolder:
    path = root / "digits" / "mlp" / method / name
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.status.write_text(json.dumps({"state": "failed", "error": error}))
    return folder


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± …\\ é 中", "plain ± …\\ é 中"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("\r\b\x7f\0", r"\r\x08\x7f\x00"),
        ("a\u202eb\u2069", r"a\u202eb\u2069"),
        ("\udcff", r"\udcff"),
        ("one\ntwo\t", r"one\ntwo\t"),
    ],
)
def test_control_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert screen.printable(text) == shown
    assert screen.printable(screen.printable(text)) == shown
    assert screen.printable("one\n\ttwo", lines=True) == "one\n\ttwo"


def test_every_control_character_is_escaped_and_no_letter() -> None:
    for number in range(0x110000):
        one = chr(number)
        if COMMANDS.match(one):
            assert screen.printable(one, lines=True).isascii()
        elif one.isalnum():
            assert screen.printable(one) == one


def test_a_user_error_is_safe_to_print() -> None:
    message = str(UserError(EVIL, EVIL, f"cannot be read ({EVIL})"))
    assert not COMMANDS.search(message)
    assert len(message.splitlines()) <= 2


def test_a_listing_is_safe_to_print(tmp_path: Path) -> None:
    """Every part of it may come from a folder that somebody else made."""
    run = Run(failed_at(tmp_path, "0123456789", EVIL, method="s\x1bte"))
    run.state = run.state.__class__("failed", run.status.error or "")
    shown = overview([run], [tmp_path / EVIL[:9]])
    assert not COMMANDS.search(shown)
    assert len(shown.splitlines()) == 3
    assert r"\x1b]0;title\x07" in shown


def test_logs_and_records_are_safe_to_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    with logging_to(folder):
        from bnnrepro.experiment.logs import log

        monkeypatch.setattr(log, "propagate", False)  # pytest's own record is not made safe
        log.warning("a logger said: %s", EVIL)
    status.record_failure(folder, RuntimeError(EVIL))
    for text in (folder.log.read_text(encoding="utf-8"), capsys.readouterr().err):
        assert r"\x1b]0;title\x07" in text
        assert not COMMANDS.search(text)
    assert not COMMANDS.search(json.loads(folder.status.read_text())["error"])


def test_a_traceback_of_a_sweep_is_safe_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    from hydra_plugins.bnnrepro_launchers.sequential import _report

    for error in (RuntimeError(EVIL), RunFailedError("plain")):
        _report(error)
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert not COMMANDS.search(shown)


UNCAUGHT = r"""
from bnnrepro import screen
screen.guard()
raise RuntimeError("\x1b[31m \u202e")
"""


def test_an_error_that_nobody_catches_is_safe_to_print() -> None:
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, check=False)
    assert done.returncode == 1
    assert rb"RuntimeError: \x1b[31m \u202e" in done.stderr
    assert not COMMANDS.search(done.stderr.decode())
