"""Identify processes and check that they live (Linux; on macOS by number alone)."""

import os
import signal
import socket
from pathlib import Path


def host() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def start_mark(pid: int) -> str | None:
    """Return a word that distinguishes a process from any other with the same number.

    It joins the boot and the process's start time (clock ticks since that boot). None if there is
    no ``/proc``, or it does not show the process.
    """
    stat = _stat(pid)
    return None if stat is None else f"{_boot()}-{stat[1]}"


def is_alive(pid: int, mark: str | None) -> bool:
    """Return whether process ``pid`` of this machine lives and is the one that ``mark`` names.

    Without a mark, or if ``/proc`` does not show the process, its number alone decides.
    """
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's process: it exists
    except (ProcessLookupError, OverflowError):
        return False
    stat = _stat(pid)
    if stat is None:
        return True
    ended = stat[0] in "ZX"  # its parent has not waited for it yet
    return not ended and mark in (None, f"{_boot()}-{stat[1]}")


def describe_exit(code: int) -> str:
    """Describe how a process ended, in words that follow "it".

    Args:
        code: its exit code; if negative, the number of the signal that ended it.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    memory = "; out of memory?" if code == -signal.SIGKILL else ""
    return f"was ended by {names.get(-code, f'signal {-code}')}{memory}"


def _stat(pid: int) -> tuple[str, str] | None:
    """Return a process's state letter and start time, None if ``/proc`` does not show it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, and may itself hold blanks and brackets.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return ""
