import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bnnrepro.runs import process, slurm_queue, status
from bnnrepro.runs.layout import RunFolder

RUN = """
import sys, time
from pathlib import Path
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
status.write(RunFolder(Path(sys.argv[1])), sys.argv[2], epoch=3, epochs=5)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return RunFolder(tmp_path)


def start(folder: RunFolder, state: str = "running") -> subprocess.Popen[bytes]:
    """Start another process that writes its state and waits."""
    command = [sys.executable, "-c", RUN, str(folder.path), state]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"ready\n"
    return child


def forge(folder: RunFolder, **changes: object) -> status.Status:
    content = json.loads(folder.status.read_text())
    folder.status.write_text(json.dumps(content | changes))
    return status.read(folder)


def test_a_killed_run_reads_as_stale_and_a_living_one_does_not(folder: RunFolder) -> None:
    child = start(folder)
    try:
        living = status.read(folder)
        assert (living.effective, status.alive(living), living.pid) == ("running", True, child.pid)
    finally:
        child.kill()
    if Path("/proc/self/stat").exists():
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
        assert status.read(folder).effective == "stale"
    assert child.wait() == -signal.SIGKILL
    dead = status.read(folder)
    assert (dead.state, dead.effective, status.alive(dead)) == ("running", "stale", False)
    assert (dead.epoch, dead.epochs) == (3, 5)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGKILL, "was ended by SIGKILL; out of memory?"),
        (-(signal.SIGRTMIN + 5), f"was ended by signal {signal.SIGRTMIN + 5}"),
    ],
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert process.describe_exit(code) == words


@pytest.mark.parametrize("state", ["done", "failed", "interrupted", "submitted"])
def test_only_running_becomes_stale(folder: RunFolder, state: str) -> None:
    child = start(folder, state)
    child.kill()
    child.wait()
    assert status.read(folder).effective == state


def test_a_reused_process_number_is_not_taken_for_the_run(folder: RunFolder) -> None:
    if process.start_mark(os.getpid()) is None:
        pytest.skip("no /proc: start times are not known here")
    written = status.write(folder, "running")
    assert written.effective == "running"
    assert forge(folder, process="00000000-1").effective == "stale"


def test_a_process_of_another_machine_cannot_be_known(folder: RunFolder) -> None:
    status.write(folder, "running")
    far = forge(folder, host="another." + process.host(), pid=2**22 + 1)
    assert (status.alive(far), far.effective) == (None, "running")


def test_another_users_process_lives() -> None:
    if os.getuid() == 0:
        assert process.is_alive(1, None)
    else:
        with pytest.raises(PermissionError):
            os.kill(1, 0)
        assert process.is_alive(1, None)


def test_attempts_count_starts_and_the_first_start_is_kept(folder: RunFolder) -> None:
    assert status.write(folder, "submitted", epochs=9, job="17").attempt == 0
    assert status.read(folder).started is None
    assert status.write(folder, "running", epoch=0).attempt == 1
    assert status.write(folder, "running", epoch=1).attempt == 1
    failed = status.write(folder, "failed", error="disk full")
    assert (failed.attempt, failed.epoch, failed.epochs) == (1, 1, 9)
    old = forge(folder, started="2020-01-01T00:00:00+00:00")
    again = status.write(folder, "running")
    assert (again.attempt, again.started, again.error) == (2, old.started, None)
    child = start(folder)  # another process takes over what still says "running"
    child.kill()
    child.wait()
    taken = status.read(folder)
    assert (taken.attempt, taken.started) == (3, old.started)
    assert status.write(folder, "running").attempt == 4
    done = status.write(folder, "done")
    assert (done.attempt, done.pid) == (4, os.getpid())
    assert done == status.read(folder)


def test_times_are_utc(folder: RunFolder) -> None:
    written = status.write(folder, "running")
    assert written.updated is not None
    updated = datetime.fromisoformat(written.updated)
    assert updated.utcoffset() == timedelta(0)
    assert abs(datetime.now(updated.tzinfo) - updated) < timedelta(minutes=1)
    assert written.started == written.updated


def test_a_submitted_run_is_nobodys_process(folder: RunFolder) -> None:
    written = status.write(folder, "submitted", job="17_3")
    assert (written.host, written.pid, written.job) == (None, None, "17_3")
    assert status.alive(written) is None


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "20"}, "20"),
        (
            {"SLURM_JOB_ID": "22", "SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "0"},
            "20_0",
        ),
    ],
)
def test_the_job_is_the_one_that_the_process_was_started_as(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], job: str | None
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, **variables})
    inside = status.write(folder, "running")  # as in an allocation
    assert (inside.job, inside.submission) == (None, None)
    slurm_queue.enter_job("bnnrepro-a")
    written = status.write(folder, "running")
    assert (written.job, written.submission) == (job, "bnnrepro-a" if job else None)
    assert status.write(folder, "done").job == job


def test_an_unknown_state_is_refused_and_nothing_is_written(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="state=finished: must be one of submitted, running"):
        status.write(folder, "finished")
    assert not folder.status.exists()


def test_no_file_is_absent(folder: RunFolder) -> None:
    assert status.read(folder).effective == "absent"
    assert status.read(RunFolder(folder.path / "nowhere")).state == "absent"


GOOD = asdict(status.Status("running", pid=5, host="h", attempt=1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"{}",
        b"[" * 200_000,
        *(
            json.dumps(GOOD | change).encode()
            for change in (
                {"state": "finished"},
                {"state": ["running"]},
                {"state": "absent"},
                {"pid": "5"},
                {"pid": -1},
                {"pid": 0},
                {"pid": True},
                {"epoch": 1.5},
                {"attempt": None},
                {"started": 3},
                {"host": {}},
            )
        ),
    ],
    ids=lambda content: repr(content[:60]),
)
def test_a_damaged_file_reads_as_damaged_and_can_be_replaced(
    folder: RunFolder, content: bytes
) -> None:
    folder.status.write_bytes(content)
    assert status.read(folder).effective == "damaged"
    assert status.write(folder, "running").attempt == 1
    assert status.read(folder).state == "running"


def test_every_cut_of_a_whole_file_reads_as_damaged(folder: RunFolder) -> None:
    status.write(folder, "running", epoch=1, epochs=2)
    whole = folder.status.read_bytes()
    for length in range(len(whole.rstrip())):
        folder.status.write_bytes(whole[:length])
        assert status.read(folder).state == "damaged"


def test_a_folder_in_the_files_place_and_absurd_numbers_raise_nothing(folder: RunFolder) -> None:
    folder.status.mkdir()
    assert status.read(folder).state == "damaged"
    assert process.is_alive(10**30, None) is False


def test_later_versions_may_add_keys(folder: RunFolder) -> None:
    status.write(folder, "done")
    assert forge(folder, new_key=[1]).state == "done"
