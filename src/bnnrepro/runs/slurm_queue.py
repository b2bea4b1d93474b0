"""Query SLURM: the job of this process, jobs queued or running; cancel jobs.

A number alone identifies no job: a cluster that is set up again counts from 1. Jobs are identified
by number and name together, and the name is that of the submission.
"""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_FORMAT = "%i|%T|%r|%j"
_TIMEOUT = 30  # seconds; a busy controller answers late, and a hanging one must not block a run
_JOB_VARIABLES = ("BNNREPRO_JOB", "BNNREPRO_JOB_NAME")
_CLUSTER_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_CLUSTERS")  # these choose the cluster


@dataclass(frozen=True)
class SlurmJob:
    """A job in SLURM's queue, waiting or running."""

    number: str
    state: str
    reason: str
    name: str

    @property
    def is_waiting(self) -> bool:
        """True before the job has started, or restarted."""
        return self.state in ("PENDING", "REQUEUED", "CONFIGURING", "REQUEUE_HOLD")

    @property
    def is_ending(self) -> bool:
        """True once the job is ending."""
        return self.state in ("COMPLETING", "CANCELLED")


JobKey = tuple[str | None, str | None]
"""A job's number, in an array ``<array>_<task>``, and its name."""

Queue = dict[JobKey, SlurmJob]


def enter_job(name: str) -> None:
    """Declare this process and its children to be the SLURM job around them, called ``name``.

    Other processes inside a job, such as a shell in an allocation, do not declare this.
    """
    array, task = (os.environ.get(f"SLURM_ARRAY_{word}_ID") for word in ("JOB", "TASK"))
    number = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    if number:
        os.environ.update(zip(_JOB_VARIABLES, (number, name), strict=True))


def job_number() -> str | None:
    """Return the number of the job that this process was started as, None if none."""
    return os.environ.get(_JOB_VARIABLES[0])


def job_name() -> str | None:
    """Return the name of the job that this process was started as, None if none."""
    return os.environ.get(_JOB_VARIABLES[1])


def restarts() -> int:
    """Return how often SLURM has restarted the job that this process was started as."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() and job_number() else 0


@contextmanager
def outside_job(keep: Collection[str] = ()) -> Iterator[None]:
    """Hide the job around this process, and options for sbatch, from programs started here.

    sbatch and srun read a job's ``SLURM_*`` as options, and ``SBATCH_*`` overrule a job's script.

    Args:
        keep: variables that stay, besides those that choose the cluster.
    """
    prefixes = ("SLURM_", "SRUN_", "SBATCH_") if "SLURM_JOB_ID" in os.environ else ("SBATCH_",)
    kept = {*_CLUSTER_VARIABLES, *keep}
    hidden = {
        key: value
        for key, value in os.environ.items()
        if key in _JOB_VARIABLES or (key.startswith(prefixes) and key not in kept)
    }
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)


def queue(jobs: Collection[str] = (), names: Collection[str] = ()) -> Queue | None:
    """Return those of the jobs that are queued or running; None if SLURM cannot be asked.

    Args:
        jobs: numbers of jobs; for one in an array, the whole array is returned.
        names: names of jobs.
    """
    if not jobs and not names:
        return {}
    if shutil.which("squeue") is None:
        return None
    queued: Queue = {}
    for option, values in (("--jobs", {job.partition("_")[0] for job in jobs}), ("--name", names)):
        if not values:
            continue
        lines = _squeue(f"{option}={','.join(sorted(values))}")
        if lines is None:
            return None
        for line in lines:
            number, state, reason, name = line.split("|", 3)
            queued[number, name] = SlurmJob(number, state, reason, name)
    return queued


def _squeue(selection: str) -> list[str] | None:
    done = _call("squeue", "--noheader", "--array", f"--format={_FORMAT}", selection)
    if done.returncode != 0:
        # A number that SLURM has forgotten is an error only if nothing else is asked for.
        return [] if "Invalid job id" in done.stderr else None
    return [line.strip() for line in done.stdout.splitlines() if line.count("|") >= 3]


def cancel(jobs: Collection[JobKey]) -> dict[JobKey, str]:
    """Cancel jobs; return those that could not be cancelled, with scancel's message.

    A job with the number of one of them but another name is not cancelled.
    """
    queued = queue([number for number, _ in jobs if number])
    if queued is None:
        return dict.fromkeys(jobs, "squeue does not answer")
    present = queued.keys() & set(jobs)
    if not present:
        return {}
    # Not with --name: scancel would then end a waiting array as a whole.
    done = _call("scancel", *sorted(queued[key].number for key in present))
    message = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == 0 and not done.stderr.strip():
        return {}
    left = queue([queued[key].number for key in present])  # scancel cancels what it can
    why = message[-1].removeprefix("scancel: error: ")
    return {k: why for k in present if left is None or (k in left and not left[k].is_ending)}


def describe_exit(number: str | None, name: str | None) -> str:
    """Describe how a job ended, as ``FAILED, exit code 3``; empty if SLURM does not know."""
    if number is None or name is None:
        return ""
    words = _call("scontrol", "--oneliner", "show", "job", number).stdout.split()
    fields = {key: value for key, _, value in (word.partition("=") for word in words)}
    if fields.get("JobName") != name:
        return ""
    code, _, ended_by = fields.get("ExitCode", "").partition(":")
    how = f"signal {ended_by}" if ended_by not in ("", "0") else f"exit code {code}"
    return f"{fields.get('JobState')}, {how}"


def max_array_size() -> int | None:
    """Return the number of jobs that an array may have, None if SLURM does not say."""
    for line in _call("scontrol", "show", "config").stdout.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdecimal():
            return max(1, int(value))  # 0: there are no arrays
    return None


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a SLURM program; if it cannot be run, its error output says why."""
    environment = {  # a user's own filters would hide jobs
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SQUEUE_", "SCANCEL_"))
    }
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
