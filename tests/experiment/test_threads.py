"""Threads, and denormal numbers in each of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnnrepro.experiment import threads as module

DENORMALS = """
import sys
import torch
from bnnrepro.training.precision import no_denormals
torch.set_num_threads(2)
with no_denormals():
    products = torch.full((1 << 20,), 1e-40) * 1.0
sys.exit(int(torch.count_nonzero(products)) != 0)
"""


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A machine of 16 cores, without limits."""
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    return chosen


def test_all_workers_flush_denormals():
    assert subprocess.run([sys.executable, "-c", DENORMALS], check=False).returncode == 0


def test_what_is_asked_for_wins(alone, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    module.set_threads(7)
    assert alone == [7]


def test_torch_itself_follows_omp_num_threads(alone, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    module.set_threads(None)
    assert alone == []


@pytest.mark.parametrize(("setting", "threads"), [("4", 4), ("64", 16), ("", 16), ("all", 16)])
def test_a_job_takes_the_cores_that_slurm_gave_it(alone, monkeypatch, setting, threads):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", setting)
    module.set_threads(None)
    assert alone == [threads]


def test_a_job_takes_the_cores_that_it_is_bound_to(alone, monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    module.set_threads(None)
    assert alone == [2]


@pytest.mark.parametrize(
    ("limit", "threads"),
    [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 16), ("nonsense", 16)],
)
def test_a_containers_quota_counts(alone, tmp_path, limit, threads):
    group = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    folder = tmp_path / group.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(limit)
    module.set_threads(None)
    assert alone == [threads]
