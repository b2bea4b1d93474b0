"""Fixtures that every test may use."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
import torch

TIMED = (
    "slurm",
    "launch",
    "experiment/test_any_moment.py",
    "experiment/test_killed.py",
    "experiment/test_pairs.py",
    "report/test_reproduce.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts and kills processes and waits for them: it needs the machine for itself."""
    places = [Path(__file__).parent / name for name in TIMED]
    for item in items:
        if any(place in (item.path, *item.path.parents) for place in places):
            item.add_marker("alone")


def pytest_collection_finish() -> None:
    """Leave what is imported and collected out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _the_same_chance() -> None:
    """Begin every test with the same random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: named by BNNREPRO_TEST_DATA, or beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BNNREPRO_TEST_DATA", beside))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"no real data in {folder}: set BNNREPRO_TEST_DATA to a folder that has it")
    return folder


SMALL = ("model.hidden=[32]", "checkpoint_seconds=0", "device=cpu", "threads=1")


@cache
def _code() -> dict[str, object]:
    from bnnrepro.runs import provenance

    return provenance.code()


@pytest.fixture
def code_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process take the code's hash and commit from the first one that read them."""
    code = _code()
    monkeypatch.setattr("bnnrepro.runs.provenance.code", lambda: code)


@pytest.fixture
def run_small(tmp_path, code_read_once):
    """Compose, check and run a small digits run in this process; return its Result."""
    from tests.composing import composed

    from bnnrepro.experiment import run

    def run_with(*overrides: str, out: Path = tmp_path / "runs"):
        return run(composed(*SMALL, f"out={out}", *overrides))

    return run_with
