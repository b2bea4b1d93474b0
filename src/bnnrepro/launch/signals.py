"""Signals that end a launcher or a job: delayed, forwarded, or raised as SystemExit."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NoReturn

REQUEUED = 128 + signal.SIGUSR2
TERMINATED = 128 + signal.SIGTERM
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REPEAT = 3.0  # seconds; a child that was still importing missed the first signal


@contextmanager
def delayed() -> Iterator[None]:
    """Complete the block before a signal that ends this process takes effect.

    Outside the main thread, where Python allows no handlers, nothing is changed.
    """
    received: list[int] = []
    try:
        handlers = [signal.signal(s, lambda number, _: received.append(number)) for s in _ENDING]
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(_ENDING, handlers, strict=True):
            signal.signal(number, handler)
        for pending in received:
            signal.raise_signal(pending)


@contextmanager
def hidden_from_children() -> Iterator[None]:
    """Block the terminal's Ctrl-C for programs started in the block."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Raise SystemExit at SIGTERM and SIGHUP, so that child processes can be stopped.

    A SIGHUP that is ignored, as under ``nohup``, stays ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = signal.signal(number, interrupt)
    except ValueError:  # outside the main thread
        pass
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class StopSignal:
    """The request to stop a job whose runs are other processes; true once it has come."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._last_sent = 0.0
        self._handlers = {}
        for number in (signal.SIGUSR2, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._receive)

    def __bool__(self) -> bool:
        return self._signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)

    def forward(self, children: Iterable[BaseProcess]) -> None:
        """Send the signal, if it has come, to every child, again every few seconds."""
        if self._signal is None or time.monotonic() - self._last_sent < _REPEAT:
            return
        self._last_sent = time.monotonic()
        for child in children:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, self._signal)

    def act(self) -> None:
        """Restore the handlers; then requeue the job or exit if the signal has come."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._signal is signal.SIGUSR2:
            requeue()
        if self._signal is not None:
            terminate()


def terminate(*_: object) -> NoReturn:
    """Exit as after SIGTERM."""
    sys.exit(TERMINATED)


def requeue() -> NoReturn:
    """Let submitit, whose handler was installed first, submit the job again; it exits."""
    handler = signal.getsignal(signal.SIGUSR2)
    if callable(handler):
        handler(signal.SIGUSR2, None)
    sys.exit(REQUEUED)
