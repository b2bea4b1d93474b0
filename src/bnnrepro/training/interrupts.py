"""Turn signals into a request to stop after the current step, with the state saved."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bnnrepro.training.callbacks import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
REPEATED = 1.0  # seconds: a terminal, a launcher and a cluster may all pass on the same request


class StopRequest:
    """A flag that a signal sets and that the training loop reads after every step."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.received_at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def interruption(self) -> Interrupted:
        """Return the exception to raise; its exit code is 128 + signal, as a shell reports it."""
        assert self.signal is not None
        return Interrupted(self.signal.name, 128 + self.signal)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM, SIGUSR2 and SIGHUP into a stop request for the length of the context.

    A process that ignores SIGHUP, as under ``nohup``, continues to ignore it. A second signal has
    its former effect, except within ``REPEATED`` seconds, where it counts as the same request.
    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    request = StopRequest()
    previous: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if request.signal is None:
            request.signal, request.received_at = signal.Signals(number), time.monotonic()
        elif time.monotonic() - request.received_at > REPEATED:
            signal.signal(number, previous[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        for number in SIGNALS:
            before = signal.getsignal(number)
            if number is signal.SIGHUP and before is signal.SIG_IGN:
                continue
            previous[number] = before
            signal.signal(number, handle)
    except ValueError:
        pass
    try:
        yield request
    finally:
        for number, handler in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
