"""Stopping runs that are queued or running, and no others."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bnnrepro.cluster import submission
from bnnrepro.errors import UserError
from bnnrepro.store import process, slurm, status
from bnnrepro.store.finding import Run
from bnnrepro.store.lock import LostError
from bnnrepro.store.outlook import WAITED_FOR


def cancel(runs: Sequence[Run], why: str = "cancelled", keep: str | None = None) -> list[str]:
    """Cancel those of the runs that are queued or running; return what is to be said, in lines.

    A job that other runs share is left alone, and so is a process of another machine that is no
    job's. Running ones save their state; all go on with the next start.

    Args:
        runs: with their outlooks.
        why: stands as the reason in the status of those that had not started.
        keep: a job that is not cancelled, the caller's own.
    """
    active = [run for run in runs if run.outlook.state in WAITED_FOR]
    ours = {str(run.folder.path.absolute()) for run in active}
    jobs: dict[str, list[Run]] = {}
    local = []
    for run in active:
        if run.status.job is not None:
            jobs.setdefault(run.status.job, []).append(run)
        else:
            local.append(run)
    lines = []
    numbers = []
    read = cache(submission.read)  # once a sweep, not once a job
    for job, members in jobs.items():
        others = [each for each in _shared(job, members[0], read) if each not in ours]
        if job == keep:
            continue
        if others:
            lines.append(
                f"job {job} is left alone: it has {len(others)} more runs, {others[0]} for one"
            )
        else:
            numbers.append(job)
    if complaint := slurm.cancel(numbers):
        lines.append(f"scancel: {complaint}")
    cancelled = [run for job in numbers for run in jobs[job]]
    cancelled += [run for run in local if _stop_process(run, lines)]
    for run in cancelled:
        if run.outlook.state == "queued":
            _say(run, why)
    what = f"cancelled {len(cancelled)} run{'s' if len(cancelled) != 1 else ''}"
    if numbers:
        what += f" in {len(numbers)} job{'s' if len(numbers) != 1 else ''}"
    return [what, *lines]


def _shared(job: str, run: Run, read: Callable[[Path], submission.Submission]) -> list[str]:
    """Return all runs of a job that are not done, as its sweep's record has them."""
    try:
        folder = submission.folder_of(run)
        jobs = read(folder).jobs if folder is not None else []
    except UserError:
        return []
    paths = [path for each in jobs if each.job == job for path in each.runs]
    return [path for path in paths if not (Path(path) / "result.json").exists()]


def _stop_process(run: Run, lines: list[str]) -> bool:
    state = run.status
    if state.state == "submitted" and state.pid is not None:
        return True  # its launcher reads the status before it starts a run
    if state.pid is None or state.host != process.host():
        lines.append(f"{run.name} is left alone: process {state.pid} of {state.host} is no job's")
        return False
    with suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGTERM)
    return True


def _say(run: Run, why: str) -> None:
    with suppress(OSError, LostError):
        status.write(run.folder, "interrupted", error=why)
