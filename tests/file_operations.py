"""Something that happens right before a file operation: a kill, a freeze, another process."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

_CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_watch: Callable[[str], None] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watch is None or not arguments or isinstance(arguments[0], int):  # a handle, not a path
        return
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
    if writes or event in _CHANGES:
        _watch(os.fsdecode(arguments[0]))  # type: ignore[arg-type]


def before_operation(
    folder: Path, number: int, act: Callable[[], None], *, counts: Callable[[], bool] = lambda: True
) -> Callable[[], int]:
    """Call ``act`` in this process right before the n-th change of a file in or below ``folder``.

    Args:
        folder: where the files are.
        number: from 1.
        act: called once.
        counts: whether an operation counts.

    Returns:
        A function that ends the watch and returns how many operations there were.
    """
    global _watch
    seen = 0

    def watch(path: str) -> None:
        nonlocal seen
        global _watch
        if not path.startswith(str(folder)) or not counts():
            return
        seen += 1
        if seen == number:
            outer, _watch = _watch, None
            act()
            _watch = outer

    def end() -> int:
        global _watch
        _watch = None
        return seen

    if not _installed:
        sys.addaudithook(_hook)  # for good: Python has no way to remove one
        _installed.append(True)
    _watch = watch
    return end


_installed: list[bool] = []
