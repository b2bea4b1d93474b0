"""The sweep as a SLURM array job, by submitit."""

import shlex
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import asdict
from io import StringIO
from typing import Any

from bnnrepro.cluster.launching import Submitter
from bnnrepro.cluster.plan import Planned
from bnnrepro.cluster.settings import Slurm
from bnnrepro.cluster.submission import Announcement, Job, Submission
from bnnrepro.cluster.waiting import wait
from bnnrepro.errors import UserError

# srun of SLURM 22.05 and later takes no notice of the job's own number of cores.
_CORES = 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"'


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
        """Refuse a machine that has no SLURM."""
        for program in ("sbatch", "srun", "squeue"):
            if shutil.which(program) is None:
                allowed = (
                    f"{program} is not on PATH; run it on a login node, or hydra/launcher=local"
                )
                raise UserError("hydra/launcher", "slurm", allowed)

    def submit(self, todo: Sequence[Planned], made: Submission, announcement: Announcement) -> None:
        """Submit one array job."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        values = self.values
        at_once = min(values.runs_at_once, todo[0].config.runs_per_job)
        threads = max(1, values.cpus_per_task // at_once)
        executor = submitit.AutoExecutor(
            folder=made.folder, cluster="slurm", slurm_max_num_timeout=values.max_num_timeout
        )
        executor.update_parameters(
            name=made.name,
            slurm_setup=[*values.setup, _CORES, self._trap(made)],
            slurm_additional_parameters={"requeue": True, **values.additional_parameters},
            **values.parameters(),
        )
        batches = self.batches(todo, made, threads, at_once)
        try:
            with redirect_stderr(StringIO()):  # submitit prints what it raises as well
                jobs = executor.submit_array(batches)
        except (FailedJobError, FailedSubmissionError) as error:
            raise self._refused(str(error)) from error
        for number, job in enumerate(jobs):
            made.jobs[number] = Job(job.job_id, made.jobs[number].runs)
        made.write()
        announcement.number({run: str(job.job) for job in made.jobs for run in job.runs})

    def wait(self, planned: Sequence[Planned]) -> None:
        """Wait for the jobs of all of the runs, this sweep's or an earlier one's."""
        wait(planned)

    def interrupted(self) -> None:
        """Say that the jobs go on."""
        where = self.where or "multirun"
        print(
            f"\nthe jobs go on; python -m bnnrepro.store status {where} knows, "
            f"python -m bnnrepro.store cancel {where} ends them"
        )

    def _trap(self, made: Submission) -> str:
        """Return a shell line: after a kill -9 or a crash the job is started again, a few times."""
        deaths = f'{shlex.quote(str(made.folder))}/deaths-"$SLURM_JOB_ID"'
        again = (
            f"echo $rc >> {deaths}; "
            f"[ $(wc -l < {deaths}) -le {self.values.max_deaths} ] && "
            'scontrol requeue "$SLURM_JOB_ID"'
        )
        act = f"rc=$?; case $rc in 134|135|137|139) {again};; esac; exit $rc"
        return f"died() {{ {act}; }}; trap died EXIT"

    def _refused(self, message: str) -> UserError:
        lines = [line.removeprefix("sbatch: error: ") for line in message.splitlines()]
        said = "; ".join(line.strip() for line in lines if line.strip())[:300]
        for key in ("partition", "account", "qos", "constraint", "time", "gres", "memory"):
            if key in said.lower():
                named = {"time": "timeout_min", "gres": "gpus_per_node", "memory": "mem_gb"}
                name = named.get(key, key)
                value = getattr(self.values, name)
                return UserError(f"hydra.launcher.{name}", value, f"sbatch refuses: {said}")
        return UserError("hydra/launcher", "slurm", f"sbatch refuses: {said}")
