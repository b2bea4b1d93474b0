"""The sweep as SLURM array jobs, by submitit."""

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
from bnnrepro.launch.launching import Submitter
from bnnrepro.launch.plan import Planned
from bnnrepro.launch.settings import Slurm
from bnnrepro.launch.signals import put_off, unheard_by_children
from bnnrepro.launch.submission import Announcement, Job, Submission
from bnnrepro.launch.wait import wait
from bnnrepro.runs import slurm_queue

# srun of SLURM 22.05 and later takes no notice of the job's own number of cores.
_CORES = 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"'
# SLURM_JOB_ID of an array's last job to start is the whole array's number.
_JOB = '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"'
_OURS = ("job-name", "array", "wait", "parsable", "test-only")
"""Options of sbatch by which the launcher knows its jobs."""

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
"""Words of SLURM's refusals, and the options of sbatch that they may be about."""

_KEYS = {
    "time": "timeout_min",
    "mem": "mem_gb",
    "cpus-per-task": "cpus_per_task",
    "gpus-per-node": "gpus_per_node",
    "signal": "signal_delay_s",
}
"""The launcher's keys whose names are not those of sbatch's options."""


@dataclass(frozen=True)
class Array:
    """Jobs of a sweep that are submitted together.

    Args:
        jobs: their places in the sweep.
        at_once: so many of them run at a time.
        after: place of the array that must have ended first, None if there is none.
    """

    jobs: range
    at_once: int
    after: int | None


