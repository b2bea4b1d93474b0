"""Files that are replaced whole or not at all, whatever happens to the writer.

The new content goes to a temporary file in the same folder, reaches the disk, and only then takes
the name. A reader sees the old file or the new one; a full disk or a killed process leaves the
old one untouched.

A folder that has one owner at a time is ``fenced``: the owner is checked before every replacement.
A process that freezes between check and replacement, and wakes after another has taken over, must
not replace the other's files. It cannot: temporary files bear the owner's number, the next owner
removes those of lower numbers before it reads or writes anything else, and a replacement without
its temporary file fails.
"""

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from bnnrepro.runs import process, reading

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers to one."""


@dataclass(frozen=True)
class _Fence:
    number: int
    check: Callable[[], None]


_NO_FENCE = _Fence(0, lambda: None)
_COUNT = itertools.count()
_FENCES: dict[Path, _Fence] = {}
_TEMPORARY = re.compile(
    r"\..+~(?P<host>[^~]+)~(?P<pid>\d+)~(?P<mark>[^~]*)~(?P<number>\d+)~\w+\.tmp"
)


@contextlib.contextmanager
def fenced(folder: Path, number: int, check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before anything in or below ``folder`` is replaced, and let it raise.

    Args:
        folder: it exists.
        number: of its owner, > 0 and higher than those of all owners before.
        check: raises if the owner is not this process any more.
    """
    folder = folder.resolve()
    outer = _FENCES.get(folder)
    _FENCES[folder] = _Fence(number, check)
    try:
        yield
    finally:
        if outer is None:
            del _FENCES[folder]
        else:
            _FENCES[folder] = outer


def check_fence(path: Path) -> None:
    """Raise what the fence around a file or folder raises, if there is one."""
    _fence(path).check()


@contextlib.contextmanager
def replacing(path: str | Path, keep_as: Path | None = None) -> Iterator[BinaryIO]:
    """Give a binary file to write to; it takes the place of ``path`` when the block ends.

    Where the folder is ``fenced``, its check is made before the block and before the replacement.
    On any exception, in the block or in reaching the disk, the temporary file is removed, ``path``
    stays as it was, and the exception goes on.

    Args:
        path: what is replaced, or made.
        keep_as: another name for the file that was there; at no moment is there none at ``path``.
    """
    path = Path(path)
    check_fence(path)
    temporary = path.with_name(temporary_name(path))
    try:
        with temporary.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        if keep_as is not None and path.exists():
            _copy(path, keep_as)
        check_fence(path)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            check_fence(path)  # the next owner has removed the temporary file
        raise
    sync_folder(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the content of ``path`` by ``data``, atomically."""
    with replacing(path) as handle:
        handle.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Replace the content of ``path`` by ``text`` in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> None:
    """Replace the content of ``path`` by ``value`` as indented JSON, atomically.

    A number that is not finite stands as ``NaN`` or ``Infinity``, as Python's ``json`` reads it
    back: the loss of a run that diverged is a result too.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files in and below ``folder`` that nobody will finish.

    Their writers are dead, or have lost the folder to its present owner, this process. Whether
    another machine's writers live cannot be known where the folder is not this process's.
    """
    fence = _fence(folder)

    def is_left(file: Path) -> bool:
        found = _TEMPORARY.fullmatch(file.name)
        if found is None:
            return False
        if 0 < int(found["number"]) < fence.number:
            return True
        here = found["host"] == process.host()
        return here and not process.is_alive(int(found["pid"]), found["mark"] or None)

    return [file for file in sorted(folder.rglob(".*.tmp")) if is_left(file)]


def remove_leftovers(folder: Path) -> None:
    """Remove what ``leftovers`` returns."""
    found = leftovers(folder)
    check_fence(folder)  # after the look: what a later owner writes is not among them
    for file in found:
        file.unlink(missing_ok=True)


def temporary_name(path: Path, number: int | None = None) -> str:
    """Return a name for a file that is to become ``path``, with its owner's number."""
    pid = os.getpid()
    mark = process.start_mark(pid) or ""
    number = _fence(path).number if number is None else number
    return f".{path.name}~{process.host()}~{pid}~{mark}~{number}~{next(_COUNT)}.tmp"


def nameless_file(folder: Path) -> IO[bytes]:
    """Return a file in ``folder`` that is gone when it is closed.

    Where the file system cannot make one without a name, a kill leaves one of ``leftovers``.
    """
    prefix = temporary_name(folder / "nameless").removesuffix(".tmp")
    return tempfile.TemporaryFile(dir=folder, prefix=prefix, suffix=".tmp")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no such call for folders; the file's content is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _copy(path: Path, name: Path) -> None:
    """Give a file a second name, which another file may have had; link it where that is possible.

    It is not moved: a process that wakes after a takeover would move the new owner's file.
    """
    temporary = name.with_name(temporary_name(name))
    try:
        os.link(path, temporary)
        check_fence(name)
        temporary.replace(name)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with replacing(name) as copy, reading.opened(path) as file:
            shutil.copyfileobj(file, copy)
    finally:
        temporary.unlink(missing_ok=True)  # two names of one file already: nothing was replaced


def _fence(path: Path) -> _Fence:
    parent = path.parent.resolve()
    around = (path.resolve(), parent, *parent.parents)
    return next((_FENCES[each] for each in around if each in _FENCES), _NO_FENCE)
