"""A failure on record: a line in ``status.json``, the traceback in ``train.log``."""

import traceback
from contextlib import suppress

from bnnrepro.store import reading, status
from bnnrepro.store.folder import RunFolder


def record(folder: RunFolder, error: Exception) -> str:
    """Record a failure as far as the disk lets it; return the line that says it."""
    line = " ".join(str(error).split()) or type(error).__name__
    with suppress(OSError), open(folder.log, "a", opener=reading.regular) as handle:
        handle.write("".join(traceback.format_exception(error)))
    with suppress(OSError):
        status.write(folder, "failed", error=line)
    return line
