"""Wait for the runs of a sweep, printing counts; the reasons of those that did not finish."""

import time
from collections.abc import Callable, Sequence

from bnnrepro.launch.plan import PlannedRun, counts, refresh
from bnnrepro.launch.submission import SCRATCH
from bnnrepro.runs.liveness import ACTIVE

_FIRST, _GROWTH = 1.0, 1.3  # seconds between two polls, and their growth while nothing changes
GRACE = 5.0
"""Seconds that a run must seem lost: files and queue of a cluster lag behind."""


def wait(
    plan: Sequence[PlannedRun], tick: Callable[[], bool] = lambda: False, longest: float = 15.0
) -> None:
    """Wait until none of the runs is in progress or queued; print counts whenever they change.

    Args:
        plan: the runs.
        tick: called at every poll; returns whether more will start that no status shows yet.
        longest: seconds between two polls, at most.
    """
    pause, printed = _FIRST, ""
    quiet_since: float | None = None
    while True:
        more = tick()
        refresh(plan)
        line = counts(plan)
        if line != printed:
            print(line, flush=True)
            printed, pause = line, _FIRST
        active = more or any(planned.run.state.name in ACTIVE for planned in plan)
        final = all(planned.run.state.name in ("done", "failed") for planned in plan)
        if active:
            quiet_since = None
        elif final:
            return
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= GRACE:
            return
        time.sleep(pause)
        pause = min(pause * _GROWTH, longest) if active else _FIRST


def reason(planned: PlannedRun) -> str | None:
    """Return why a run did not finish, None if it did."""
    state, note = planned.run.state.name, planned.run.state.note
    if state == "done":  # a further evaluation may have failed
        again = planned.run.status.state == "failed" and planned.todo
        return f"failed: {planned.run.status.error}" if again else None
    stop = planned.config.stop_after
    if state == "interrupted" and stop is not None and (planned.run.status.epoch or 0) >= stop:
        return None
    if state == "stale":
        died = planned.run.status.state == "running"
        guess = "killed, or out of memory?" if died else "its setup, Python or memory failed?"
        return f"{state}: {note}; {guess} Its log is in {_logs(planned)}"
    return f"{state}: {note}" if note else state


def _logs(planned: PlannedRun) -> str:
    return f"{planned.config.out}/{SCRATCH}/{planned.run.status.submission}"
