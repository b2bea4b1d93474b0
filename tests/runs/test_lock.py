"""A folder has one owner, on whatever hosts; who lost it writes nothing more."""

import contextlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bnnrepro.runs import atomic, lock, process, slurm_queue

from ..file_operations import before_operation

HOLD = """
import sys, time
from pathlib import Path
from bnnrepro.runs import lock
with lock.hold(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)


def another(folder: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"holds\n"
    return child


def forge(folder: Path, number: int = 1, **changes: object) -> None:
    """Write a lock as another process would have; the owner's token is its own."""
    owner = replace(lock._myself(), **changes)
    (folder / f".lock.{number}").write_text(json.dumps(asdict(owner)))


def far(**changes: object) -> dict[str, object]:
    return {"host": "another." + process.host(), **changes}


def touched(folder: Path, seconds_ago: float, number: int = 1) -> None:
    then = time.time() - seconds_ago
    os.utime(folder / f".lock.{number}", (then, then))


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_living_process_keeps_its_lock_and_a_dead_one_loses_it(tmp_path: Path) -> None:
    child = another(tmp_path)
    holder = lock.holder(tmp_path)
    assert holder is not None
    assert holder.pid == child.pid
    with pytest.raises(lock.HeldError, match=f"process {child.pid} on"), lock.hold(tmp_path):
        pass
    child.kill()
    child.wait()
    assert lock.holder(tmp_path) is None
    with lock.hold(tmp_path):
        assert locks(tmp_path) == [".lock.2"]
    assert locks(tmp_path) == []


def test_of_many_that_see_a_dead_owner_one_gets_the_lock(tmp_path: Path) -> None:
    forks = multiprocessing.get_context("fork")
    forge(tmp_path, pid=2**22 - 1)
    gate, end, got = forks.Barrier(8), forks.Barrier(8), forks.Queue()

    def contend() -> None:
        gate.wait()
        try:
            with lock.hold(tmp_path):
                got.put("held")
                end.wait(60)  # for all the others to have tried
        except lock.HeldError:
            got.put("refused")
            end.wait(60)

    children = [forks.Process(target=contend) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sorted(got.get() for _ in children) == ["held"] + ["refused"] * 7
    assert locks(tmp_path) == []


def test_a_reused_process_number_holds_nothing(tmp_path: Path) -> None:
    forge(tmp_path, pid=os.getppid(), process="another-1")
    assert lock.holder(tmp_path) is None


def test_a_lock_of_this_very_process_that_it_does_not_know_is_a_leftover(tmp_path: Path) -> None:
    forge(tmp_path)
    with lock.hold(tmp_path), pytest.raises(lock.HeldError), lock.hold(tmp_path):
        pass


def test_another_hosts_lock_is_judged_by_its_age_on_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this host's clock decides nothing
    forge(tmp_path, **far())
    assert lock.holder(tmp_path) is not None
    monkeypatch.undo()
    touched(tmp_path, lock.STALE - 30)
    assert lock.holder(tmp_path) is not None
    touched(tmp_path, lock.STALE + 30)
    assert lock.holder(tmp_path) is None


def test_the_owner_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.05)
    with lock.hold(tmp_path):
        touched(tmp_path, 1000)
        until = time.monotonic() + 60
        while (lock.age(tmp_path) or 0) > 100:
            assert time.monotonic() < until, "never touched"
            time.sleep(0.01)
        assert lock.age(tmp_path) is not None


@pytest.mark.parametrize(
    ("queued", "held"),
    [([("17_3", "x")], True), ([("17_4", "x"), ("17_3", "a stranger's")], False), ([], False)],
)
def test_squeue_decides_on_the_process_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: list[slurm_queue.JobKey], held: bool
) -> None:
    jobs = {
        key: slurm_queue.SlurmJob(str(key[0]), "RUNNING", "None", str(key[1])) for key in queued
    }
    monkeypatch.setattr(slurm_queue, "queue", lambda numbers: jobs)
    forge(tmp_path, **far(job="17_3", job_name="x"))
    touched(tmp_path, 0 if not held else 10 * lock.STALE)
    assert (lock.holder(tmp_path) is not None) is held


def test_without_squeue_the_age_decides_on_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "queue", lambda numbers: None)
    forge(tmp_path, **far(job="17"))
    assert lock.holder(tmp_path) is not None
    touched(tmp_path, 2 * lock.STALE)
    assert lock.holder(tmp_path) is None


