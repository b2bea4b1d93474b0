"""One process a run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bnnrepro.errors import BusyError, TakenOverError, UserError
from bnnrepro.experiment.logs import refused
from bnnrepro.runs import lock, status
from bnnrepro.runs.layout import RunFolder

log = logging.getLogger("bnnrepro")


def refuse_busy(folder: RunFolder) -> None:
    """Raise BusyError if another process holds the run; UserError if its folder cannot be read."""
    try:
        owner = lock.holder(folder.path) if folder.path.is_dir() else None
    except lock.HeldError as held:
        raise _busy(folder, held.owner) from None
    except OSError as error:
        raise UserError("run", str(folder.path), f"cannot be read ({error.strerror})") from error
    if owner is not None:
        raise _busy(folder, owner)


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder against other processes, on this host or another.

    Raises:
        BusyError: another process has it.
        TakenOverError: another process took it over meanwhile.
        RunFailedError: the system refuses a file.
    """
    try:
        with lock.hold(folder.path, above=status.read(folder).attempt):
            yield
    except lock.HeldError as held:
        raise _busy(folder, held.owner) from None
    except lock.LostError as lost:
        log.warning("%s", lost)
        raise TakenOverError(str(lost)) from lost
    except OSError as error:
        raise refused(folder, error) or error from error


def _busy(folder: RunFolder, owner: lock.Owner | None) -> BusyError:
    who = owner or "another process"
    return BusyError("run", str(folder.path), f"is being run by {who} already")
