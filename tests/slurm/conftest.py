"""A cluster for the session, and a reader's folder to submit from."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnrepro.runs.query import Run, find

from .cluster import Cluster, missing

RUN_PY = Path(__file__).parents[2] / "run.py"
JOB = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
TINY = ("model.hidden=[16]", "device=cpu", "checkpoint_seconds=0")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(why)
    # Not pytest's own folder: a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


class Desk:
    """A folder on the login node, where commands are typed."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.cluster = cluster

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env={**self.cluster.env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sweep(self, *words: str) -> subprocess.Popen[str]:
        return self.start(str(RUN_PY), "-m", *JOB, *TINY, *words)

    def word(self, *words: str) -> str:
        """Type a word of the store, which must succeed; return what it prints."""
        return self.finish(self.start("-m", "bnnrepro", *words))[0]

    def finish(self, started: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
        out, err = started.communicate(timeout=240)
        assert started.returncode == code, f"{out}\n{err}\n{self.logs()}"
        return out, err

    def runs(self, *filters: str) -> list[Run]:
        """Return the runs, asking this cluster."""
        place = self.folder / "multirun"
        if not place.exists():
            return []
        wanted = dict(word.split("=") for word in filters)
        old = dict(os.environ)
        os.environ.update(self.cluster.env)
        try:
            return find([place], {key: [value] for key, value in wanted.items()})[0]
        finally:
            os.environ.clear()
            os.environ.update(old)

    def run(self, *filters: str) -> Run:
        (run,) = self.runs(*filters)
        return run

    def states(self) -> list[str]:
        return sorted(run.state.name for run in self.runs())

    def sweeps(self) -> list[Path]:
        return sorted(self.folder.glob("multirun/.hydra/*/submission.json"))

    def clear(self) -> None:
        """Cancel what is left of this desk's jobs."""
        for name in ["foreign", *(file.parent.name for file in self.sweeps())]:
            self.cluster.call("scancel", "--user=root", f"--name={name}")

    def logs(self) -> str:
        files = sorted(self.folder.glob("multirun/.hydra/*/*log*"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-30_000:]}" for file in files)


@pytest.fixture
def desk(tmp_path: Path, cluster: Cluster) -> Iterator[Desk]:
    made = Desk(tmp_path, cluster)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def other_desk(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Desk]:
    """A desk for a job that runs beside all tests of a module."""
    made = Desk(tmp_path_factory.mktemp("desk"), cluster)
    yield made
    made.clear()
