"""Which job is whose: one of an array, one of an allocation, one of another cluster's days."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bnnrepro.runs import status

from .cluster import wait_for
from .conftest import RUN_PY, TINY, Desk
from .test_sweeps import MINUTES, state_in_slurm

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

LATER = "+hydra.launcher.additional_parameters.begin=now+1hour"


def training(desk: Desk, *filters: str) -> None:
    wait_for(lambda: all((run.status.epoch or 0) >= 1 for run in desk.runs(*filters)), 120, filters)


def test_a_death_restarts_its_own_job_of_an_array_alone(desk: Desk) -> None:
    """One job has ended, one is cancelled, one is healthy; the last one to start is killed."""
    lengths = [2, 100001, 100002, 100003]
    desk.finish(desk.sweep(f"epochs={','.join(map(str, lengths))}", "--detach"))
    training(desk)
    ended, cancelled, healthy, killed = (f"epochs={length}" for length in lengths)
    wait_for(lambda: desk.run(ended).state.name == "done", 60, "the short run")
    assert "cancelled 1 run in 1 job" in desk.word("cancel", cancelled)
    wait_for(lambda: desk.run(cancelled).state.name == "interrupted", 60, "the cancelled run")
    before = {word: desk.run(word).status for word in (ended, cancelled, healthy, killed)}
    array = str(before[killed].job).partition("_")[0]
    (python,) = desk.cluster.python(array)  # the array's number is the last one's own
    assert python == before[killed].pid
    os.kill(python, signal.SIGKILL)
    wait_for(lambda: desk.run(killed).status.pid != before[killed].pid, 60, "the next start")
    training(desk, killed)
    assert desk.run(killed).status.attempt == 2
    assert desk.run(healthy).status.pid == before[healthy].pid
    assert {desk.run(word).status.attempt for word in (ended, cancelled, healthy)} == {1}
    assert state_in_slurm(desk, str(before[ended].job)) == "COMPLETED"
    assert state_in_slurm(desk, str(before[cancelled].job)) in ("CANCELLED", "COMPLETED", "FAILED")
    waiting = {before[healthy].job, before[killed].job}
    assert {number for number, *_ in desk.cluster.queue()} == waiting


def test_inside_an_allocation_runs_are_processes_and_submissions_are_new_jobs(desk: Desk) -> None:
    run, words = f"python {RUN_PY} -m", " ".join(TINY)
    here = f"{run} hydra/launcher=local hydra.launcher.processes=2 {words} {' '.join(MINUTES)}"
    new = f"{run} hydra/launcher=slurm hydra.launcher.mem_gb=1 {words} epochs=2 seed=5"
    (desk.folder / "job.sh").write_text(
        f"#!/bin/sh\n{new} > new.log 2>&1\n{here} seed=0,1\nsleep 300"
    )
    options = ("--job-name=foreign", "--cpus-per-task=2", "--mem-per-cpu=700", "--output=job.log")
    line = ["sbatch", f"--chdir={desk.folder}", *options, str(desk.folder / "job.sh")]
    paths = {"PATH": f"{Path(sys.executable).parent}:{desk.cluster.env['PATH']}"}
    subprocess.run(line, env={**desk.cluster.env, **paths}, check=True, capture_output=True)
    wait_for(lambda: len(desk.runs()) == 3, 90, desk.logs())
    training(desk)
    submitted, (killed, other) = desk.run("seed=5"), (desk.run(f"seed={seed}") for seed in (0, 1))
    assert submitted.state.name == "done", (desk.folder / "new.log").read_text()
    (allocation,) = [number for number, *_, name in desk.cluster.queue() if name == "foreign"]
    assert submitted.status.job not in (None, allocation)
    assert (killed.status.job, other.status.job) == (None, None)
    os.kill(killed.status.pid or 0, signal.SIGKILL)
    wait_for(lambda: desk.run("seed=0").state.name == "failed", 30, "the launcher to notice")
    assert "was ended by SIGKILL" in desk.run("seed=0").state.note
    assert desk.word("cancel") == "cancelled 1 run\n"
    wait_for(lambda: desk.run("seed=1").state.name == "interrupted", 60, "the other to save")
    assert [(number, name) for number, *_, name in desk.cluster.queue()] == [
        (allocation, "foreign")
    ]


def test_a_number_that_was_given_again_is_a_strangers(desk: Desk) -> None:
    desk.finish(desk.sweep(*MINUTES, "seed=0", LATER, "--detach"))
    desk.clear()
    line = ("--job-name=foreign", "--output=/dev/null", "--begin=now+1hour", "--wrap=sleep 300")
    number = desk.cluster.call("sbatch", *line).split()[-1]
    folder = desk.run().folder
    status.write(folder, "submitted", job=number, submission=desk.run().status.submission)
    assert "stale 1" in desk.word("status")
    assert "cancelled 0 runs" in desk.word("cancel")
    assert [job[0] for job in desk.cluster.queue() if job[3] == "foreign"] == [number]


def test_ctrl_c_between_sbatch_and_the_end_of_the_submission(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path_factory.mktemp("bin"), desk.cluster.env["PATH"]
    program = folder / "sbatch"
    text = f'#!/bin/sh\nPATH={real} sbatch "$@"\ncode=$?\nkill -INT $PPID\nsleep 0.2\nexit $code\n'
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setitem(desk.cluster.env, "PATH", f"{folder}:{real}")
    out, _ = desk.finish(desk.sweep(*MINUTES, "seed=0,1", LATER), code=130)
    assert "the jobs continue" in out
    jobs = {number for number, _, _, name in desk.cluster.queue() if name != "foreign"}
    assert len(jobs) == 2
    assert {run.status.job for run in desk.runs("state=queued")} == jobs
    (record,) = desk.sweeps()
    assert f"cancel {record.parent.relative_to(desk.folder)} ends them" in out
    assert "cancelled 2 runs in 2 jobs" in desk.word("cancel", str(record.parent))


@pytest.mark.parametrize("at_once", [3, 1])
def test_a_sweep_larger_than_an_array_is_several(desk: Desk, at_once: int) -> None:
    """The tests' cluster allows four jobs an array."""
    keys = (LATER, f"hydra.launcher.array_parallelism={at_once}", "--detach")
    out, _ = desk.finish(desk.sweep(*MINUTES, "seed=range(6)", *keys))
    assert "6 runs submitted in 6 jobs (number " in out
    jobs = {str(run.status.job) for run in desk.runs("state=queued")}
    first, second = sorted({job.partition("_")[0] for job in jobs}, key=int)
    assert jobs == {f"{array}_{task}" for array in (first, second) for task in range(3)}
    shown = [desk.cluster.call("scontrol", "-o", "show", "job", job) for job in (first, second)]
    limits = [int(text.partition("ArrayTaskThrottle=")[2].split()[0]) for text in shown]
    assert limits == ([2, 1] if at_once == 3 else [1, 1])
    assert (f"Dependency=afterany:{first}_" in shown[1]) is (at_once == 1)
    assert "cancelled 6 runs in 6 jobs" in desk.word("cancel")
