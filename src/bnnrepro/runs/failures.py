"""A failure on record: a line in ``status.json``, the traceback in ``train.log``."""

from contextlib import suppress

from bnnrepro.runs import reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.screen import printable, traceback_of


def record(folder: RunFolder, error: Exception, reason: str | None = None) -> str:
    """Record a failure as far as the disk lets it; return the line that says it.

    Args:
        folder: the run's.
        error: with its traceback.
        reason: the error in other words than its own.
    """
    words = str(error) if reason is None else reason
    line = printable(" ".join(words.split())) or type(error).__name__
    with suppress(OSError), open(folder.log, "a", encoding="utf-8", opener=reading.regular) as log:
        log.write(traceback_of(error))
    with suppress(OSError):
        status.write(folder, "failed", error=line)
    return line
