"""Signals become a request to stop at the next step's end, with the state saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bnnrepro.training.callbacks import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """Set by a signal, asked by the trainer after every step."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def interruption(self) -> Interrupted:
        """Return what the trainer raises: exit code 128 + signal, as a shell would report it."""
        assert self.signal is not None
        return Interrupted(self.signal.name, 128 + self.signal)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR2 into a stop request for the length of the context.

    A second signal of the same kind acts as it did before. Outside the main thread, where Python
    allows no handlers, nothing is changed.
    """
    request = StopRequest()
    previous: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        signal.signal(number, previous[signal.Signals(number)])

    try:
        for number in SIGNALS:
            previous[number] = signal.getsignal(number)
            signal.signal(number, handle)
    except ValueError:
        pass
    try:
        yield request
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
