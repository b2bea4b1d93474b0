"""Reading a run's files, in whose places others may have put something else.

A FIFO would make a plain ``open`` wait for ever; here it is an error, as a folder is.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO


def regular(path: str, flags: int) -> int:
    """Open a regular file, never waiting: the ``opener`` of Python's ``open``.

    Raises:
        OSError: as ``open`` does; EINVAL, since it is the content that is at fault, for a folder
            or a FIFO.
    """
    handle = os.open(path, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return handle


def opened(path: Path) -> BinaryIO:
    """Open a regular file to read bytes from."""
    return os.fdopen(regular(str(path), os.O_RDONLY), "rb")


def text(path: Path) -> str:
    """Return what a regular file holds, in UTF-8.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    with opened(path) as file:
        return file.read().decode()


def parsed(path: Path) -> Any:
    """Return the value that a regular file holds as JSON.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is not JSON, or not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text(path))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
