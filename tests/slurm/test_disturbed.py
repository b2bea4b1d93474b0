"""Whatever happens to a job, its run ends in the bits of an undisturbed one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import find
from bnnrepro.runs.status_table import seconds_per_epoch

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


@pytest.fixture(scope="module")
def limited(undisturbed: Path, other_desk: Desk) -> tuple[Desk, Path]:
    """A run that needs more than it gets; beside it, the same one undisturbed.

    SLURM looks at its jobs every 30 s: the first start has 10 to 40 s until its warning.
    """
    pace = seconds_per_epoch(next(iter(find([undisturbed / "multirun"], {})[0])))
    assert pace
    line = [*LONG, "seed=7", f"epochs={round(50 / pace)}", "checkpoint_seconds=5"]
    keys = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20", "--detach")
    away = "hydra.launcher.exclude='n1,n2'"  # from the nodes that are taken or lost meanwhile
    other_desk.finish(other_desk.sweep(*line, *keys, away))
    subprocess.Popen(
        [sys.executable, str(RUN_PY), *TINY, *line, "threads=1"],
        cwd=undisturbed, env=other_desk.cluster.env, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return other_desk, undisturbed


@pytest.fixture(scope="module", autouse=True)
def _early(limited: tuple[Desk, Path]) -> None:
    """Let the limited run start before the first test."""


def started(desk: Desk, *filters: str) -> None:
    """Wait until a run is in the midst of training."""
    wait_for(
        lambda: any((run.status.epoch or 0) >= 2 for run in desk.runs(*filters)),
        120,
        f"{filters} to train",
    )
    assert desk.run(*filters).state.name == "running", desk.logs()


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
    desk.cluster.call("sbatch", "-p", "urgent", "-w", "n1", "-c3", "-o", "/dev/null",
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
def test_a_node_is_lost_and_slurmd_is_lost_while_its_process_lives_on(
    desk: Desk, undisturbed: Path
) -> None:
    """Another node takes over. Of two processes on one folder the older leaves: one result."""
    drivers = [  # a node for each, and a third one that both may move to
        desk.sweep(*LONG, "epochs=120", f"seed={seed}", f"hydra.launcher.exclude={not_there}")
        for seed, not_there in enumerate(("n2", "n1"))
    ]
    for seed in range(2):
        started(desk, f"seed={seed}")
    lost, left = (desk.run(f"seed={seed}").status for seed in range(2))
    os.kill(left.pid, signal.SIGSTOP)  # SLURM takes half a minute to notice the loss
    nodes = {number: node for number, _, node, _ in desk.cluster.queue()}
    assert nodes[lost.job] != nodes[left.job]
    desk.cluster.kill_node(nodes[lost.job], jobs=True)
    desk.cluster.kill_node(nodes[left.job], jobs=False)
    wait_for(lambda: desk.run("seed=1").status.pid != left.pid, 120, "the second process")
    assert Path(f"/proc/{left.pid}").exists(), "the first process should have lived on"
    os.kill(left.pid, signal.SIGCONT)
    wait_for(lambda: "was taken over by process" in desk.logs(), 30, "the first to notice")
    assert desk.run("seed=1").state.name == "running", "the two should have run side by side"
    wait_for(lambda: not Path(f"/proc/{left.pid}").exists(), 30, "the first to leave")
    for driver in drivers:
        desk.finish(driver)
    line = [*TINY, *LONG, "epochs=120", "seed=0,1", "threads=1"]
    subprocess.run(
        [sys.executable, str(RUN_PY), "-m", *line],
        cwd=undisturbed, check=True, capture_output=True, env=desk.cluster.env,
    )  # fmt: skip
    for seed, before in enumerate((lost, left)):
        assert_same(desk, undisturbed, f"seed={seed}")
        after = desk.run(f"seed={seed}").status
        assert (after.job, after.attempt, after.pid != before.pid) == (before.job, 2, True)


def test_the_time_limit(limited: tuple[Desk, Path]) -> None:
    """The real one, of a minute, which has run meanwhile."""
    desk, reference = limited
    wait_for(lambda: desk.states() == ["done"], 240, "the limited job")
    assert_same(desk, reference)
    assert desk.run().status.attempt >= 2
    assert "this job is timed-out" in desk.logs()
    assert "resumed after epoch" in desk.run().folder.log.read_text()
