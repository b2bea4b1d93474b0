"""One owner a folder, on any mix of hosts: numbered lock files, each with its owner's name.

The file ``.lock.<n>`` of the highest number is the lock; it is made by linking a whole file to a
name that must be free, which is atomic on network file systems too. Who finds the owner dead makes
``.lock.<n + 1>``. The owner asks before every write whether the lock is still its own
(``atomic.fenced``): a process that was taken for dead, and is not, leaves without a trace.

Whether an owner lives is asked, in this order, of

1. SLURM's restart count: a requeued job has its predecessor's number, and takes over from it;
2. this machine: process number and start mark, where both see the same processes;
3. squeue, for the process of a job;
4. the lock's age, by the clock of the file system alone: its owner touches it every ``HEARTBEAT``
   seconds, and a file touched now is ``STALE`` seconds younger than that of a dead one.

A lock that cannot be read, as a power cut may leave it, is older than this machine's boot, or else
judged by its age too: should its owner live, it writes nothing, since it cannot read it either.
"""

import contextlib
import errno
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bnnrepro.runs import atomic, process, reading, slurm_queue

HEARTBEAT = 20.0
STALE = 300.0

_NAME = re.compile(r"\.lock\.(\d+)")
_OURS: set[str] = set()  # tokens that this process holds


@dataclass(frozen=True)
class Owner:
    """Who holds a lock."""

    host: str
    pid: int
    process: str | None
    namespace: str | None
    job: str | None
    job_name: str | None
    restarts: int
    token: str

    def __str__(self) -> str:
        job = f" (job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


class HeldError(Exception):
    """Another process that lives, or may live, holds the lock; ``owner`` where it is known."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(f"held by {owner or 'another process'}")
        self.owner = owner


class LostError(Exception):
    """The lock was taken over by another process, which took this one for dead."""


@contextlib.contextmanager
def hold(folder: Path, least: int = 0) -> Iterator[None]:
    """Hold a folder's lock, and refuse all atomic writes in it once the lock is lost.

    Temporary files that earlier owners left are removed first.

    Args:
        folder: it exists.
        least: the lock's number is higher; a run gives the number of its attempts.

    Raises:
        HeldError: another process has it.
        LostError: from any atomic write, after another process took over.
    """
    mine = _myself()
    _OURS.add(mine.token)
    try:
        file = _acquire(folder, mine, least)
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(file, ended), daemon=True)
        beat.start()
        try:
            with atomic.fenced(folder, _number(file), lambda: _check(file, mine)):
                atomic.remove_leftovers(folder)
                yield
        finally:
            ended.set()
            _release(file, mine)
    finally:
        _OURS.discard(mine.token)


def holder(folder: Path) -> Owner | None:
    """Return the living owner of a folder's lock, None if there is none; asks, changes nothing.

    Raises:
        HeldError: there is an owner, who may live and cannot be read.
    """
    top = max(_numbers(folder), default=None)
    if top is None:
        return None
    owner = _read(_file(folder, top))
    if not _alive(folder, _file(folder, top), owner):
        return None
    if owner is None:
        raise HeldError(None)
    return owner


def age(folder: Path) -> float | None:
    """Return the seconds since the owner's last sign of life, None without a lock.

    By the clock of the machine that keeps the files, which a file made now tells.
    """
    top = max(_numbers(folder), default=None)
    return None if top is None else _age(folder, _file(folder, top))


def _acquire(folder: Path, mine: Owner, least: int) -> Path:
    for _ in range(100):
        found = {number: _read(_file(folder, number)) for number in _numbers(folder)}
        number = max(found, default=least) + 1
        if found:
            owner = found[number - 1]
            if _alive(folder, _file(folder, number - 1), owner):
                raise HeldError(owner)
        file = _file(folder, number)
        if not _create(file, mine):
            continue
        others = {each: _read(_file(folder, each)) for each in _numbers(folder) if each != number}
        if others != found:  # several saw the same dead owner, or this process slept meanwhile
            file.unlink(missing_ok=True)
            continue
        for lower in found:
            _file(folder, lower).unlink(missing_ok=True)
        return file
    raise HeldError(None)


def _release(file: Path, mine: Owner) -> None:
    owner = _read(file)
    if owner is not None and owner.token == mine.token:
        file.unlink(missing_ok=True)


def _check(file: Path, mine: Owner) -> None:
    owner, higher = _read(file), _file(file.parent, _number(file) + 1)
    if owner is None or owner.token != mine.token or higher.exists():
        heir = _read(higher) or owner
        who = f" by {heir}" if heir is not None and heir.token != mine.token else ""
        raise LostError(f"{file.parent}: was taken over{who}; this process leaves it alone")


def _beat(file: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(file)


def _alive(folder: Path, file: Path, owner: Owner | None) -> bool:
    if owner is not None:
        job = (owner.job, owner.job_name)
        ours = owner.job is not None and job == (slurm_queue.job_number(), slurm_queue.job_name())
        if ours and owner.restarts < slurm_queue.restarts():
            return False
        if owner.host == process.host() and owner.namespace == _namespace():
            if owner.pid == os.getpid():
                return owner.token in _OURS
            return process.is_alive(owner.pid, owner.process)
        if owner.job is not None:
            queue = slurm_queue.queue([owner.job])
            if queue is not None:
                return job in queue
    seconds = _age(folder, file)
    return seconds is not None and seconds < (STALE if owner else min(STALE, _seconds_since_boot()))


def _age(folder: Path, file: Path) -> float | None:
    try:
        touched = file.stat().st_mtime
    except OSError:
        return None  # released meanwhile
    try:
        with atomic.nameless_file(folder) as probe:
            probe.write(b"0")
            probe.flush()
            return os.fstat(probe.fileno()).st_mtime - touched
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return time.time() - touched  # who may not write only looks, and takes nothing over
        return 0.0  # a full disk: whether the owner lives cannot be known


def _create(file: Path, mine: Owner) -> bool:
    """Make the lock file with its content, or return False if it is there already."""
    content = json.dumps(asdict(mine)).encode()
    temporary = file.with_name(atomic.temporary_name(file, _number(file)))
    try:
        _write(temporary, content)
        os.link(temporary, file)
    except (FileExistsError, FileNotFoundError):  # not there: a later owner has removed it
        return False
    except OSError as error:
        if error.errno not in atomic.NO_LINKS:
            raise
        try:
            _write(file, content)  # for a moment it is empty
        except FileExistsError:
            return False
        except OSError:
            file.unlink(missing_ok=True)
            raise
    finally:
        temporary.unlink(missing_ok=True)
    atomic.sync_folder(file.parent)
    return True


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    file.chmod(0o644)  # another user of a shared folder must see whose it is


def _read(file: Path) -> Owner | None:
    try:
        content = json.loads(reading.text(file))
        return Owner(**{field.name: content[field.name] for field in fields(Owner)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _numbers(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(file.name) for file in folder.iterdir())
    return [int(match[1]) for match in found if match]


def _file(folder: Path, number: int) -> Path:
    return folder / f".lock.{number}"


def _number(file: Path) -> int:
    return int(file.name.rpartition(".")[2])


def _seconds_since_boot() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _myself() -> Owner:
    return Owner(
        host=process.host(),
        pid=os.getpid(),
        process=process.start_mark(os.getpid()),
        namespace=_namespace(),
        job=slurm_queue.job_number(),
        job_name=slurm_queue.job_name(),
        restarts=slurm_queue.restarts(),
        token=uuid.uuid4().hex,
    )


def _namespace() -> str | None:
    """Return what tells this set of process numbers from a container's on the same host."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return None
