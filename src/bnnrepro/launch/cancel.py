"""Cancel runs that are queued or running, and no others."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.launch.submission import Submission, submission_folder
from bnnrepro.runs import process, slurm_queue, status
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.runs.lock import LostError
from bnnrepro.runs.query import Run


def cancel(
    runs: Sequence[Run], why: str = "cancelled", keep: str | None = None
) -> tuple[list[str], bool]:
    """Cancel those of the runs that are queued or running.

    A job that other runs share is not cancelled, nor is a process of another machine outside a job.
    Running ones save their state; all resume with the next start.

    Args:
        runs: with their states set by ``update_states``.
        why: the reason recorded in the status of those that had not started.
        keep: a job that is not cancelled, the caller's own.

    Returns:
        The lines to print, and False if SLURM could not cancel a job.
    """
    active = [run for run in runs if run.state.name in ACTIVE]
    jobs: dict[slurm_queue.JobKey, list[Run]] = {}
    for run in active:
        if run.status.job not in (None, keep):
            jobs.setdefault((run.status.job, run.status.submission), []).append(run)
    lines = _remove_shared(jobs, active)
    failed = slurm_queue.cancel(list(jobs))
    cancelled = [run for job, members in jobs.items() if job not in failed for run in members]
    cancelled += [run for run in active if run.status.job is None and _stop_process(run, lines)]
    lines += [
        f"job {number} could not be cancelled: {error}" for (number, _), error in failed.items()
    ]
    for run in cancelled:
        if run.state.name == "queued":
            _mark_interrupted(run, why)
    summary = f"cancelled {len(cancelled)} run{'s' if len(cancelled) != 1 else ''}"
    if number := len(jobs) - len(failed):
        summary += f" in {number} job{'s' if number != 1 else ''}"
    return [summary, *lines], not failed


def _remove_shared(jobs: dict[slurm_queue.JobKey, list[Run]], active: Sequence[Run]) -> list[str]:
    """Remove the jobs that other runs share; return a line for each."""
    paths = {str(run.folder.path.absolute()) for run in active}
    read = cache(Submission.read)  # once per sweep, not once per job
    lines = []
    for job, members in list(jobs.items()):
        if others := [path for path in _unfinished_runs(members[0], read) if path not in paths]:
            del jobs[job]
            lines.append(
                f"job {job[0]} is not cancelled: it has {len(others)} more runs, as {others[0]}"
            )
    return lines


def _unfinished_runs(run: Run, read: Callable[[Path], Submission]) -> list[str]:
    """Return all runs of a run's job, by its sweep's record, that have no result."""
    try:
        folder = submission_folder(run)
        jobs = read(folder).jobs if folder is not None else []
    except UserError:
        return []
    paths = [path for job in jobs if job.job == run.status.job for path in job.runs]
    return [path for path in paths if not (Path(path) / "result.json").exists()]


def _stop_process(run: Run, lines: list[str]) -> bool:
    state = run.status
    if state.state == "submitted" and state.pid is not None:
        return True  # its launcher reads the status before it starts a run
    if state.pid is None:
        lines.append(
            f"{run.name} is not cancelled: its job's number is not on record; "
            f"scancel --name={state.submission} ends all jobs of its sweep"
        )
        return False
    try:
        if state.host == process.host():
            os.kill(state.pid, signal.SIGTERM)
            return True
        whose = "belongs to no job"
    except ProcessLookupError:
        return True
    except PermissionError:
        whose = "belongs to another user"
    lines.append(f"{run.name} is not cancelled: process {state.pid} on {state.host} {whose}")
    return False


def _mark_interrupted(run: Run, why: str) -> None:
    with suppress(OSError, LostError):
        status.write(run.folder, "interrupted", error=why)
