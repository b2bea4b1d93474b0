"""A launcher that waits for its runs: what it prints, and how it knows the end."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from bnnrepro.launch.plan import Planned, refresh
from bnnrepro.launch.submission import SCRATCH
from bnnrepro.runs.liveness import ACTIVE, STATES

_FIRST, _GROWTH = 1.0, 1.3  # seconds between two looks, and their growth while nothing changes
_SURE = 5.0  # seconds that a run must seem lost: files and queue of a cluster lag behind


def wait(
    planned: Sequence[Planned], tick: Callable[[], bool] = lambda: False, longest: float = 15.0
) -> None:
    """Wait until nobody is at any of the runs or will be; print counts whenever they change.

    Args:
        planned: the runs.
        tick: called at every look; returns whether there is more to come that no status knows of.
        longest: seconds between two looks, at most.
    """
    pause, said = _FIRST, ""
    quiet_since: float | None = None
    while True:
        more = tick()
        refresh(planned)
        line = counts(planned)
        if line != said:
            print(line, flush=True)
            said, pause = line, _FIRST
        active = more or any(each.run.state.name in ACTIVE for each in planned)
        sure = all(each.run.state.name in ("done", "failed") for each in planned)
        if active:
            quiet_since = None
        elif sure:
            return
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= _SURE:
            return
        time.sleep(pause)
        pause = min(pause * _GROWTH, longest) if active else _FIRST


def counts(planned: Sequence[Planned]) -> str:
    """Return how many runs there are of each state, in a line."""
    number = Counter(each.run.state.name for each in planned)
    return ", ".join(f"{state} {number[state]}" for state in STATES if number[state])


def reason(planned: Planned) -> str | None:
    """Return why a run did not come to its end, None if it did."""
    state, note = planned.run.state.name, planned.run.state.note
    if state == "done":  # one that is to be evaluated once more may have failed at that
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


def _logs(planned: Planned) -> str:
    return f"{planned.config.out}/{SCRATCH}/{planned.run.status.submission}"
