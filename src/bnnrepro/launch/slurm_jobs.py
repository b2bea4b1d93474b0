"""Launcher ``slurm``: a sweep as SLURM array jobs, submitted by submitit."""

import re
import shlex
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.launch.job import Batch
from bnnrepro.launch.plan import PlannedRun
from bnnrepro.launch.settings import Slurm
from bnnrepro.launch.signals import delayed, hidden_from_children
from bnnrepro.launch.submission import Job, Reservation, Submission
from bnnrepro.launch.submitter import Submitter
from bnnrepro.launch.wait import wait
from bnnrepro.runs import slurm_queue

# srun of SLURM 22.05 and later ignores the job's own number of cores.
_CORES = 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"'
# SLURM_JOB_ID of an array's last job to start is the whole array's number.
_JOB = '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"'
_RESERVED = ("job-name", "array", "wait", "parsable", "test-only")
"""Options of sbatch by which the launcher identifies its jobs."""

_REFUSALS = (
    (r"invalid partition|partition name|required partition|no partition", "partition"),
    (r"invalid account", "account partition"),
    (r"invalid qos", "qos"),
    (r"invalid feature", "constraint"),
    (r"invalid node name", "exclude nodelist"),
    (r"time limit is invalid", "time"),
    (r"memory (?:specification|required)", "mem"),
    (r"cpu count per node|more processors", "cpus-per-task"),
    (r"generic resource|trackable resource", "gpus-per-node gres"),
    (r"invalid --([\w-]+) specification", r"\1"),
    (r"unrecognized option '--([\w-]+)", r"\1"),
)
"""Patterns of SLURM's refusals, and the options of sbatch that may have caused them."""

_KEYS = {
    "time": "timeout_min",
    "mem": "mem_gb",
    "cpus-per-task": "cpus_per_task",
    "gpus-per-node": "gpus_per_node",
    "signal": "signal_delay_s",
}
"""sbatch's options whose launcher keys have another name."""


@dataclass(frozen=True)
class Array:
    """Jobs of a sweep that are submitted together.

    Args:
        jobs: their indices in the sweep.
        at_once: number of them that run at a time.
        after: index of the array that must have ended first, None if there is none.
    """

    jobs: range
    at_once: int
    after: int | None


