"""Whatever happens to a job, its run ends in the bits of an undisturbed one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnrepro.store.folder import RunFolder

from .cluster import Cluster, wait_for
from .conftest import RUN_PY, TINY, Desk
from .outcomes import outcome

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

LONG = ("epochs=40", "model.hidden=[256]", "method.temperature=1", "evaluate.samples=2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Path:
    """Four seeds, one after another in one process that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    line = [sys.executable, str(RUN_PY), "-m", *TINY, *LONG, "seed=range(4)", "threads=1"]
    subprocess.run(line, cwd=folder, check=True, capture_output=True, env=cluster.env)
    return folder


def started(desk: Desk, *filters: str) -> None:
    """Wait until a run is in the midst of training."""
    wait_for(
        lambda: any((run.status.epoch or 0) >= 2 for run in desk.runs(*filters)),
        120,
        f"{filters} to train",
    )
    assert desk.run(*filters).outlook.state == "running", desk.logs()


def assert_same(desk: Desk, undisturbed: Path, *filters: str) -> RunFolder:
    run = desk.run(*filters)
    ours = run.folder
    theirs = RunFolder(undisturbed / ours.path.relative_to(desk.folder))
    assert outcome(ours) == outcome(theirs)
    assert not list(ours.path.glob(".*")), "leftovers"
    return ours


def single(desk: Desk, job: str) -> str:
    """Return the single number of an array's job, as processes know it."""
    lines = desk.cluster.call("squeue", "-h", "-r", "-o", "%i %A").splitlines()
    return dict(line.split() for line in lines)[job]


def test_signals_requeues_and_kills(desk: Desk, undisturbed: Path) -> None:
    """The warning before the time limit, ``scontrol requeue`` and ``kill -9`` of the process."""
    driver = desk.sweep(*LONG, "seed=range(3)")
    for seed in range(3):
        started(desk, f"seed={seed}")
    jobs = [desk.run(f"seed={seed}").status.job for seed in range(3)]
    desk.cluster.call("scancel", "--signal=USR2", jobs[0])
    desk.cluster.call("scontrol", "requeue", jobs[1])
    for pid in desk.cluster.python(single(desk, jobs[2])):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: desk.runs("state=queued"), 60, "a requeued job")
    out, _ = desk.finish(driver)
    assert "done 3" in out
    for seed in range(3):
        folder = assert_same(desk, undisturbed, f"seed={seed}")
        assert desk.run(f"seed={seed}").status.attempt == 2
        assert desk.run(f"seed={seed}").status.job == jobs[seed]
        assert "resumed after epoch" in folder.log.read_text()
    assert len(desk.sweeps()) == 1


def test_preemption(desk: Desk, undisturbed: Path) -> None:
    only_n1 = "+hydra.launcher.additional_parameters.nodelist=n1"
    driver = desk.sweep(*LONG, "seed=3", only_n1)
    started(desk)
    desk.cluster.call("sbatch", "-p", "urgent", "-w", "n1", "-c2", "--mem=2900", "-o", "/dev/null",
                      "--wrap", "sleep 3")  # fmt: skip
    desk.finish(driver)
    assert_same(desk, undisturbed)
    assert desk.run().status.attempt == 2
    assert "preempted" in desk.logs() or "timed-out" in desk.logs()


@pytest.fixture
def whole(cluster: Cluster) -> Iterator[None]:
    """Have all nodes back afterwards."""
    yield
    for node in {"n1", "n2", "n3"} - cluster.idle():
        cluster.start_node(node)
    wait_for(lambda: len(cluster.idle()) == 3, 60, "the nodes to come back")


@pytest.mark.usefixtures("whole")
def test_a_node_is_lost_and_another_one_takes_over(desk: Desk, undisturbed: Path) -> None:
    driver = desk.sweep(*LONG, "seed=0")
    started(desk)
    job = desk.run().status.job
    node = {each[0]: each[2] for each in desk.cluster.queue()}[job]
    desk.cluster.kill_node(node, jobs=True)
    desk.finish(driver)
    assert_same(desk, undisturbed)
    assert (desk.run().status.job, desk.run().status.attempt) == (job, 2)


@pytest.mark.usefixtures("whole")
def test_slurmd_is_lost_while_the_process_lives_on(desk: Desk, undisturbed: Path) -> None:
    """Two processes, one folder: the newer takes over, the older leaves, one right result."""
    more = ("epochs=120", "seed=1")
    driver = desk.sweep(*LONG[1:], *more)
    started(desk)
    before = desk.run().status
    os.kill(before.pid, signal.SIGSTOP)  # the loss takes SLURM half a minute to notice
    node = {each[0]: each[2] for each in desk.cluster.queue()}[before.job]
    desk.cluster.kill_node(node, jobs=False)
    wait_for(lambda: desk.run().status.pid != before.pid, 90, "the second process")
    assert Path(f"/proc/{before.pid}").exists(), "the first process should have lived on"
    os.kill(before.pid, signal.SIGCONT)
    wait_for(lambda: "was taken over by process" in desk.logs(), 30, "the first to notice")
    assert desk.run().outlook.state == "running", "the two should have run side by side"
    wait_for(lambda: not Path(f"/proc/{before.pid}").exists(), 30, "the first to leave")
    desk.finish(driver)
    after = desk.run().status
    assert (after.state, after.attempt, after.job) == ("done", 2, before.job)
    assert after.pid != before.pid
    line = [sys.executable, str(RUN_PY), *TINY, *LONG[1:], *more, "threads=1"]
    subprocess.run(line, cwd=undisturbed, check=True, capture_output=True, env=desk.cluster.env)
    assert_same(desk, undisturbed)
