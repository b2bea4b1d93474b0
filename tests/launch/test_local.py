"""``hydra/launcher=local``: so many processes at a time, and what becomes of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.launch.job import Batch, RunsFailedError
from bnnrepro.launch.local_jobs import LocalJobs, visible_gpus
from bnnrepro.launch.payload import current_workdir, make_spec
from bnnrepro.launch.plan import make_plan
from bnnrepro.launch.settings import Local
from bnnrepro.launch.submission import Reservation, Submission
from bnnrepro.runs import lock, process, status
from bnnrepro.runs.query import Run, find

from ..experiment.processes import on_screen

RUN_PY = Path(__file__).parents[2] / "run.py"
TINY = (
    "hydra/launcher=local",
    "model.hidden=[16]",
    "device=cpu",
    "checkpoint_seconds=0",
    "threads=1",
)
MINUTES = "epochs=100000"


def sweep(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), "-m", *TINY, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c() -> None:
    """Tests that a shell started in the background are deaf to it, and so were their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(started: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = started.communicate(timeout=120)
    assert started.returncode == code, f"{out}\n{err}"
    return out, err


def runs(folder: Path) -> list[Run]:
    place = folder / "multirun"
    return find([place], {})[0] if place.exists() else []


def states(folder: Path) -> list[str]:
    return sorted(run.state.name for run in runs(folder))


def wait_for_states(folder: Path, *wanted: str) -> None:
    until = time.monotonic() + 90
    while sorted(states(folder)) != sorted(wanted):
        assert time.monotonic() < until, f"{states(folder)} instead of {wanted}"
        time.sleep(0.2)


def training(folder: Path, count: int) -> None:
    until = time.monotonic() + 90
    while sum((run.status.epoch or 0) >= 1 for run in runs(folder)) < count:
        assert time.monotonic() < until
        time.sleep(0.2)


def wait_for_epochs(folder: Path, before: dict[str, int]) -> None:
    until = time.monotonic() + 90
    while not all((run.status.epoch or 0) > before.get(run.name, -1) for run in runs(folder)):
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.slow
def test_a_sweep_two_at_a_time_and_again(tmp_path: Path) -> None:
    line = ("epochs=2", "method=ste,bop", "hydra.launcher.processes=2")
    out, _ = finish(sweep(tmp_path, *line))
    assert "2 runs submitted as multirun/.hydra/local-" in out
    assert states(tmp_path) == ["done", "done"]
    (record,) = tmp_path.glob("multirun/.hydra/*/submission.json")
    assert json.loads(record.read_text())["launcher"]["processes"] == 2
    out, _ = finish(sweep(tmp_path, *line))
    assert out.startswith("nothing to start: done 2")
    assert len(list(tmp_path.glob("multirun/.hydra/*"))) == 1


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let every Python that is started from here die, as told, before it imports anything."""

    def die(how: str) -> None:
        code = f"import os, sys\nif 'resource_tracker' not in str(sys.orig_argv): {how}\n"
        (tmp_path / "sitecustomize.py").write_text(code)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return die


DEATHS = [
    ("os.kill(os.getpid(), 9)", "was ended by SIGKILL; out of memory?"),
    ("os._exit(3)", "ended with exit code 3"),
    ("os._exit(0)", "ended with exit code 0"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("how", "words"), DEATHS)
def test_a_process_that_dies_before_it_takes_over_its_run_is_noticed(
    tmp_path: Path,
    dying: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    how: str,
    words: str,
) -> None:
    dying(how)
    assert main(["-m", *TINY, "seed=0,1", "hydra.launcher.processes=2"]) == 1
    said = capsys.readouterr()
    assert said.err.count(f": its process {words}; its output is in multirun/.hydra/") == 2
    for number, run in enumerate(sorted(runs(tmp_path), key=lambda run: str(run.value("seed")))):
        assert (run.status.state, run.state.name) == ("failed", "failed")
        (log,) = tmp_path.glob(f"multirun/.hydra/*/{number}.log")
        assert str(run.status.error).endswith(str(log.relative_to(tmp_path)))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_process_that_dies_before_it_evaluates_a_finished_run_is_noticed(
    tmp_path: Path,
    dying: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = [*TINY[1:], "preset=smoke", "batch_size=20"]
    assert main(small) == 0
    dying(DEATHS[0][0])
    line = ["-m", TINY[0], *small]
    assert main([*line, "evaluate.samples=3"]) == 1
    assert f": its process {DEATHS[0][1]}; its output is in" in capsys.readouterr().err
    assert states(tmp_path) == ["done"]
    assert main(line) == 0, "its first evaluation stands"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("how", "words"), DEATHS)
def test_a_child_of_a_job_that_dies_before_its_run_is_noticed(
    tmp_path: Path, dying: Callable[[str], None], how: str, words: str
) -> None:
    points = [["seed=0"], ["seed=1"]]
    todo = make_plan([compose(*TINY[1:], *point) for point in points], points)
    paths = [str(planned.run.folder.path.absolute()) for planned in todo]
    made = Submission.create("multirun", "bnnrepro", {"kind": "slurm"}, [paths])
    Reservation(todo, made.name).make()
    dying(how)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RunsFailedError, match="2 of 2 runs failed"):
            Batch([make_spec(planned, 1) for planned in todo], made, current_workdir(), at_once=2)()
    finally:
        signal.signal(signal.SIGTERM, before)
    for run in runs(tmp_path):
        assert run.status.state == "failed"
        assert words in str(run.status.error)


@pytest.mark.parametrize("kind", ["local", "slurm"])
def test_a_lock_that_a_crash_left_does_not_leave_the_run_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    todo = make_plan([compose(*TINY[1:])], [[]])
    folder = todo[0].run.folder
    made = Submission.create("multirun", kind, {"kind": kind}, [[str(folder.path.absolute())]])
    Reservation(todo, made.name, here=kind == "local").make()
    owner = replace(lock._myself(), host="another")
    (folder.path / ".lock.1").write_text(json.dumps(asdict(owner)))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RunsFailedError, match="1 of 1 runs failed"):
            Batch([make_spec(todo[0], 1)], made, current_workdir())()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status.read(folder).state == "failed"
    assert "is being run by process" in str(status.read(folder).error)


@pytest.mark.timeout(60)
def test_a_detached_launcher_that_is_killed_at_its_start_is_told(
    tmp_path: Path, dying: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    dying(DEATHS[0][0])
    assert main(["-m", *TINY, "seed=0", "--detach"]) == 1
    (log,) = tmp_path.glob("multirun/.hydra/launcher-*.log")
    wanted = f"error: the launcher {DEATHS[0][1]}; it wrote {log}\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.timeout(60)
def test_ctrl_c_at_a_launcher_that_only_waits_leaves_anothers_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is a SLURM job's, which was killed and waits for its next start."""
    monkeypatch.chdir(tmp_path)
    (todo,) = make_plan([compose(*TINY[1:])], [[]])
    todo.run.folder.path.mkdir(parents=True)
    status.write(todo.run.folder, "submitted", job="17_0", submission="bnnrepro-a")
    dead = {"state": "running", "host": process.host(), "pid": 2**22 - 1, "process": "x"}
    content = json.loads(todo.run.folder.status.read_text())
    todo.run.folder.status.write_text(json.dumps(content | dead))
    before = todo.run.folder.status.read_bytes()
    programs = {
        "squeue": 'echo "17_0|PENDING|BeginTime|bnnrepro-a"\n'
        "[ -e asked ] && kill -INT $PPID; touch asked",
        "scancel": "touch cancelled",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["-m", *TINY]) == 130
    finally:
        signal.signal(signal.SIGINT, heard)
    said = capsys.readouterr().out
    assert said.startswith("nothing to start: queued 1")
    assert "runs of other launchers continue" in said
    assert not (tmp_path / "cancelled").exists()
    assert todo.run.folder.status.read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_saves_the_running_and_the_same_line_goes_on(tmp_path: Path) -> None:
    line = ("seed=range(3)", "hydra.launcher.processes=2")
    started = sweep(tmp_path, MINUTES, *line)
    training(tmp_path, 2)
    assert states(tmp_path) == ["queued", "running", "running"]
    started.send_signal(signal.SIGINT)
    out, _ = finish(started, 130)
    assert "the same command resumes" in out
    assert states(tmp_path) == ["interrupted"] * 3
    epochs = {run.name: run.status.epoch for run in runs(tmp_path)}
    assert sorted(epoch is not None and epoch > 0 for epoch in epochs.values()) == [
        False, True, True,
    ]  # fmt: skip
    again = sweep(tmp_path, MINUTES, *line)
    wait_for_states(tmp_path, "queued", "running", "running")
    wait_for_epochs(tmp_path, {name: epoch for name, epoch in epochs.items() if epoch})
    again.terminate()
    finish(again, 143)
    assert states(tmp_path) == ["interrupted"] * 3
    log = next(run for run in runs(tmp_path) if epochs[run.name]).folder.log.read_text()
    assert "resumed after epoch" in log


@pytest.mark.slow
def test_a_closed_terminal_saves_the_running(tmp_path: Path, monkeypatch: Any) -> None:
    """It tells the launcher and its runs at once."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "screen"
    os.mkfifo(log)
    words = ("-m", *TINY, MINUTES, "seed=range(3)", "hydra.launcher.processes=2")
    started = on_screen(str(log), RUN_PY, *words)
    with log.open("rb"):
        training(tmp_path, 2)
    os.killpg(started.pid, signal.SIGHUP)
    started.join(60)
    assert started.exitcode == 129
    wait_for_states(tmp_path, *["interrupted"] * 3)


@pytest.mark.slow
def test_a_killed_launcher_leaves_what_runs_and_forgets_what_waits(tmp_path: Path) -> None:
    line = ("epochs=100", "seed=range(2)", "hydra.launcher.processes=1")
    started = sweep(tmp_path, *line)
    training(tmp_path, 1)
    started.kill()
    started.wait()
    assert states(tmp_path) == ["running", "stale"]
    out, _ = finish(sweep(tmp_path, *line))
    assert "1 run submitted" in out
    assert states(tmp_path) == ["done", "done"]
    assert {run.status.attempt for run in runs(tmp_path)} == {1}


@pytest.mark.slow
def test_a_killed_process_has_failed_and_retry_completes_it(tmp_path: Path) -> None:
    started = sweep(tmp_path, "epochs=150", "seed=0,1", "hydra.launcher.processes=2")
    training(tmp_path, 2)
    pid = runs(tmp_path)[0].status.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _, err = finish(started, 1)
    assert states(tmp_path) == ["done", "failed"]
    assert "its process was ended by SIGKILL; out of memory?" in err
    line = err.splitlines()[-1].partition("to retry them: bnnrepro ")[2].split()
    subprocess.run([sys.executable, "-m", "bnnrepro", *line], cwd=tmp_path, check=True, timeout=120)
    assert states(tmp_path) == ["done", "done"]


@pytest.mark.slow
def test_cancel_reaches_what_runs_and_what_waits(tmp_path: Path) -> None:
    started = sweep(tmp_path, MINUTES, "seed=0,1", "hydra.launcher.processes=1")
    training(tmp_path, 1)
    command = [sys.executable, "-m", "bnnrepro", "cancel"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "cancelled 2 runs\n"
    finish(started, 1)
    assert states(tmp_path) == ["interrupted", "interrupted"]


def local(**changes: object) -> LocalJobs:
    values = {"name": "local", "processes": None, "threads": None, "gpus": None, "runs_per_gpu": 1}
    return LocalJobs(Local(**{**values, **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("visible", "changes", "slots", "threads"),
    [
        ("", {}, 4, 2),
        ("", {"processes": 2}, 2, 4),
        ("", {"threads": 3}, 4, 3),
        ("0,1", {}, 2, 4),
        ("2,5", {"runs_per_gpu": 3}, 6, 1),
        ("0", {"gpus": []}, 4, 2),
        ("-1", {}, 4, 2),
        ("1,-1,0", {}, 1, 8),
    ],
)
def test_cores_and_gpus_are_shared_out(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    changes: dict[str, object],
    slots: int,
    threads: int,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    launcher = local(**changes)
    launcher.check()
    assert (launcher.slots, launcher.threads) == (slots, threads)


def test_gpus_that_have_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES=MIG-1"):
        visible_gpus()


def test_gpus_are_counted_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: X (UUID: a)'\necho 'GPU 1: X (UUID: b)'\n")
    program.chmod(0o755)
    assert visible_gpus() == [0, 1]


@pytest.mark.slow
def test_detach_returns_at_once_and_status_knows(tmp_path: Path) -> None:
    finish(sweep(tmp_path, "epochs=3", "seed=0", "--detach"))
    assert states(tmp_path)[0] in ("queued", "running")
    wait_for_states(tmp_path, "done")
    _, err = finish(sweep(tmp_path, "seed=x", "--detach"), 2)
    assert err.startswith("error: seed=x: ")
