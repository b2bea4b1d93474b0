"""How many CPU threads a run takes where nobody says: those that it may use, not all there are."""

import math
import os
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")


def set_threads(wanted: int | None) -> None:
    """Set torch's threads: as wanted; else as OMP_NUM_THREADS says; else at most the share here.

    torch counts the cores of a whole node. On a cluster a job has some of them, by SLURM's word
    (``SLURM_CPUS_PER_TASK``) or as a container's quota of time; more threads than that wait for
    each other.
    """
    if wanted is not None:
        torch.set_num_threads(wanted)
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
    """Return the cores' time that control groups (version 2) leave this process, rounded up."""
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