def arrays(jobs: int, largest: int, at_once: int) -> list[Array]:
    """Return arrays of equal size that all together run ``at_once`` jobs at a time.

    Args:
        jobs: of the sweep.
        largest: jobs that an array may have.
        at_once: jobs of the sweep that may run at a time.
    """
    count = -(-jobs // largest)
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
    """Gives runs to SLURM; whatever happens to a job, its runs go on in its next start.

    Args:
        values: the launcher's keys.
    """

    kind = "slurm"

    def __init__(self, values: Slurm) -> None:
        self.values = values
        self.name = values.name

    def settings(self) -> dict[str, Any]:
        """Return the launcher's keys, for the record."""
        return asdict(self.values)

    def check(self) -> None:
        """Refuse a machine that has no SLURM, and options that the launcher itself needs."""
        for program in ("sbatch", "srun", "squeue"):
            if shutil.which(program) is None:
                allowed = (
                    f"{program} is not on PATH; run it on a login node, or hydra/launcher=local"
                )
                raise UserError("hydra/launcher", "slurm", allowed)
        for option, value in self.values.additional_parameters.items():
            if option.replace("_", "-") in _OURS:
                key = f"hydra.launcher.additional_parameters.{option}"
                raise UserError(
                    key, value, "is set by the launcher itself, or cannot be used by it"
                )

    def submit(self, todo: Sequence[Planned], made: Submission, announcement: Announcement) -> None:
        """Submit array jobs: one, unless the cluster's arrays are smaller."""
        _refuse_path(todo[0].config.out, made.folder)
        values = self.values
        at_once = min(values.runs_at_once, todo[0].config.runs_per_job)
        batches = self.batches(todo, made, max(1, values.cpus_per_task // at_once), at_once)
        largest = slurm_queue.largest_array() if len(batches) > 1 else None
        parts = arrays(len(batches), largest or len(batches), values.array_parallelism)
        for part in parts:
            work = [batches[number] for number in part.jobs]
            after = made.jobs[parts[part.after].jobs[0]].job if part.after is not None else None
            with put_off():  # what is submitted is recorded, whatever the user or the disk does
                try:
                    numbers = self._sbatch(work, made, part.at_once, after)
                except UserError as error:
                    if not announcement.given:
                        raise
                    allowed = f"{error.allowed}; {len(announcement.given)} of {len(todo)} runs"
                    allowed += f" had been submitted by then, as {self.where}"
                    raise UserError(error.key, error.value, allowed) from error
                for place, number in zip(part.jobs, numbers, strict=True):
                    made.jobs[place] = Job(number, made.jobs[place].runs)
                announcement.give(
                    {run: str(made.jobs[place].job) for place in part.jobs
                     for run in made.jobs[place].runs}
                )  # fmt: skip
                with suppress(OSError):
                    made.write()

    def wait(self, planned: Sequence[Planned]) -> None:
        """Wait for the jobs of all of the runs, this sweep's or an earlier one's."""
        wait(planned)

    def interrupted(self) -> str:
        """Return what Ctrl-C means for the runs of its own."""
        return (
            f"the jobs go on; bnnrepro status {self.where} knows, "
            f"bnnrepro cancel {self.where} ends them"
        )

    def tell(self, planned: Sequence[Planned]) -> list[tuple[Planned, str]]:
        """Return the runs that did not come to their end, each with the reason."""
        told = []
        for each, why in super().tell(planned):
            state, how = each.run.status, ""
            if each.run.state.name == "stale":
                how = slurm_queue.ending(state.job, state.submission)
            told.append((each, f"{why}; SLURM says {how}" if how else why))
        return told

    def _sbatch(
        self, batches: Sequence[Batch], made: Submission, at_once: int, after: str | None
    ) -> list[str]:
        """Submit an array, after another one's end if there is one; return the jobs' numbers."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        values = self.values
        more = {"requeue": True, **values.additional_parameters}
        if after is not None:
            first = f"afterany:{after.partition('_')[0]}"
            more["dependency"] = ",".join(filter(None, [more.get("dependency"), first]))
        executor = submitit.AutoExecutor(
            folder=made.folder, cluster="slurm", slurm_max_num_timeout=values.max_num_timeout
        )
        executor.update_parameters(
            name=made.name,
            slurm_setup=[*values.setup, _CORES, self._trap(made)],
            slurm_additional_parameters=more,
            **{**values.parameters(), "slurm_array_parallelism": at_once},
        )
        free = [key for key in ("partition", "account", "qos", "constraint") if not self._of(key)]
        keep = [f"SBATCH_{key.upper()}" for key in free]  # the user's own choice
        try:
            with redirect_stderr(StringIO()), slurm_queue.outside(keep), unheard_by_children():
                return [job.job_id for job in executor.submit_array(batches)]
        except BaseException as error:
            _end_strays(made)
            if isinstance(error, FailedJobError | FailedSubmissionError):
                raise self._refused(str(error)) from error
            raise

    def _trap(self, made: Submission) -> str:
        """Return a shell line: after a kill -9 or a crash the job is started again, a few times."""
        deaths = f"{shlex.quote(str(made.folder))}/deaths-{_JOB}"
        again = (
            f"echo $rc >> {deaths}; "
            f"[ $(wc -l < {deaths}) -le {self.values.max_deaths} ] && "
            f"scontrol requeue {_JOB}"
        )
        act = f"rc=$?; case $rc in 134|135|137|139) {again};; esac; exit $rc"
        return f"died() {{ {act}; }}; trap died EXIT"

    def _refused(self, message: str) -> UserError:
        lines = [line.removeprefix("sbatch: error: ") for line in message.splitlines()]
        said = "; ".join(line.strip() for line in lines if line.strip())[:300]
        for words, options in _REFUSALS:
            if found := re.search(words, said, re.IGNORECASE):
                for option in found.expand(options).split():
                    if key := self._of(option):
                        return UserError(*key, f"sbatch refuses: {said}")
        return UserError("hydra/launcher", "slurm", f"sbatch refuses: {said}")

    def _of(self, option: str) -> tuple[str, Any] | None:
        """Return the launcher's key that sets an option of sbatch, and its value, if one does."""
        for name, value in self.values.additional_parameters.items():
            if name.replace("_", "-") == option:
                return f"hydra.launcher.additional_parameters.{name}", value
        name = _KEYS.get(option, option)
        value = getattr(self.values, name, None)
        return None if value is None else (f"hydra.launcher.{name}", value)


def _refuse_path(out: str, folder: Path) -> None:
    """Refuse a folder whose name SLURM and submitit would take for a pattern."""
    if set(str(folder)) & set("%\\\n\r"):
        allowed = f"must lead to a folder without %, backslash or line break for SLURM: {folder}"
        raise UserError("out", out, allowed)


def _end_strays(made: Submission) -> None:
    """Cancel jobs of a submission that failed half-way; without their work they can do nothing."""
    known = {job.job for job in made.jobs}
    slurm_queue.cancel(
        [key for key in slurm_queue.queue(names=[made.name]) or {} if key[0] not in known]
    )
