"""A failure on record: a line in ``status.json``, the traceback in ``train.log``."""

from contextlib import suppress

from bnnrepro.screen import printable, traceback_of
from bnnrepro.store import reading, status
from bnnrepro.store.folder import RunFolder


def record(folder: RunFolder, error: Exception) -> str:
    """Record a failure as far as the disk lets it; return the line that says it."""
    line = printable(" ".join(str(error).split())) or type(error).__name__
    with suppress(OSError), open(folder.log, "a", encoding="utf-8", opener=reading.regular) as log:
        log.write(traceback_of(error))
    with suppress(OSError):
        status.write(folder, "failed", error=line)
    return line
