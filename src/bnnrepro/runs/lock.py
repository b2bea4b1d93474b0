"""Folder locks that work across hosts: numbered lock files, each with its owner's name.

The file ``.lock.<n>`` of the highest number is the lock; it is made by linking a whole file to a
name that must be free, which is atomic on network file systems too. A process that finds the owner
dead makes ``.lock.<n + 1>``. The owner checks before every write that it still holds the lock
(``atomic.fenced``): one that was wrongly taken for dead writes nothing more.

Whether an owner lives is decided, in this order, by

1. SLURM's restart count: a requeued job has its predecessor's number, and takes over from it;
2. process number and start mark, if it is on this machine and its processes are visible here;
3. squeue, for the process of a job;
4. the lock's age by the file system's clock: its owner touches it every ``HEARTBEAT`` seconds, and
   is dead if a file made now is ``STALE`` seconds younger.

A lock that cannot be read, as a power cut may leave it, counts as dead if it is older than this
machine's boot, or else by its age: a living owner writes nothing, since it cannot read it either.
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
_HELD: set[str] = set()  # tokens of the locks that this process holds


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

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
    """Another process that lives, or may live, holds the lock; ``owner`` is None if unknown."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__(f"held by {owner or 'another process'}")
        self.owner = owner


class LostError(Exception):
    """The lock was taken over by another process, which took this one for dead."""


@contextlib.contextmanager
def hold(folder: Path, above: int = 0) -> Iterator[None]:
    """Hold a folder's lock; once the lock is lost, all atomic writes in the folder raise.

    Temporary files of earlier owners are removed first.

    Args:
        folder: it exists.
        above: the lock's number is higher than this; a run passes the number of its attempts.

    Raises:
        HeldError: another process has it.
        LostError: from any atomic write, after another process took over.
    """
    mine = _myself()
    _HELD.add(mine.token)
    try:
        file = _acquire(folder, mine, above)
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
        _HELD.discard(mine.token)


def holder(folder: Path) -> Owner | None:
    """Return the living owner of a folder's lock, None if there is none; changes nothing.

    Raises:
        HeldError: there is an owner, who may live and whose name cannot be read.
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
    """Return the seconds since the owner's last heartbeat, None without a lock.

    The clock is the file server's, read from a file made now.
    """
    top = max(_numbers(folder), default=None)
    return None if top is None else _age(folder, _file(folder, top))


def _acquire(folder: Path, mine: Owner, above: int) -> Path:
    for _ in range(100):
        owners = _owners(folder)
        number = max(owners, default=above) + 1
        if owners:
            owner = owners[number - 1]
            if _alive(folder, _file(folder, number - 1), owner):
                raise HeldError(owner)
        file = _file(folder, number)
        if not _create(file, mine):
            continue
        now = _owners(folder)
        now.pop(number, None)
        if now != owners:  # several saw the same dead owner, or this process slept meanwhile
            file.unlink(missing_ok=True)
            continue
        for lower in owners:
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
        same = owner.job is not None and job == (slurm_queue.job_number(), slurm_queue.job_name())
        if same and owner.restarts < slurm_queue.restarts():
            return False
        if owner.host == process.host() and owner.namespace == _namespace():
            if owner.pid == os.getpid():
                return owner.token in _HELD
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
        with atomic.anonymous_file(folder) as probe:
            probe.write(b"0")
            probe.flush()
            return os.fstat(probe.fileno()).st_mtime - touched
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return time.time() - touched  # without write permission nothing is taken over
        return 0.0  # a full disk: whether the owner lives is unknown


def _create(file: Path, mine: Owner) -> bool:
    """Create the lock file with its content, or return False if it exists already."""
    content = json.dumps(asdict(mine)).encode()
    temporary = file.with_name(atomic.temporary_name(file, _number(file)))
    try:
        _write(temporary, content)
        os.link(temporary, file)
    except (FileExistsError, FileNotFoundError):  # not found: a later owner has removed it
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
    file.chmod(0o644)  # readable for other users of a shared folder


def _read(file: Path) -> Owner | None:
    try:
        content = json.loads(reading.text(file))
        return Owner(**{field.name: content[field.name] for field in fields(Owner)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _owners(folder: Path) -> dict[int, Owner | None]:
    return {number: _read(_file(folder, number)) for number in _numbers(folder)}


def _numbers(folder: Path) -> list[int]:
    matches = (_NAME.fullmatch(file.name) for file in folder.iterdir())
    return [int(match[1]) for match in matches if match]


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
    """Return the id of this process namespace; a container on the same host has another."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return None
