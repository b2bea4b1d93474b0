"""The processor's set-up, before torch computes anything: denormal numbers, and threads.

Threads are those that the process may use, not all there are.
"""

import math
import os
from pathlib import Path

import torch

CGROUPS = Path("/sys/fs/cgroup")


def set_up_cpu(threads: int | None) -> None:
    """Take denormal numbers for 0, and set torch's threads.

    Denormals first: torch's worker threads take the mode over from the one that starts them, at the
    first operation that is shared out, and none of them learns of it later.

    Threads: as asked; else as OMP_NUM_THREADS says; else at most the share of the machine that is
    ours. torch counts the cores of a whole node. On a cluster a job has some of them, by SLURM's
    word (``SLURM_CPUS_PER_TASK``) or as a container's quota of time; more threads than that wait
    for each other.
    """
    torch.set_flush_denormal(True)
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
    """Return the cores' time that control groups (version 2) leave this process, rounded up."""
    try:
        line = Path("/proc/self/cgroup").read_text().splitlines()[-1]
        group = CGROUPS / line.rpartition(":")[2].lstrip("/")
    except (OSError, IndexError):
        return None
    quotas = []
    for folder in (group, *group.parents):
        try:
            time, period = (folder / "cpu.max").read_text().split()
            quotas.append(math.ceil(int(time) / int(period)))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return min(quotas, default=None)
