"""Default number of CPU threads of a run: the cores it may use, not all of the machine's."""

import math
import os
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")


def set_threads(threads: int | None) -> None:
    """Set torch's number of threads: as given, else OMP_NUM_THREADS, else this process's share.

    torch counts the cores of a whole node. A job on a cluster has some of them, by SLURM's setting
    (``SLURM_CPUS_PER_TASK``) or by a container's quota of time; any more threads wait for each
    other.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min([torch.get_num_threads(), *_shares()]))


def _shares() -> list[int]:
    shares = [_quota()]
    if hasattr(os, "sched_getaffinity"):
        shares.append(len(os.sched_getaffinity(0)))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    shares.append(int(slurm) if slurm.isdigit() else None)
    return [share for share in shares if share]


def _quota() -> int | None:
    """Return the cores that control groups (version 2) allow this process, rounded up."""
    try:
        line = os.fsdecode(Path("/proc/self/cgroup").read_bytes()).splitlines()[-1]
        group = CGROUPS / line.rpartition(":")[2].lstrip("/")
    except (OSError, IndexError):
        return None
    quotas = []
    for folder in (group, *group.parents):
        try:
            time, period = (folder / "cpu.max").read_bytes().split()
            quotas.append(math.ceil(int(time) / int(period)))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return min(quotas, default=None)
