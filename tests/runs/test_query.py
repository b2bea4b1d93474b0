"""Sets of runs: found by place and filter, seen with the processes and jobs that live."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bnnrepro.cli.runs import main
from bnnrepro.runs import lock, process, slurm_queue, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.liveness import STATES, queue_of
from bnnrepro.runs.metrics import write_metrics
from bnnrepro.runs.query import find, parse
from bnnrepro.runs.status import Status
from bnnrepro.runs.status_table import MAX_ROWS, overview

from .test_result import RESULT

SQUEUE = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
*--jobs=*)
echo "17_0|RUNNING|None|bnnrepro-a"
echo "17_1|PENDING|Priority|bnnrepro-a"
echo "17_2|PENDING|BeginTime|bnnrepro-a";;
*--name=*)
echo "18_0|PENDING|Resources|bnnrepro-b";;
esac
"""
FAR = {"host": "another." + process.host(), "pid": 77, "process": "x-1"}


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that knows four jobs; the path of its log."""
    program, log = tmp_path / "bin" / "squeue", tmp_path / "squeue.log"
    program.parent.mkdir()
    program.write_text(SQUEUE.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def run_at(root: Path, number: int, state: str, **more: object) -> RunFolder:
    path = root / "digits" / "mlp" / ("ste" if number % 2 else "bop") / f"{number:010x}"
    path.mkdir(parents=True)
    folder = RunFolder(path)
    content = {**asdict(Status(state, epoch=2, epochs=9)), **more}
    folder.status.write_text(json.dumps(content))
    folder.config.write_text(f"seed: {number}\nmethod:\n  lr: 0.0001\n")
    if state == "done":
        result_at(folder)
    return folder


def result_at(folder: RunFolder, **changes: object) -> None:
    """Write a whole result into a run's folder, or one with other values."""
    method = folder.path.parent.name
    content = {**RESULT, "signature": folder.path.name, "method": method, **changes}
    folder.result.write_text(json.dumps(content))


def beaten(folder: RunFolder, seconds_ago: float) -> None:
    """Give the folder a lock of another host, last touched then."""
    owner = replace(lock._myself(), host="another", job=None)
    file = folder.path / ".lock.1"
    file.write_text(json.dumps(asdict(owner)))
    then = time.time() - seconds_ago
    os.utime(file, (then, then))


