"""What SLURM says: this job's number, which jobs are queued or running; and cancelling them."""

import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

_FORMAT = "%i|%T|%r|%j"
_TIMEOUT = 30  # seconds; a busy controller answers late, and a hanging one must not hold a run


@dataclass(frozen=True)
class Job:
    """A job that SLURM has in its queue, waiting or running."""

    number: str
    state: str
    reason: str
    name: str

    @property
    def waits(self) -> bool:
        """Whether the job has not started (again) yet."""
        return self.state in ("PENDING", "REQUEUED", "CONFIGURING", "REQUEUE_HOLD")


Queue = dict[str, Job]
"""Jobs by number; one of an array as ``<array>_<task>``."""


def job_number() -> str | None:
    """Return this process's job, ``<array>_<task>`` for one of an array; None outside of jobs."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{word}_ID") for word in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """Return how often SLURM has started this process's job again."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


def queue(jobs: Collection[str] = (), names: Collection[str] = ()) -> Queue | None:
    """Return those of the jobs that are queued or running; None where SLURM cannot be asked.

    Args:
        jobs: numbers; the whole array is asked for where one is of an array.
        names: names of jobs; all jobs with such a name are asked for.
    """
    if not jobs and not names:
        return {}
    if shutil.which("squeue") is None:
        return None
    found: Queue = {}
    for option, values in (("--jobs", {job.partition("_")[0] for job in jobs}), ("--name", names)):
        if not values:
            continue
        lines = _squeue(f"{option}={','.join(sorted(values))}")
        if lines is None:
            return None
        for line in lines:
            number, state, reason, name = line.split("|", 3)
            found[number] = Job(number, state, reason, name)
    return found


def _squeue(selection: str) -> list[str] | None:
    command = ["squeue", "--noheader", "--array", f"--format={_FORMAT}", selection]
    try:
        done = _run(command)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        # A number that SLURM has forgotten is an error only where it is asked for alone.
        return [] if "Invalid job id" in done.stderr else None
    return [line.strip() for line in done.stdout.splitlines() if line.count("|") >= 3]


def cancel(jobs: Collection[str]) -> str | None:
    """Cancel jobs; return what scancel complains of, None if it does not."""
    if not jobs:
        return None
    try:
        done = _run(["scancel", *sorted(jobs)])
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT
    )
