"""What a process that was killed right after a run's result left undone."""

from contextlib import suppress

from bnnrepro.runs import atomic, lock, status
from bnnrepro.runs.layout import RunFolder


def say_done(folder: RunFolder) -> None:
    """Say that a run is done, and remove what it no longer needs; its lock must be held."""
    status.write(folder, "done")
    atomic.check_fence(folder.path)
    folder.checkpoint_prev.unlink(missing_ok=True)


def tidy(folder: RunFolder) -> None:
    """Say that a run that has its result is done, and remove what dead processes left.

    Nothing happens where nothing is left, where another process holds the run, or where its folder
    cannot be written.
    """
    with suppress(OSError, lock.HeldError, lock.LostError):
        state = status.read(folder)
        left = folder.checkpoint_prev.exists() or any(folder.path.glob(".lock.*"))
        if state.state != "done" or left or atomic.leftovers(folder.path):
            with lock.hold(folder.path, least=state.attempt):
                say_done(folder)
