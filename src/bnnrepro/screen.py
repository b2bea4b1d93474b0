"""The screen: what may be shown on it, and how a command outlives it.

A terminal that is closed, a pipe whose reader has gone, a full disk behind ``>``: none of them may
end a training. ``guard`` is called once, where a process of ours begins; a program that merely
imports bnnrepro keeps its own streams.
"""

import errno
import io
import logging
import os
import re
import sys
import traceback
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

log = logging.getLogger("bnnrepro")

# Controls (C0, DEL, C1), marks that reorder text, line separators, bytes that were no UTF-8.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with its control characters escaped: a terminal obeys none of them.

    Args:
        text: what comes from outside: an exception, a file's name or content.
        lines: keep line feeds and tabs; else the result is one line.

    Returns:
        The text, where ESC for example stands as ``\x1b``.
    """
    kept = "\n\t" if lines else ""

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found[0] in kept else found[0].encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escaped, text)


def traceback_of(error: BaseException) -> str:
    """Return an exception with its traceback, safe to print, a line feed at its end."""
    return printable("".join(traceback.format_exception(error)), lines=True)


class _Screen(io.FileIO):
    """An output file that, from its first error on, takes everything and shows nothing."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes; return how many are dealt with."""
        try:
            written = super().write(data)
        except OSError as error:
            self._lose(error)
            written = None
        return memoryview(data).nbytes if written is None else written  # None: nobody reads

    def _lose(self, error: OSError) -> None:
        self.lost = error
        with suppress(OSError):  # what writes past Python must not fail either
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        log.debug("output %d is lost (%s); going on without it", self.fileno(), error.strerror)


def guard() -> None:
    """Let this process outlive its screen, and print any character under any locale.

    Standard streams that are closed are opened on nothing, so that no file of ours takes their
    numbers; an error that nobody catches is shown without control characters.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the least number that is free: this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)
    sys.excepthook = _show


def lost() -> bool:
    """Return whether nobody sees any more what is printed."""
    return _error_of(sys.stdout) is not None


def code_of_output() -> int:
    """Return the exit code of a command that does nothing but print: 1 if its output is not whole.

    A reader who left early, as ``head`` does, had what he wanted.
    """
    sys.stdout.flush()
    error = _error_of(sys.stdout)
    if error is None or error.errno == errno.EPIPE:
        return 0
    print(f"error: standard output: {error.strerror}", file=sys.stderr)
    return 1


def _error_of(stream: Any) -> OSError | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Screen) else None


def _guarded(stream: Any, number: int) -> TextIO:
    """Return a stream to the same file that raises nothing; number: of one that is closed."""
    encoding, by_line = "utf-8", True
    if stream is not None:
        try:
            number = stream.fileno()
            stream.flush()
        except (AttributeError, OSError, ValueError):
            return stream  # no file, as under a debugger
        encoding, by_line = stream.encoding, stream.line_buffering or stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Screen(number, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=by_line,
    )


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(traceback_of(error), end="", file=sys.stderr)
