"""Signals to a launcher: put off where half a step would be wrong, and SIGTERM like Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def put_off() -> Iterator[None]:
    """Let the block come to its end before a signal that ends this process is heard.

    Outside the main thread, where Python allows no handlers, nothing is changed.
    """
    heard: list[int] = []
    try:
        before = [signal.signal(each, lambda number, _: heard.append(number)) for each in _ENDING]
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for each, handler in zip(_ENDING, before, strict=True):
            signal.signal(each, handler)
        for number in heard:
            signal.raise_signal(number)


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Let a program that is started here not hear the terminal's Ctrl-C."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Raise SystemExit at SIGTERM and SIGHUP, so that what was started can be stopped.

    A SIGHUP that is ignored, as under ``nohup``, stays so.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    try:
        for each in (signal.SIGTERM, signal.SIGHUP):
            if each is signal.SIGTERM or signal.getsignal(each) is not signal.SIG_IGN:
                before[each] = signal.signal(each, interrupt)
    except ValueError:  # outside the main thread
        pass
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