def test_out_is_a_folder_also_as_a_setting(
    tmp_path: Path, squeue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_at(tmp_path / "runs", 1, "done")
    assert main(["status", f"out={tmp_path / 'runs'}"]) == 0
    assert "1 run, done 1" in capsys.readouterr().out
    assert main(["status", f"out={tmp_path / 'nowhere'}"]) == 2
    assert "no such folder of runs" in capsys.readouterr().err


@pytest.fixture
def store(tmp_path: Path, squeue: Path) -> dict[str, str]:
    """One run of each kind; what is expected of it by its folder's name."""
    root, here = tmp_path / "multirun", {"host": process.host(), "pid": os.getpid()}
    here["process"] = process.start_mark(os.getpid())
    dead = {**here, "pid": 2**22 - 1}
    a, old = {"submission": "bnnrepro-a"}, {"submission": "bnnrepro-old"}
    cases: list[tuple[str, str, dict[str, object]]] = [
        ("done", "done", {}),
        ("running", "running", here),
        ("stale", "running", dead),
        ("queued", "running", {**a, **dead, "job": "17_1"}),  # died, and SLURM starts it again
        ("running", "running", {**a, **FAR, "job": "17_0"}),
        ("stale", "running", {**a, **FAR, "job": "17_7"}),
        ("stale", "running", FAR),
        ("queued", "submitted", {**a, "job": "17_1"}),
        (
            "queued",
            "submitted",
            {**a, "job": "17_0"},
        ),  # a job whose turn it is not yet within a pack
        ("stale", "submitted", {**a, "job": "17_9"}),
        ("queued", "submitted", {"submission": "bnnrepro-b"}),  # its launcher was killed
        ("stale", "submitted", {"submission": "bnnrepro-c"}),
        ("queued", "submitted", {**here, "submission": "local-1"}),
        ("stale", "submitted", {**dead, "submission": "local-1"}),
        ("interrupted", "interrupted", {}),
        ("queued", "interrupted", {**a, "job": "17_2"}),  # a time limit: the job is to start again
        ("failed", "failed", {"error": "the loss is nan"}),
        ("failed", "failed", {**a, "job": "17_0", "error": "in a pack that goes on"}),
        ("stale", "submitted", {**old, "job": "17_1"}),  # the number is another job's by now
        ("stale", "running", {**old, **FAR, "job": "17_0"}),
        ("interrupted", "interrupted", {**old, "job": "17_2"}),
    ]
    expected = {}
    for number, (outlook, state, more) in enumerate(cases):
        expected[run_at(root, number, state, **more).path.name] = outlook
    for number, outlook in ((100, "running"), (101, "stale")):
        folder = run_at(root, number, "running", **FAR)
        beaten(folder, 0 if outlook == "running" else 2 * lock.STALE)
        expected[folder.path.name] = outlook
    damaged = run_at(root, 102, "done")
    damaged.status.write_text("{")
    damaged.result.unlink()
    expected[damaged.path.name] = "damaged"
    lost = run_at(root, 103, "done")
    lost.result.unlink()
    expected[lost.path.name] = "damaged"
    refused = run_at(root, 105, "failed")
    refused.status.unlink()
    refused.status.symlink_to(refused.status)  # as another user's file, for the superuser too
    expected[refused.path.name] = "unreadable"
    empty = run_at(root, 104, "done")
    for file in empty.path.iterdir():
        file.unlink()
    expected[empty.path.name] = "new"
    return expected


def test_each_run_is_what_it_must_be(tmp_path: Path, store: dict[str, str], squeue: Path) -> None:
    runs, foreign = find([tmp_path / "multirun"], {})
    assert {run.folder.path.name: run.state.name for run in runs} == store
    assert set(store.values()) == set(STATES)
    assert foreign == []
    asked = squeue.read_text().splitlines()
    assert len(asked) == 2, "SLURM is asked once for all numbers, and once for all names"


@pytest.mark.usefixtures("squeue")
@pytest.mark.parametrize(
    "process_of_it",
    [
        {"host": process.host(), "pid": os.getpid()},  # goes on with the next run of its job
        {**FAR, "job": "17_0", "submission": "bnnrepro-a"},
        {"host": process.host(), "pid": 2**22 - 1, "job": "17_1", "submission": "bnnrepro-a"},
        FAR,
    ],
)
def test_a_whole_result_is_done_although_its_process_was_killed_before_it_could_say_so(
    tmp_path: Path, process_of_it: dict[str, object]
) -> None:
    folder = run_at(tmp_path / "multirun", 1, "running", **process_of_it)
    beaten(folder, 0)
    result_at(folder)
    (run,), _ = find([tmp_path / "multirun"], {})
    assert run.state.name == "done"
    folder.result.write_text("{")  # and one that is being made anew is not
    (run,), _ = find([tmp_path / "multirun"], {})
    assert run.state.name in ("running", "queued")


def test_without_squeue_what_was_submitted_is_taken_for_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run_at(tmp_path / "multirun", 1, "submitted", job="17_1")
    run_at(tmp_path / "multirun", 2, "running", **FAR, job="17_1")
    (first, second), _ = find([tmp_path / "multirun"], {})
    assert {run.state.name for run in (first, second)} == {"queued", "stale"}
    assert slurm_queue.queue(["17_1"]) is None


def test_a_number_that_slurm_forgot_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("forgot", "Invalid job id specified"), ("down", "Unable to contact")):
        program = tmp_path / name / "squeue"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho 'slurm_load_jobs error: {text}' >&2; exit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/bin")
        assert slurm_queue.queue(["17"]) == ({} if name == "forgot" else None)


