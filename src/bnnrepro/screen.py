"""Safe output: text without control characters, and streams whose failure ends no training.

The failure may be a closed terminal, a pipe whose reader has gone, or a full disk behind ``>``.
``guard`` is called once, at the start of a bnnrepro process; a program that merely imports bnnrepro
keeps its own streams. A stream without ``±`` shows ``+-``.
"""

import codecs
import errno
import io
import logging
import os
import re
import sys
import traceback
from contextlib import suppress
from html import escape
from types import TracebackType
from typing import Any, TextIO

log = logging.getLogger("bnnrepro")

# Controls (C0, DEL, C1), marks that reorder text, line separators, bytes that were no UTF-8.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_SPELLED = {"±": "+-", "…": "...", "–": "-", "—": "--", "“": '"', "”": '"', "’": "'"}  # noqa: RUF001


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text with its control characters escaped, so that a terminal obeys none.

    Args:
        text: from outside: an exception, a file's name or content.
        lines: keep line feeds and tabs; else the result is one line.

    Returns:
        The text, in which ESC for example is written ``\x1b``.
    """
    kept = "\n\t" if lines else ""

    def escaped(match: re.Match[str]) -> str:
        return match[0] if match[0] in kept else match[0].encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escaped, text)


def confirmed(question: str) -> bool:
    """Ask a question; return whether the answer is yes. No answer, at the input's end, is no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


class Shown:
    """Shows its ``_facts`` in a line, and in a notebook as a table."""

    def _facts(self) -> dict[str, object]:
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{key} {value}" for key, value in self._facts().items())
        return f"{type(self).__name__}({printable(facts)})"

    def _repr_html_(self) -> str:
        rows = [(key, printable(str(value))) for key, value in self._facts().items()]
        cells = (f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in rows)
        return f"<table>{''.join(cells)}</table>"


def traceback_of(error: BaseException) -> str:
    """Return an exception with its traceback, safe to print, a line feed at its end."""
    return printable("".join(traceback.format_exception(error)), lines=True)


def _legible(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spell a character that a stream's encoding has not."""
    assert isinstance(error, UnicodeEncodeError)
    text = _SPELLED.get(error.object[error.start])
    return (text, error.start + 1) if text else codecs.backslashreplace_errors(error)


codecs.register_error("bnnrepro.legible", _legible)


class _Screen(io.FileIO):
    """An output file that discards everything after its first error."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes; return the number written or discarded."""
        try:
            written = super().write(data)
        except OSError as error:
            self._lose(error)
            written = None
        return memoryview(data).nbytes if written is None else written  # None: no reader

    def _lose(self, error: OSError) -> None:
        self.lost = error
        with suppress(OSError):  # for writes that bypass Python
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
        log.debug("output %d is lost (%s); going on without it", self.fileno(), error.strerror)


def guard() -> None:
    """Let this process survive the loss of its output, and print any character in any locale.

    Closed standard streams are opened on the null device, so that no other file takes their
    numbers; an uncaught error is shown without control characters.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)
    sys.excepthook = _show


def output_lost() -> bool:
    """Return whether standard output has failed, so that nothing more is shown."""
    return _error_of(sys.stdout) is not None


def output_exit_code() -> int:
    """Return the exit code of a command that only prints: 1 if its output is incomplete.

    A pipe that the reader closed early, as ``head`` does, counts as complete.
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
    """Return a stream to the same file that never raises; ``number`` is used if it is closed."""
    encoding, by_line = "utf-8", True
    if stream is not None:
        try:
            number = stream.fileno()
            stream.flush()
        except (AttributeError, OSError, ValueError):
            unguarded: TextIO = stream  # not a file, as under a debugger
            return unguarded
        encoding, by_line = stream.encoding, stream.line_buffering or stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Screen(number, "w", closefd=False)),
        encoding=encoding,
        errors="bnnrepro.legible",
        line_buffering=by_line,
    )


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(traceback_of(error), end="", file=sys.stderr)
