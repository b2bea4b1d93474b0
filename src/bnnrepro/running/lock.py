"""One process a run."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bnnrepro.errors import UserError
from bnnrepro.store import status
from bnnrepro.store.folder import RunFolder

log = logging.getLogger("bnnrepro")


def busy(folder: RunFolder) -> UserError:
    """Return the error that says who runs it."""
    state = status.read(folder)
    who = f"process {state.pid}" if status.alive(state) else "another process"
    return UserError("run", str(folder.path), f"is being run by {who} already")


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder against other processes that start at the same moment."""
    handle = os.open(folder.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy(folder) from None
        except OSError as error:  # some network file systems lock no folders: the status decides
            log.debug("no lock: %s", error)
        yield
    finally:
        os.close(handle)
