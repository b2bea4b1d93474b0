"""The file that a run starts from, which ``init_from`` names, and its content's digest."""

import re
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.runs import reading
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.result import read_result

DIGITS = 64
"""A checkpoint ends with the SHA-256 of all bytes before, in this many hexadecimal digits."""


def start_file(source: str) -> Path:
    """Return the checkpoint that ``init_from`` names: a file, or the best one of a finished run.

    Raises:
        UserError: it is a folder without a finished run.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    try:
        result = read_result(folder.result)
    except UserError as error:
        raise UserError("init_from", source, f"holds no finished run: {error}") from error
    return folder.best if "best" in result else folder.checkpoint


def start_digest(source: str) -> str:
    """Return the SHA-256 that the file of ``init_from`` ends with; loading it verifies it.

    Raises:
        UserError: there is no such file, or it does not end with one.
    """
    try:
        with reading.opened(start_file(source)) as file:
            file.seek(max(0, file.seek(0, 2) - DIGITS))
            digits = file.read()
    except OSError as error:
        raise refused(source, str(error.strerror)) from error
    if not re.fullmatch(rb"[0-9a-f]{%d}" % DIGITS, digits):
        raise refused(source, "is no checkpoint of bnnrepro, or of another version")
    return digits.decode()


def refused(source: str, reason: str) -> UserError:
    """Return the error for an ``init_from`` that cannot be used."""
    allowed = "must be the folder of a finished run, or one of its .pt files"
    return UserError("init_from", source, f"{reason}; {allowed}")
