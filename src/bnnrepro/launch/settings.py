"""Keys of the launchers and of a search, ``hydra.launcher.*`` and ``hydra.sweeper.*``."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from bnnrepro.constraints import Count, Ge, Interval, Name, Pattern, Positive, Text

NotNegativeCount = Annotated[int, Ge(0)]
RunsPerJob = Annotated[int, Interval(ge=1, le=10_000)]
Line = Annotated[str, Pattern(r".*\S.*", "text on one line, not empty")]
"""A value in sbatch's script, in which a second line would be a command."""


@dataclass
class Local:
    """``hydra/launcher=local``.

    Attributes:
        name: begins the name of the sweep's folder
        processes: runs at a time; null: runs_per_gpu per GPU, or one per two cores without a GPU
        threads: CPU threads of a run without a setting; null: an equal share of the cores
        gpus: numbers of the GPUs that may be used; null: all that are visible
        runs_per_gpu: runs that share a GPU
        runs_per_job: runs that share a process, one after another
    """

    name: Name
    processes: Annotated[int, Interval(ge=1, le=1024)] | None
    threads: Annotated[int, Interval(ge=1, le=1024)] | None
    gpus: list[NotNegativeCount] | None
    runs_per_gpu: Count
    runs_per_job: RunsPerJob = 1


@dataclass
class Slurm:
    """``hydra/launcher=slurm``.

    Attributes:
        name: begins the jobs' name and that of the sweep's folder
        partition: as sbatch --partition; null: the cluster's default
        account: as sbatch --account
        qos: as sbatch --qos
        constraint: as sbatch --constraint
        exclude: as sbatch --exclude: nodes to avoid
        timeout_min: time limit of a job, minutes; a run that needs more resumes in the job's next
            start
        cpus_per_task: cores of a job, shared among its runs
        mem_gb: memory of a job; null: the cluster's default
        gpus_per_node: GPUs of a job
        array_parallelism: jobs of the sweep that run at a time
        max_num_timeout: starts after time limits, of each job
        max_deaths: starts after a kill -9 or a crash, of each job
        signal_delay_s: warning before the time limit, seconds: in it, the state is saved
        runs_at_once: number of a job's runs_per_job runs that run side by side (on its GPU)
        setup: shell lines before Python starts: modules, environments
        additional_parameters: any other option of sbatch: {mail-type: END}
        runs_per_job: runs that share a job, one after another or side by side
    """

    name: Name
    partition: Line | None
    account: Line | None
    qos: Line | None
    constraint: Line | None
    exclude: Line | None
    timeout_min: Count
    cpus_per_task: Count
    mem_gb: Positive | None
    gpus_per_node: Count | None
    array_parallelism: Count
    max_num_timeout: NotNegativeCount
    max_deaths: NotNegativeCount
    signal_delay_s: Annotated[int, Ge(1)]
    runs_at_once: Count
    setup: list[Text]
    additional_parameters: dict[str, Any]
    runs_per_job: RunsPerJob = 1

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of submitit's executor that need no change."""
        own = {"max_num_timeout", "max_deaths", "runs_at_once", "runs_per_job"}
        own |= {"setup", "additional_parameters"}
        shared = ("timeout_min", "cpus_per_task", "mem_gb", "gpus_per_node")
        values = {key: value for key, value in asdict(self).items() if key not in own}
        del values["name"]
        named = {k if k in shared else f"slurm_{k}": v for k, v in values.items()}
        return {key: value for key, value in named.items() if value is not None}


@dataclass
class Search:
    """``hydra/sweeper=optuna``.

    Attributes:
        params: the space, by key, as typed after -m: tag(log, interval(1e-5, 1e-2)), range(1, 9),
            or a choice: ste,bop
        objective: a figure of the results table: test.nll, final.test.mean.accuracy, seconds;
            null: the validation figure that chooses a run's best epoch
        direction: minimize or maximize; null: as the task says of its own metric
        n_trials: runs in all, with those of earlier starts of the same search
        n_jobs: trials at a time; null: as many as hydra/launcher=local has processes, else one
        sampler: class of optuna.samplers
        sampler_args: its arguments: {multivariate: true}; seed is 0 unless given
        pruner: class of optuna.pruners, which stops trials by metrics.csv; null: none is stopped
        pruner_args: its arguments
    """

    params: dict[str, Any] | None
    objective: Text | None
    direction: Literal["minimize", "maximize"] | None
    n_trials: Count
    n_jobs: Count | None
    sampler: Text
    sampler_args: dict[str, Any] | None
    pruner: Text | None
    pruner_args: dict[str, Any] | None