def test_filters_and_places(tmp_path: Path, store: dict[str, str]) -> None:
    root = tmp_path / "multirun"

    def names(*words: str) -> set[str]:
        return {run.folder.path.name for run in find(*parse(words, str(root)))[0]}

    assert names() == set(store)
    assert names("method=ste") == {name for name in store if int(name, 16) % 2}
    assert names("method=ste,bop", "dataset=digits", "model=mlp") == set(store)
    assert names("dataset=mnist") == set()
    assert names("state=stale") == {name for name, state in store.items() if state == "stale"}
    assert names("seed=3") == {f"{3:010x}"}
    assert names("seed=3,4,x") == {f"{3:010x}", f"{4:010x}"}
    assert f"{3:010x}" in names("method.lr=1e-4") & names("method.lr=0.0001")
    assert names("sweep=local-1") == {f"{12:010x}", f"{13:010x}"}
    assert names(str(root / "digits" / "mlp" / "bop" / f"{4:010x}")) == {f"{4:010x}"}
    assert names(str(root / "digits" / "mlp" / "ste")) == names("method=ste")
    record = {"jobs": [{"job": "1", "runs": [str(root / "digits/mlp/ste" / f"{5:010x}")]}]}
    sweep = root / ".hydra" / "bnnrepro-x"
    sweep.mkdir(parents=True)
    (sweep / "submission.json").write_text(json.dumps(record))
    assert names(str(sweep)) == {f"{5:010x}"}


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["nowhere"], ["folder=nowhere", "no such folder"]),
        (["state=finished"], ["state=finished", "done, running"]),
        (["broken"], ["sweep=broken", "submission.json cannot be read"]),
    ],
)
def test_bad_words_are_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    fragments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken").mkdir()
    Path("broken", "submission.json").write_text("{")
    Path("multirun").mkdir()
    assert main(["status", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(text in error for text in fragments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seconds": "long"}, "result.json: 'seconds' is 'long'"),
        ({"signature": "f" * 10}, "result.json: it is of another run, by its signature"),
    ],
)
def test_a_result_of_wrong_content_is_damaged_and_tried_again(
    changes: dict[str, object],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result_at(run_at(tmp_path / "multirun", 1, "done"), **changes)
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 run, damaged 1\n")
    assert words in text
    assert "; the next start writes it again" in text


def test_foreign_folders_are_named_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_at(tmp_path, 1, "done")
    (tmp_path / "digits" / "mlp" / "ste" / "my notes").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "digits" / "README").touch()
    assert main(["status", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "1 run, done 1" in text
    assert "ignored, no run of bnnrepro" in text
    assert "my notes" in text


def test_the_overview_says_how_far_and_why(tmp_path: Path, store: dict[str, str]) -> None:
    runs, foreign = find([tmp_path / "multirun"], {})
    running = next(run for run in runs if run.state.name == "running")
    rows = [{"epoch": n, "seconds": 10.0} for n in range(1, 8)]
    write_metrics(running.folder.metrics, rows)
    text = overview(runs, foreign)
    assert text.startswith(f"{len(store)} runs, done 1, running 3, queued 6, ")
    assert "epoch 2/9, left 0:01:10" in text
    odd = [{"epoch": 8, "seconds": value} for value in (math.nan, math.inf, -1.0, 0.0)]
    write_metrics(running.folder.metrics, [*rows[-1:], *odd])
    assert "epoch 2/9, left 0:01:10" in overview(runs, foreign)
    assert "the loss is nan" in text
    assert "job 17_1: Priority" in text
    assert "squeue" not in text
    assert "done " not in text.splitlines()[1]
    assert len(overview(runs, show_all=True).splitlines()) == 1 + len(store)


def test_many_rows_of_a_state_are_shortened(tmp_path: Path) -> None:
    for number in range(MAX_ROWS + 5):
        run_at(tmp_path, number, "interrupted")
    text = overview(*find([tmp_path], {}))
    assert "… 5 more (--all)" in text
    assert len(text.splitlines()) == 1 + MAX_ROWS + 1


COUNT_OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from bnnrepro.cli.runs import main
main(["status"])
print(sum("/mlp/" in path for path in opened), file=sys.stderr)
"""


@pytest.mark.slow
def test_status_of_ten_thousand_runs_opens_two_small_files_of_each_and_no_torch(
    tmp_path: Path, squeue: Path
) -> None:
    states = ["done"] * 70 + ["submitted"] * 20 + ["running"] * 5 + ["failed"] * 5
    for number in range(10_000):
        state = states[number % 100]
        run_at(tmp_path / "multirun", number, state, job=f"17_{number % 5}")
    command = [sys.executable, "-X", "importtime", "-c", COUNT_OPENED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("10,000 runs, done 7,000, ")
    assert 17_000 <= int(done.stderr.splitlines()[-1]) < 20_000
    assert len(squeue.read_text().splitlines()) == 1
    assert "torch" not in done.stderr
    assert "hydra" not in done.stderr


def test_watch_looks_again(tmp_path: Path) -> None:
    run_at(tmp_path / "multirun", 1, "interrupted")
    command = [sys.executable, "-m", "bnnrepro", "status", "--watch", "0.2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(4)]
        status.write(RunFolder(tmp_path / "multirun/digits/mlp/ste" / f"{1:010x}"), "failed")
        more = [child.stdout.readline() for _ in range(6)]
        child.kill()
    assert sum("interrupted 1" in line for line in lines) == 2
    assert any("failed 1" in line for line in more)


def test_nothing_is_asked_of_slurm_for_runs_that_need_no_answer(squeue: Path) -> None:
    assert queue_of([Status("done", job="17"), Status("failed", job="17")]) == {}
    assert not squeue.exists()