def test_a_requeued_job_takes_over_from_itself_even_while_the_old_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BNNREPRO_JOB", "17"), ("BNNREPRO_JOB_NAME", "x")):
        monkeypatch.setenv(name, value)
    with lock.hold(tmp_path):
        atomic.write_text(tmp_path / "a", "old")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        with lock.hold(tmp_path, above=9):  # the same process stands for the restarted one
            pass
        with pytest.raises(lock.LostError, match="was taken over"):
            atomic.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert locks(tmp_path) == ["a"]


def test_who_lost_the_lock_writes_nothing_and_leaves_the_heirs_lock(tmp_path: Path) -> None:
    with lock.hold(tmp_path, above=4):
        atomic.write_text(tmp_path / "status", "mine")
        forge(tmp_path, 6)
        with pytest.raises(lock.LostError, match="taken over by process"):
            atomic.write_text(tmp_path / "status", "again")
        assert (tmp_path / "status").read_text() == "mine"
    assert locks(tmp_path) == [".lock.6", "status"]


def test_who_freezes_before_any_change_of_a_file_replaces_nothing_after_a_takeover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every operation in turn another machine takes over, writes, and is done."""
    here, taken = process.host(), 0

    def write(folder: Path, content: str) -> None:
        for _ in range(3):
            atomic.write_text(folder / "pictures" / "a", content)
            with atomic.replacing(folder / "newest", keep_as=folder / "previous") as handle:
                handle.write(content.encode())

    for number in itertools.count(1):
        folder = tmp_path / str(number)
        (folder / "pictures").mkdir(parents=True)

        def take_over(folder: Path = folder) -> None:
            nonlocal taken
            for file in folder.glob(".lock.*"):
                os.utime(file, (1, 1))
            monkeypatch.setattr(process, "host", lambda: f"another.{here}")
            with lock.hold(folder):
                write(folder, "the heir's")
            monkeypatch.setattr(process, "host", lambda: here)
            taken += 1

        def is_held(folder: Path = folder) -> bool:
            return any(folder.glob(".lock.*"))

        end = before_operation(folder, number, take_over, counts=is_held)
        with contextlib.suppress(lock.LostError), lock.hold(folder):
            write(folder, "the first one's")
        if end() < number:
            break
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert {file.name for file in files} == {"a", "newest", "previous"}
        assert {file.read_text() for file in files} == {"the heir's"}, f"operation {number}"
    assert taken >= 20


def test_a_removed_lock_is_a_lost_one(tmp_path: Path) -> None:
    with lock.hold(tmp_path):
        (tmp_path / ".lock.1").unlink()
        with pytest.raises(lock.LostError):
            atomic.write_text(tmp_path / "status", "mine")
    assert locks(tmp_path) == []


def test_a_lock_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves an empty one."""
    steps = []
    link, fsync = os.link, os.fsync

    def linked(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    def synced(handle: int) -> None:
        content = Path(f"/proc/self/fd/{handle}").resolve()
        steps.append("folder" if content.is_dir() else content.read_text()[:9])
        fsync(handle)

    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "fsync", synced)
    with lock.hold(tmp_path):
        assert steps == ['{"host": ', "link", "folder"]


def test_a_lock_from_before_the_boot_is_dead_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(tmp_path, process="00000000-1", pid=os.getppid())
    assert lock.holder(tmp_path) is None
    (tmp_path / ".lock.1").write_text("")
    monkeypatch.setattr(lock, "_seconds_since_boot", lambda: 30.0)
    touched(tmp_path, 20)
    with pytest.raises(lock.HeldError):
        lock.holder(tmp_path)
    touched(tmp_path, 40)
    assert lock.holder(tmp_path) is None
    forge(tmp_path, **far())
    touched(tmp_path, 40)
    assert lock.holder(tmp_path) is not None, "the boot of this machine tells nothing of another's"


def test_an_unreadable_lock_is_respected_while_it_is_fresh(tmp_path: Path) -> None:
    (tmp_path / ".lock.3").write_text("{")
    with pytest.raises(lock.HeldError, match="another process"), lock.hold(tmp_path):
        pass
    touched(tmp_path, 2 * lock.STALE, 3)
    with lock.hold(tmp_path):
        assert locks(tmp_path) == [".lock.4"]


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with lock.hold(tmp_path), pytest.raises(lock.HeldError), lock.hold(tmp_path):
        pass
    assert locks(tmp_path) == []
