"""What SLURM says: the job that this process is, jobs queued or running; and cancelling them.

A number alone names no job: a cluster that is set up again counts from 1. Ours are known by number
and name together, and the name is that of the submission.
"""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_FORMAT = "%i|%T|%r|%j"
_TIMEOUT = 30  # seconds; a busy controller answers late, and a hanging one must not hold a run
_STARTED_AS = ("BNNREPRO_JOB", "BNNREPRO_JOB_NAME")
_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_CLUSTERS")  # these choose the cluster


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

    @property
    def ends(self) -> bool:
        """Whether the job has been told to end."""
        return self.state in ("COMPLETING", "CANCELLED")


Key = tuple[str | None, str | None]
"""Number, for one of an array ``<array>_<task>``, and name."""

Queue = dict[Key, Job]


def enter_job(name: str) -> None:
    """Note, for this process and its children, that they are the job around them, called ``name``.

    Other processes inside a job, as in an allocation, come and go without it.
    """
    array, task = (os.environ.get(f"SLURM_ARRAY_{word}_ID") for word in ("JOB", "TASK"))
    number = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    if number:
        os.environ.update(zip(_STARTED_AS, (number, name), strict=True))


def job_number() -> str | None:
    """Return the number of the job that this process was started as, None if it is none."""
    return os.environ.get(_STARTED_AS[0])


def job_name() -> str | None:
    """Return the name of the job that this process was started as, None if it is none."""
    return os.environ.get(_STARTED_AS[1])


def restarts() -> int:
    """Return how often SLURM has started again the job that this process was started as."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() and job_number() else 0


@contextmanager
def outside(keep: Collection[str] = ()) -> Iterator[None]:
    """Hide, from what is started here, the job around this process and wishes for another one.

    sbatch and srun take a job's ``SLURM_*`` for wishes, and ``SBATCH_*`` overrule a job's script.

    Args:
        keep: variables that stay, beside those that choose the cluster.
    """
    prefixes = ("SLURM_", "SRUN_", "SBATCH_") if "SLURM_JOB_ID" in os.environ else ("SBATCH_",)
    kept = {*_CLUSTER, *keep}
    hidden = {
        key: value
        for key, value in os.environ.items()
        if key in _STARTED_AS or (key.startswith(prefixes) and key not in kept)
    }
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)


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
            found[number, name] = Job(number, state, reason, name)
    return found


def _squeue(selection: str) -> list[str] | None:
    done = _call("squeue", "--noheader", "--array", f"--format={_FORMAT}", selection)
    if done.returncode != 0:
        # A number that SLURM has forgotten is an error only where it is asked for alone.
        return [] if "Invalid job id" in done.stderr else None
    return [line.strip() for line in done.stdout.splitlines() if line.count("|") >= 3]


def cancel(jobs: Collection[Key]) -> dict[Key, str]:
    """Cancel jobs; return those that could not be, with what scancel says.

    A job with the number of one of them and another name is left alone.
    """
    there = queue([number for number, _ in jobs if number])
    if there is None:
        return dict.fromkeys(jobs, "squeue does not answer")
    ours = there.keys() & set(jobs)
    if not ours:
        return {}
    # Its own --name is no help: with it, scancel ends all of an array that waits.
    done = _call("scancel", *sorted(there[key].number for key in ours))
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == 0 and not done.stderr.strip():
        return {}
    left = queue([there[key].number for key in ours])  # scancel does as much as it can
    why = said[-1].removeprefix("scancel: error: ")
    return {key: why for key in ours if left is None or (key in left and not left[key].ends)}


def ending(number: str | None, name: str | None) -> str:
    """Return how a job ended, as ``FAILED, exit code 3``; nothing where SLURM does not know."""
    if number is None or name is None:
        return ""
    words = _call("scontrol", "--oneliner", "show", "job", number).stdout.split()
    fields = {key: value for key, _, value in (word.partition("=") for word in words)}
    if fields.get("JobName") != name:
        return ""
    code, _, ended_by = fields.get("ExitCode", "").partition(":")
    how = f"signal {ended_by}" if ended_by not in ("", "0") else f"exit code {code}"
    return f"{fields.get('JobState')}, {how}"


def largest_array() -> int | None:
    """Return how many jobs an array may have, None where SLURM does not say."""
    for line in _call("scontrol", "show", "config").stdout.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdecimal():
            return max(1, int(value))  # 0: there are no arrays
    return None


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of SLURM's; if it cannot be run, its error output says why."""
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
