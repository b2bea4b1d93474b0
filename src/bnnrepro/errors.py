"""Errors that are reported in one or two lines, without a traceback."""

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

from bnnrepro.screen import printable

_CURES = {
    "memory": "; close other programs, or request more",
    "open files": "; `ulimit -n` raises the limit of a process",
}
# Messages of torch and Pillow that mean a lack of memory, where they raise no MemoryError.
_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "can't start new thread")


class UserError(Exception):
    """Invalid input: names the key, the value, and what is allowed.

    The command line prints ``error: <message>`` and exits with code 2.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, printable(allowed, lines=True)
        shown = value if isinstance(value, str) else repr(value)
        super().__init__(f"{printable(key)}={printable(shown)}: {self.allowed}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle by the three arguments, so that the error can cross processes."""
        return type(self), (self.key, self.value, self.allowed)


class DataError(Exception):
    """The data at a loader's ``root`` are not what is needed, which the message says."""


class BusyError(UserError):
    """A run that another process is running."""


class RunFailedError(Exception):
    """A run that could not be finished although its configuration is valid."""


class TakenOverError(RunFailedError):
    """A run that another process took over because it took this one for dead."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice nearest to a misspelt word, else ``""``."""
    matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def cannot_read(error: BaseException) -> str | None:
    """Return why the system could not read a file's bytes; None if the content is at fault.

    A file is damaged only if its bytes were read and are not valid. A lack of memory, of file
    handles or of permission, or a disk that does not answer, says nothing about the file.

    Args:
        error: raised by reading or decoding a file.

    Returns:
        A short reason, such as ``not enough memory``. For an OSError it is the system's own, also
        for a missing file: a caller that allows a missing file checks for it first.
    """
    if isinstance(error, OSError) and error.errno is not None:
        # EINVAL comes from a seek to a negative position: a damaged offset.
        return None if error.errno == errno.EINVAL else error.strerror or str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return "not enough memory"
    if isinstance(error, (OSError, RuntimeError)):
        return "not enough memory" if any(words in str(error) for words in _NO_MEMORY) else None
    return None


@contextlib.contextmanager
def readable(key: str, path: object) -> Iterator[None]:
    """Raise UserError, with the reason, if the system cannot read the file that the block reads.

    Args:
        key: of the UserError.
        path: the file; a path that the system's error names takes precedence.
    """
    try:
        yield
    except Exception as error:
        reason = cannot_read(error)
        if reason is None:
            raise
        cure = next((cure for word, cure in _CURES.items() if word in reason), "")
        where = getattr(error, "filename", None) or path
        raise UserError(key, str(where), f"cannot be read ({reason}){cure}") from error
