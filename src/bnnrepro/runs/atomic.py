"""Replace files whole or not at all, whatever happens to the writer.

The new content goes to a temporary file in the same folder, reaches the disk, and only then takes
the name. A reader sees the old file or the new one; a full disk or a killed process leaves the
old one unchanged.

A folder that has one owner at a time is ``fenced``: the owner is checked before every replacement.
A process that freezes between check and replacement, and wakes after another has taken over, must
not replace the other's files. It cannot: temporary files carry the owner's number, the next owner
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
"""The errors of a file system that has no hard links."""


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
    """Call ``check``, which may raise, before anything in or below ``folder`` is replaced.

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
    """Call the check of the fence around a file or folder, if there is one."""
    _fence(path).check()


@contextlib.contextmanager
def replacing(path: str | Path, keep_as: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary binary file that replaces ``path`` when the block ends.

    Where the folder is ``fenced``, its check is made before the block and before the replacement.
    On any exception, in the block or in reaching the disk, the temporary file is removed, ``path``
    stays as it was, and the exception propagates.

    Args:
        path: the file to replace or create.
        keep_as: a second name that the old file keeps; ``path`` exists at every moment.
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

    A number that is not finite is written ``NaN`` or ``Infinity``, which Python's ``json`` reads
    back: the loss of a run that diverged is a result too.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files in and below ``folder`` that nobody will finish.

    Their writers are dead, or have lost the folder to this process, its present owner. Whether
    another machine's writers live is unknown if this process does not own the folder.
    """
    fence = _fence(folder)

    def is_left(file: Path) -> bool:
        match = _TEMPORARY.fullmatch(file.name)
        if match is None:
            return False
        if 0 < int(match["number"]) < fence.number:
            return True
        here = match["host"] == process.host()
        return here and not process.is_alive(int(match["pid"]), match["mark"] or None)

    return [file for file in sorted(folder.rglob(".*.tmp")) if is_left(file)]


def remove_leftovers(folder: Path) -> None:
    """Remove the files that ``leftovers`` returns, and the folders of an unfinished export."""
    files = leftovers(folder)
    check_fence(folder)  # after listing: a later owner's files are not among them
    for file in files:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def temporary_name(path: Path, number: int | None = None) -> str:
    """Return the name of a temporary file that will replace ``path``, with its owner's number."""
    pid = os.getpid()
    mark = process.start_mark(pid) or ""
    number = _fence(path).number if number is None else number
    return f".{path.name}~{process.host()}~{pid}~{mark}~{number}~{next(_COUNT)}.tmp"


def anonymous_file(folder: Path) -> IO[bytes]:
    """Open a file in ``folder`` that disappears when it is closed.

    On a file system that needs a name for it, a killed process leaves one of ``leftovers``.
    """
    prefix = temporary_name(folder / "anonymous").removesuffix(".tmp")
    return tempfile.TemporaryFile(dir=folder, prefix=prefix, suffix=".tmp")


def sync_folder(folder: Path) -> None:
    """Make the file names in a folder survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync folders; the file's content is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _copy(path: Path, name: Path) -> None:
    """Give a file a second name, by a link where possible; a file of that name is replaced.

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
    folders = (path.resolve(), parent, *parent.parents)
    return next((_FENCES[folder] for folder in folders if folder in _FENCES), _NO_FENCE)