def split_into_arrays(jobs: int, max_size: int, at_once: int) -> list[Array]:
    """Return arrays of equal size that together run ``at_once`` jobs at a time.

    Args:
        jobs: number of jobs in the sweep.
        max_size: number of jobs that an array may have.
        at_once: number of jobs that may run at a time.
    """
    count = -(-jobs // max_size)
    side_by_side = min(count, at_once)
    share, rest = divmod(at_once, side_by_side)
    return [
        Array(
            jobs=range(jobs * number // count, jobs * (number + 1) // count),
            at_once=share + (number % side_by_side < rest),
            after=number - side_by_side if number >= side_by_side else None,
        )
        for number in range(count)
    ]


class SlurmJobs(Submitter):
    """Submits runs to SLURM; whatever happens to a job, its runs resume in its next start.

    Args:
        values: the launcher's keys.
    """

    kind = "slurm"

    def __init__(self, values: Slurm) -> None:
        self.values = values
        self.name = values.name

    def settings(self) -> dict[str, Any]:
        """Return the launcher's keys, for the sweep's record."""
        return asdict(self.values)

    def check(self) -> None:
        """Refuse a machine without SLURM, and options that the launcher itself sets."""
        for program in ("sbatch", "srun", "squeue"):
            if shutil.which(program) is None:
                allowed = (
                    f"{program} is not on PATH; run it on a login node, or hydra/launcher=local"
                )
                raise UserError("hydra/launcher", "slurm", allowed)
        for option, value in self.values.additional_parameters.items():
            if option.replace("_", "-") in _RESERVED:
                key = f"hydra.launcher.additional_parameters.{option}"
                raise UserError(
                    key, value, "is set by the launcher itself, or cannot be used by it"
                )

    def submit(
        self, todo: Sequence[PlannedRun], submission: Submission, reservation: Reservation
    ) -> None:
        """Submit one array of jobs, or several if the cluster limits their size."""
        _refuse_path(todo[0].config.out, submission.folder)
        values = self.values
        at_once = min(values.runs_at_once, values.runs_per_job)
        threads = max(1, values.cpus_per_task // at_once)
        batches = self.batches(todo, submission, threads, at_once)
        jobs = submission.jobs
        max_size = slurm_queue.max_array_size() if len(batches) > 1 else None
        arrays = split_into_arrays(len(batches), max_size or len(batches), values.array_parallelism)
        for array in arrays:
            members = [batches[index] for index in array.jobs]
            after = jobs[arrays[array.after].jobs[0]].job if array.after is not None else None
            with delayed():  # so that every submitted job is recorded
                try:
                    numbers = self._sbatch(members, submission, array.at_once, after)
                except UserError as error:
                    if not reservation.assigned:
                        raise
                    allowed = f"{error.allowed}; {len(reservation.assigned)} of {len(todo)} runs"
                    allowed += f" had been submitted by then, as {self.where}"
                    raise UserError(error.key, error.value, allowed) from error
                for index, number in zip(array.jobs, numbers, strict=True):
                    jobs[index] = Job(number, jobs[index].runs)
                submitted = [jobs[index] for index in array.jobs]
                reservation.assign({run: str(job.job) for job in submitted for run in job.runs})
                with suppress(OSError):
                    submission.write()

    def wait(self, plan: Sequence[PlannedRun]) -> None:
        """Wait for the jobs of all runs, this sweep's or an earlier one's."""
        wait(plan)

    def interrupted(self) -> str:
        """Return a line that says what Ctrl-C did to this launcher's runs."""
        return (
            f"the jobs continue; bnnrepro status {self.where} shows them, "
            f"bnnrepro cancel {self.where} ends them"
        )

    def unfinished(self, plan: Sequence[PlannedRun]) -> list[tuple[PlannedRun, str]]:
        """Return the runs that did not finish, each with the reason."""
        pairs = []
        for planned, why in super().unfinished(plan):
            state, how = planned.run.status, ""
            if planned.run.state.name == "stale":
                how = slurm_queue.describe_exit(state.job, state.submission)
            pairs.append((planned, f"{why}; SLURM says {how}" if how else why))
        return pairs

    def _sbatch(
        self, batches: Sequence[Batch], submission: Submission, at_once: int, after: str | None
    ) -> list[str]:
        """Submit an array, to start after the end of job ``after``; return the jobs' numbers."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        values = self.values
        options = {"requeue": True, **values.additional_parameters}
        if after is not None:
            first = f"afterany:{after.partition('_')[0]}"
            options["dependency"] = ",".join(filter(None, [options.get("dependency"), first]))
        executor = submitit.AutoExecutor(
            folder=submission.folder, cluster="slurm", slurm_max_num_timeout=values.max_num_timeout
        )
        executor.update_parameters(
            name=submission.name,
            slurm_setup=[*values.setup, _CORES, self._trap(submission)],
            slurm_additional_parameters=options,
            **{**values.parameters(), "slurm_array_parallelism": at_once},
        )
        free = [
            key for key in ("partition", "account", "qos", "constraint") if not self._key_of(key)
        ]
        keep = [f"SBATCH_{key.upper()}" for key in free]  # the user's own settings
        try:
            with redirect_stderr(StringIO()), slurm_queue.outside_job(keep), hidden_from_children():
                return [job.job_id for job in executor.submit_array(batches)]
        except BaseException as error:
            _cancel_unrecorded(submission)
            if isinstance(error, FailedJobError | FailedSubmissionError):
                raise self._refused(str(error)) from error
            raise

    def _trap(self, submission: Submission) -> str:
        """Return a shell line that requeues the job after a kill -9 or a crash, a few times."""
        deaths = f"{shlex.quote(str(submission.folder))}/deaths-{_JOB}"
        again = (
            f"echo $rc >> {deaths}; "
            f"[ $(wc -l < {deaths}) -le {self.values.max_deaths} ] && "
            f"scontrol requeue {_JOB}"
        )
        act = f"rc=$?; case $rc in 134|135|137|139) {again};; esac; exit $rc"
        return f"died() {{ {act}; }}; trap died EXIT"

    def _refused(self, message: str) -> UserError:
        lines = [line.removeprefix("sbatch: error: ") for line in message.splitlines()]
        text = "; ".join(line.strip() for line in lines if line.strip())[:300]
        for pattern, options in _REFUSALS:
            if match := re.search(pattern, text, re.IGNORECASE):
                for option in match.expand(options).split():
                    if key := self._key_of(option):
                        return UserError(*key, f"sbatch refuses: {text}")
        return UserError("hydra/launcher", "slurm", f"sbatch refuses: {text}")

    def _key_of(self, option: str) -> tuple[str, Any] | None:
        """Return the launcher's key that sets an option of sbatch, and its value; None if unset."""
        for name, value in self.values.additional_parameters.items():
            if name.replace("_", "-") == option:
                return f"hydra.launcher.additional_parameters.{name}", value
        name = _KEYS.get(option, option)
        value = getattr(self.values, name, None)
        return None if value is None else (f"hydra.launcher.{name}", value)


def _refuse_path(out: str, folder: Path) -> None:
    """Refuse a folder whose name SLURM and submitit would read as a pattern."""
    if set(str(folder)) & set("%\\\n\r"):
        allowed = f"must lead to a folder without %, backslash or line break for SLURM: {folder}"
        raise UserError("out", out, allowed)


def _cancel_unrecorded(submission: Submission) -> None:
    """Cancel the jobs of a failed submission that are not on record: they have no work."""
    recorded = {job.job for job in [*submission.earlier, *submission.jobs]}
    queue = slurm_queue.queue(names=[submission.name]) or {}
    slurm_queue.cancel([key for key in queue if key[0] not in recorded])
