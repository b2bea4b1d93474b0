"""Files that are replaced whole or not at all, whatever happens to the writer.

The new content goes to a temporary file in the same folder, reaches the disk, and only then takes
the name. A reader sees the old file or the new one; a full disk or a killed process leaves the
old one untouched.
"""

import contextlib
import errno
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bnnrepro.store import process

_COUNT = itertools.count()
_FENCES: dict[Path, Callable[[], None]] = {}
_TEMPORARY = re.compile(r"\..+~(?P<host>[^~]+)~(?P<pid>\d+)~(?P<mark>[^~]*)~\d+\.tmp")


@contextlib.contextmanager
def fenced(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before anything in ``folder`` is replaced; what it raises prevents that."""
    outer = _FENCES.get(folder)
    _FENCES[folder] = check
    try:
        yield
    finally:
        if outer is None:
            del _FENCES[folder]
        else:
            _FENCES[folder] = outer


def check_fence(folder: Path) -> None:
    """Raise what the folder's fence raises, if it has one."""
    if folder in _FENCES:
        _FENCES[folder]()


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file to write to; it takes the place of ``path`` when the block ends.

    Where the folder is ``fenced``, its check is made before the block and before the replacement.
    On any exception, in the block or in reaching the disk, the temporary file is removed, ``path``
    stays as it was, and the exception goes on.
    """
    path = Path(path)
    check_fence(path.parent)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with temporary.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        check_fence(path.parent)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


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


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove from ``folder`` the temporary files whose writers are dead; return their paths.

    Another machine's are left alone: whether their writers live cannot be known from here.
    """
    removed = []
    for file in sorted(Path(folder).iterdir()):
        found = _TEMPORARY.fullmatch(file.name)
        if found is None or found["host"] != process.host():
            continue
        if not process.is_alive(int(found["pid"]), found["mark"] or None):
            file.unlink(missing_ok=True)
            removed.append(file)
    return removed


def _temporary_name(name: str) -> str:
    pid = os.getpid()
    mark = process.start_mark(pid) or ""
    return f".{name}~{process.host()}~{pid}~{mark}~{next(_COUNT)}.tmp"


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last through a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no such call for folders; the file's content is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
