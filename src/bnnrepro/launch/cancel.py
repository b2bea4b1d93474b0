"""Stopping runs that are queued or running, and no others."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.launch import submission
from bnnrepro.runs import process, slurm_queue, status
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.runs.lock import LostError
from bnnrepro.runs.query import Run


def cancel(
    runs: Sequence[Run], why: str = "cancelled", keep: str | None = None
) -> tuple[list[str], bool]:
    """Cancel those of the runs that are queued or running.

    A job that other runs share is left alone, and so is a process of another machine that is no
    job's. Running ones save their state; all go on with the next start.

    Args:
        runs: with their states set by ``look_up``.
        why: stands as the reason in the status of those that had not started.
        keep: a job that is not cancelled, the caller's own.

    Returns:
        What is to be said, in lines; and whether all went well: what is left alone is well.
    """
    active = [run for run in runs if run.state.name in ACTIVE]
    jobs: dict[slurm_queue.Key, list[Run]] = {}
    for run in [each for each in active if each.status.job not in (None, keep)]:
        jobs.setdefault((run.status.job, run.status.submission), []).append(run)
    lines = _set_aside_shared(jobs, active)
    failed = slurm_queue.cancel(list(jobs))
    cancelled = [run for job, members in jobs.items() if job not in failed for run in members]
    cancelled += [run for run in active if run.status.job is None and _stop_process(run, lines)]
    lines += [
        f"job {number} could not be cancelled: {said}" for (number, _), said in failed.items()
    ]
    for run in cancelled:
        if run.state.name == "queued":
            _say(run, why)
    what = f"cancelled {len(cancelled)} run{'s' if len(cancelled) != 1 else ''}"
    if number := len(jobs) - len(failed):
        what += f" in {number} job{'s' if number != 1 else ''}"
    return [what, *lines], not failed


def _set_aside_shared(jobs: dict[slurm_queue.Key, list[Run]], active: Sequence[Run]) -> list[str]:
    """Take away the jobs that other runs share; return a line for each."""
    ours = {str(run.folder.path.absolute()) for run in active}
    read = cache(submission.read)  # once a sweep, not once a job
    lines = []
    for job, members in list(jobs.items()):
        if others := [each for each in _shared(members[0], read) if each not in ours]:
            del jobs[job]
            lines.append(
                f"job {job[0]} is left alone: it has {len(others)} more runs, {others[0]} for one"
            )
    return lines


def _shared(run: Run, read: Callable[[Path], submission.Submission]) -> list[str]:
    """Return all runs of a run's job that are not done, as its sweep's record has them."""
    try:
        folder = submission.folder_of(run)
        jobs = read(folder).jobs if folder is not None else []
    except UserError:
        return []
    paths = [path for each in jobs if each.job == run.status.job for path in each.runs]
    return [path for path in paths if not (Path(path) / "result.json").exists()]


def _stop_process(run: Run, lines: list[str]) -> bool:
    state = run.status
    if state.state == "submitted" and state.pid is not None:
        return True  # its launcher reads the status before it starts a run
    if state.pid is None:
        lines.append(
            f"{run.name} is left alone: its job's number was not noted; "
            f"scancel --name={state.submission} ends all jobs of its sweep"
        )
        return False
    try:
        if state.host == process.host():
            os.kill(state.pid, signal.SIGTERM)
            return True
        whose = "is no job's"
    except ProcessLookupError:
        return True
    except PermissionError:
        whose = "is another user's"
    lines.append(f"{run.name} is left alone: process {state.pid} of {state.host} {whose}")
    return False


def _say(run: Run, why: str) -> None:
    with suppress(OSError, LostError):
        status.write(run.folder, "interrupted", error=why)
