"""Record a run: its configuration, environment, log and failures."""

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

import yaml

from bnnrepro.errors import RunFailedError, UserError, cannot_read
from bnnrepro.experiment import console
from bnnrepro.experiment.parts import Parts
from bnnrepro.runs import atomic, provenance, reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.screen import printable
from bnnrepro.training.callbacks import NonFiniteLossError

log = logging.getLogger("bnnrepro")


def describe(parts: Parts, folder: RunFolder) -> None:
    """Write configuration and environment, and print the heading."""
    config = yaml.safe_dump(parts.cfg.to_dict(), sort_keys=False)
    atomic.write_text(folder.config, config)
    atomic.write_json(folder.env, provenance.describe(sys.argv) | {"earlier": _earlier(folder)})
    trainer = parts.trainer
    heading = console.heading(parts.cfg, trainer.task, parts.sources, parts.summary, trainer.device)
    log.debug("%s", heading.replace("\n", "; "))
    with suppress(OSError, ValueError):  # the calling program may have lost its screen
        print(printable(f"{heading}\nfolder: {folder.path}", lines=True), flush=True)


def _earlier(folder: RunFolder) -> list[Any]:
    """Return the environments of the run's earlier starts, oldest first."""
    try:
        last = reading.parsed(folder.env)
        return [*last.pop("earlier"), last]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # the first start, or a damaged file, which is only informative


class _Plain(logging.Formatter):
    """Formats log records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, an exception as several."""
        return printable(super().format(record), lines=True)


class _LogFile(logging.FileHandler):
    """A log file that a full disk truncates without an error."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=reading.regular)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line."""

    def close(self) -> None:
        """Close the file, even if its last lines do not fit on the disk."""
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(folder: RunFolder) -> Iterator[None]:
    """Send the log to the run's ``train.log``, and all but its epochs to the screen."""
    to_file = _LogFile(folder.log, delay=True, encoding="utf-8")
    to_file.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s"))
    to_screen = logging.StreamHandler(sys.stderr)
    to_screen.setFormatter(_Plain())
    to_screen.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [to_file, to_screen]
    level = log.level
    log.setLevel(logging.DEBUG)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(level)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def recorded_failure(folder: RunFolder, error: Exception) -> Exception:
    """Record a failure, as far as the disk allows; return the exception to raise."""
    refusal = refused_file(folder, error)
    line = status.record_failure(folder, error, str(refusal or error))
    if isinstance(error, UserError):
        return error
    if isinstance(error, NonFiniteLossError):
        return RunFailedError(line)
    return refusal or error


def refused_file(folder: RunFolder, error: Exception) -> RunFailedError | None:
    """Return the exception to raise if the system refused a file; None for other errors."""
    if not isinstance(error, OSError) or (reason := cannot_read(error)) is None:
        return None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    cure = "free some space" if full else "mend that"
    where = error.filename2 or error.filename or folder.path
    return RunFailedError(
        f"{where}: {reason}; {cure}, and the same command resumes from the last checkpoint"
    )
