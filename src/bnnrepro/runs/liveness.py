"""The state of a run: its status file, corrected by which processes and jobs are alive."""

from collections.abc import Iterable
from dataclasses import dataclass

from bnnrepro.errors import UserError, cannot_read
from bnnrepro.runs import lock, process, slurm_queue, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.result import DamagedResultError, read_result
from bnnrepro.runs.slurm_queue import Queue
from bnnrepro.runs.status import Status

STATES = (
    "done",
    "running",
    "queued",
    "interrupted",
    "failed",
    "stale",
    "damaged",
    "unreadable",
    "new",
)
"""``stale``: its process or job ended without a status; ``unreadable``: the system does not give
its files, for example another user's; ``new``: never started."""

ACTIVE = ("running", "queued")
"""In progress or queued; must not be started again."""

PRUNED = "pruned after epoch"
"""Begins the note of a run that a search has stopped; it is interrupted, and may be resumed."""


@dataclass(frozen=True)
class RunState:
    """One of ``STATES`` and a short reason."""

    name: str
    note: str = ""


def queue_of(statuses: Iterable[Status]) -> Queue | None:
    """Ask SLURM once for the jobs of all these runs; None if it cannot be asked."""
    jobs, names = set(), set()
    for state in statuses:
        if state.state not in ("submitted", "running", "interrupted"):
            continue
        if state.job is not None:
            jobs.add(state.job)
        elif state.submission is not None and state.pid is None:
            names.add(state.submission)  # its launcher died before it could note the number
    return slurm_queue.queue(jobs, names)


def run_state(folder: RunFolder, state: Status, queue: Queue | None) -> RunState:
    """Return the state of a run.

    Args:
        folder: of the run.
        state: its status, as read.
        queue: as ``queue_of`` returned it for this run, among others.
    """
    try:
        if not folder.result.exists():
            return _unfinished(folder, state, queue)
        finished = _finished(folder)
        # To be evaluated again, or rerun. A "running" status beside a whole result means that the
        # process was killed before it could write "done".
        if state.state == "submitted" or (state.state, finished.name) == ("running", "damaged"):
            again = _unfinished(folder, state, queue)
            return again if again.name in ACTIVE else finished
    except OSError as error:
        return RunState("unreadable", cannot_read(error) or str(error))
    return finished


def _finished(folder: RunFolder) -> RunState:
    try:
        result = read_result(folder.result)
    except DamagedResultError as error:
        fault = error.allowed.removeprefix("damaged: ")
    except UserError as error:
        return RunState("unreadable", f"result.json {error.allowed}")
    else:
        if result["signature"] == folder.path.name:
            return RunState("done")
        fault = "it is of another run, by its signature"
    return RunState("damaged", f"result.json: {fault}; the next start writes it again")


def _unfinished(folder: RunFolder, state: Status, queue: Queue | None) -> RunState:
    if state.state == "done":
        return RunState("damaged", "its status is done, but it has no result.json")
    if state.state == "absent":
        return RunState("new")
    if state.state == "unreadable":
        return RunState("unreadable", f"status.json: {state.error}")
    if state.state == "damaged":
        return RunState("damaged", "status.json cannot be read")
    if state.state == "failed":
        return RunState("failed", state.error or "")
    job = _job(state, queue)
    if state.state == "submitted":
        return _submitted(state, job, queue)
    if state.state == "running":
        return _running(folder, state, job, queue)
    if job is not None:
        return RunState("queued", f"job {job.number}, again: {_why(job)}")
    return RunState("interrupted", state.error or "")


def _why(job: slurm_queue.SlurmJob) -> str:
    """Return SLURM's reason why a job waits, or the job's state."""
    return job.reason if job.is_waiting and job.reason != "None" else job.state.lower()


def _job(state: Status, queue: Queue | None) -> slurm_queue.SlurmJob | None:
    if not queue:
        return None
    if state.job is not None:  # a job with this number and another name is another one
        return queue.get((state.job, state.submission))
    return next((job for job in queue.values() if job.name == state.submission), None)


def _submitted(state: Status, job: slurm_queue.SlurmJob | None, queue: Queue | None) -> RunState:
    if state.pid is not None:  # in the queue of a launcher's process
        if status.alive(state):
            return RunState("queued", f"process {state.pid} starts it")
        return RunState("stale", f"its launcher, process {state.pid} on {state.host}, is gone")
    if job is not None:
        return RunState("queued", f"job {job.number}: {_why(job)}")
    number = state.job or state.submission
    if queue is None:
        return RunState("queued", f"job {number}; squeue does not answer here")
    return RunState("stale", f"job {number} is gone and never ran it")


def _running(
    folder: RunFolder, state: Status, job: slurm_queue.SlurmJob | None, queue: Queue | None
) -> RunState:
    where = f"job {state.job} on {state.host}" if state.job else f"process {state.pid}"
    if state.host != process.host():
        where = f"{where} on {state.host}" if not state.job else where
    alive = status.alive(state)
    if alive:
        return RunState("running", where)
    if job is not None:  # between two starts, or on another host
        if job.is_waiting or alive is False:
            return RunState("queued", f"job {job.number}, again: {_why(job)}")
        return RunState("running", where)
    if alive is None and (state.job is None or queue is None):
        age = lock.age(folder.path)
        if age is not None and age < lock.STALE:
            return RunState("running", where)
    return RunState("stale", f"{where} is gone")
