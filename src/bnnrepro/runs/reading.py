"""Read a run's files, which another program may have replaced.

A FIFO would make a plain ``open`` wait for ever; here it is an error, as a folder is.
"""

import errno
import json
import os
import stat
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bnnrepro.errors import UserError, readable

if TYPE_CHECKING:
    import numpy as np

# Errors of a ``.npz`` file with a wrong byte anywhere; a RuntimeError says encrypted, or packed in
# an unknown way.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


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
    """Return the text of a regular UTF-8 file.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    with opened(path) as file:
        return file.read().decode()


def parsed(path: Path) -> Any:
    """Return the value of a regular JSON file.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: it is not JSON, or not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text(path))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of a ``.npz`` file by name.

    Raises:
        UserError: it is missing, cannot be read, or is damaged.
    """
    import numpy as np  # only here: other commands need no NumPy

    try:
        with (
            readable("map", path),
            opened(path) as stream,
            np.load(stream, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    except _DAMAGED as error:
        raise UserError("map", str(path), "cannot be read (damaged or cut short)") from error
