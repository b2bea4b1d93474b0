"""Errors that are said in one or two lines, never with a traceback."""

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

from bnnrepro.screen import printable

_CURES = {
    "memory": "; close what else runs, or ask for more",
    "open files": "; `ulimit -n` raises how many a process may have",
}
# How torch and Pillow word a want of memory where they raise no MemoryError.
_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "can't start new thread")


class UserError(Exception):
    """Bad input: names the key, the value, and what is allowed.

    The command line prints ``error: <message>`` and exits with code 2.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, printable(allowed, lines=True)
        shown = value if isinstance(value, str) else repr(value)
        super().__init__(f"{printable(key)}={printable(shown)}: {self.allowed}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle by the three arguments, so that the error crosses processes whole."""
        return type(self), (self.key, self.value, self.allowed)


class BusyError(UserError):
    """A run that another process is at."""


class RunFailedError(Exception):
    """A run that could not be finished, through no fault of its configuration's form."""


class TakenOverError(RunFailedError):
    """A run that another process took over, which took this one for dead."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice nearest to a misspelt word, else ``""``."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""


def cannot_read(error: BaseException) -> str | None:
    """Return why the system could not give a file's bytes; None if the content is at fault.

    A file is damaged only where its bytes were read and make no sense. A want of memory, of file
    handles or of permission, or a disk that does not answer, says nothing about the file.

    Args:
        error: what reading or decoding a file raised.

    Returns:
        The reason in a few words, such as ``not enough memory``. An OSError's is the system's own,
        for a missing file too: a caller to whom that is no failure asks for it first.
    """
    if isinstance(error, OSError) and error.errno is not None:
        # EINVAL is the answer to a seek to where no file has bytes: a damaged offset.
        return None if error.errno == errno.EINVAL else error.strerror or str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return "not enough memory"
    if isinstance(error, (OSError, RuntimeError)):
        return "not enough memory" if any(words in str(error) for words in _NO_MEMORY) else None
    return None


@contextlib.contextmanager
def readable(key: str, path: object) -> Iterator[None]:
    """Raise UserError, which says why, where the system cannot give what is read inside.

    Args:
        key: of the UserError.
        path: what is read; a path that the system's error names is more exact, and wins.
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
