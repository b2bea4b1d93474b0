"""Errors that are said in one or two lines, never with a traceback."""

import difflib
from collections.abc import Iterable

from bnnrepro.screen import printable


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
