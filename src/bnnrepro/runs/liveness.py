"""The state of a run: its status file, corrected by which processes and jobs are alive."""

from collections.abc import Iterable
from dataclasses import dataclass

from bnnrepro.errors import cannot_read
from bnnrepro.runs import lock, process, reading, slurm_queue, status
from bnnrepro.runs.layout import RunFolder
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
"""``stale``: its process or job is gone without a word; ``unreadable``: the system does not give
its files, as another user's; ``new``: nobody has started it."""

ACTIVE = ("running", "queued")
"""In progress or queued; must not be started again."""


@dataclass(frozen=True)
class RunState:
    """One of ``STATES`` and, in a few words, why."""

    name: str
    note: str = ""


def queue_of(statuses: Iterable[Status]) -> Queue | None:
    """Ask SLURM, once, for all jobs that these runs may wait for; None if it cannot be asked."""
    jobs, names = set(), set()
    for each in statuses:
        if each.state not in ("submitted", "running", "interrupted"):
            continue
        if each.job is not None:
            jobs.add(each.job)
        elif each.submission is not None and each.pid is None:
            names.add(each.submission)  # its launcher died before it could note the number
    return slurm_queue.queue(jobs, names)


def run_state(folder: RunFolder, state: Status, queue: Queue | None) -> RunState:
    """Return what may be expected of a run.

    Args:
        folder: of the run.
        state: its status, as read.
        queue: what ``queue_of`` returned for it, among others.
    """
    try:
        if not folder.result.exists():
            return _unfinished(folder, state, queue)
        finished = _finished(folder)
        # To be evaluated again, or made anew. One that says "running" beside its whole result has
        # been killed before it could say "done".
        if state.state == "submitted" or (state.state, finished.name) == ("running", "damaged"):
            again = _unfinished(folder, state, queue)
            return again if again.name in ACTIVE else finished
    except OSError as error:
        return RunState("unreadable", cannot_read(error) or str(error))
    return finished


def _finished(folder: RunFolder) -> RunState:
    try:
        reading.parsed(folder.result)
    except (OSError, ValueError) as error:
        reason = cannot_read(error)
        if reason:
            return RunState("unreadable", f"result.json: {reason}")
        return RunState("damaged", "result.json is no JSON; the next start makes it anew")
    return RunState("done")


def _unfinished(folder: RunFolder, state: Status, queue: Queue | None) -> RunState:
    if state.state == "done":
        return RunState("damaged", "says done, and has no result.json")
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


def _why(job: slurm_queue.Job) -> str:
    """Return why a job waits, in SLURM's words, or what it does instead."""
    return job.reason if job.waits and job.reason != "None" else job.state.lower()


def _job(state: Status, queue: Queue | None) -> slurm_queue.Job | None:
    if not queue:
        return None
    if state.job is not None:  # one with this number and another name is a stranger's
        return queue.get((state.job, state.submission))
    named = [each for each in queue.values() if each.name == state.submission]
    return named[0] if named else None


def _submitted(state: Status, job: slurm_queue.Job | None, queue: Queue | None) -> RunState:
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
    folder: RunFolder, state: Status, job: slurm_queue.Job | None, queue: Queue | None
) -> RunState:
    where = f"job {state.job} on {state.host}" if state.job else f"process {state.pid}"
    if state.host != process.host():
        where = f"{where} on {state.host}" if not state.job else where
    alive = status.alive(state)
    if alive:
        return RunState("running", where)
    if job is not None:  # between its death and its next start, or on a host that we do not see
        if job.waits or alive is False:
            return RunState("queued", f"job {job.number}, again: {_why(job)}")
        return RunState("running", where)
    if alive is None and (state.job is None or queue is None):
        age = lock.age(folder.path)
        if age is not None and age < lock.STALE:
            return RunState("running", where)
    return RunState("stale", f"{where} is gone")
