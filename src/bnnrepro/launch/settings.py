"""The launchers' keys: ``hydra.launcher.*``, each with its meaning and range."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from bnnrepro.config.constraints import Pattern, Range
from bnnrepro.config.schema import Count, Name, Positive, Text

NotNegativeCount = Annotated[int, Range(0)]
RunsPerJob = Annotated[int, Range(1, 10_000)]
Line = Annotated[str, Pattern(r".*\S.*", "text on one line, not empty")]
"""A value in sbatch's script, in which a second line would be a command."""


@dataclass
class Local:
    """``hydra/launcher=local``."""

    name: Name
    """begins the name of the sweep's folder"""
    processes: Annotated[int, Range(1, 1024)] | None
    """runs at a time; null: runs_per_gpu per GPU, or one per two cores without a GPU"""
    threads: Annotated[int, Range(1, 1024)] | None
    """CPU threads of a run without a setting; null: an equal share of the cores"""
    gpus: list[NotNegativeCount] | None
    """numbers of the GPUs that may be used; null: all that are visible"""
    runs_per_gpu: Count
    """runs that share a GPU"""
    runs_per_job: RunsPerJob = 1
    """runs that share a process, one after another"""


@dataclass
class Slurm:
    """``hydra/launcher=slurm``."""

    name: Name
    """begins the jobs' name and that of the sweep's folder"""
    partition: Line | None
    """as sbatch --partition; null: the cluster's default"""
    account: Line | None
    """as sbatch --account"""
    qos: Line | None
    """as sbatch --qos"""
    constraint: Line | None
    """as sbatch --constraint"""
    exclude: Line | None
    """as sbatch --exclude: nodes to avoid"""
    timeout_min: Count
    """time limit of a job, minutes; a run that needs more resumes in the job's next start"""
    cpus_per_task: Count
    """cores of a job, shared among its runs"""
    mem_gb: Positive | None
    """memory of a job; null: the cluster's default"""
    gpus_per_node: Count | None
    """GPUs of a job"""
    array_parallelism: Count
    """jobs of the sweep that run at a time"""
    max_num_timeout: NotNegativeCount
    """starts after time limits, of each job"""
    max_deaths: NotNegativeCount
    """starts after a kill -9 or a crash, of each job"""
    signal_delay_s: Annotated[int, Range(1)]
    """warning before the time limit, seconds: in it, the state is saved"""
    runs_at_once: Count
    """number of a job's runs_per_job runs that run side by side (on its GPU)"""
    setup: list[Text]
    """shell lines before Python starts: modules, environments"""
    additional_parameters: dict[str, Any]
    """any other option of sbatch: {mail-type: END}"""
    runs_per_job: RunsPerJob = 1
    """runs that share a job, one after another or side by side"""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of submitit's executor that need no change."""
        own = {"max_num_timeout", "max_deaths", "runs_at_once", "runs_per_job"}
        own |= {"setup", "additional_parameters"}
        shared = ("timeout_min", "cpus_per_task", "mem_gb", "gpus_per_node")
        values = {key: value for key, value in asdict(self).items() if key not in own}
        del values["name"]
        named = {k if k in shared else f"slurm_{k}": v for k, v in values.items()}
        return {key: value for key, value in named.items() if value is not None}
