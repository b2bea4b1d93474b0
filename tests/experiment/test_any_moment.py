"""A run killed before, or frozen at, any change of a file; and what is left behind then."""

import os
import signal
from pathlib import Path

import pytest
import yaml

from bnnrepro.cli.run import main
from bnnrepro.launch.job import run_spec
from bnnrepro.launch.payload import RunSpec
from bnnrepro.runs import process, status
from bnnrepro.runs.layout import RunFolder

from ..file_operations import before_operation
from .processes import FORKS
from .test_killed import assert_same, finish, outcome, the_run, wait_for

SETTINGS = (
    "epochs=3",
    "model.hidden=[16]",
    "method.temperature=1",
    "checkpoint_seconds=0",
    "threads=1",
    "device=cpu",
    "evaluate.samples=2",
)
EVERY = int(os.environ.get("BNNREPRO_TEST_EVERY", "5"))  # 1: every change, in some minutes


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    return outcome(finish(tmp_path_factory.mktemp("undisturbed"), settings=SETTINGS))


def _act(out: Path, number: int, signal_number: int, when_done: bool) -> None:
    """Run, and send this process a signal right before the n-th change of a file.

    Args:
        out: of the run.
        number: from 1.
        signal_number: SIGKILL or SIGSTOP.
        when_done: count from the moment when the result is there.
    """
    end = before_operation(
        out,
        number,
        lambda: os.kill(os.getpid(), signal_number),
        counts=lambda: not when_done or any(out.glob("digits/mlp/*/*/result.json")),
    )
    code = main([f"out={out}", *SETTINGS])
    raise SystemExit(code or (77 if end() < number else 0))  # 77: there are not so many


def acted(out: Path, number: int, signal_number: int, when_done: bool = False):
    child = FORKS.Process(target=_act, args=(out, number, signal_number, when_done))
    child.start()
    return child


# -- kills --------------------------------------------------------------------------------------


def killed(out: Path, number: int, undisturbed: tuple, when_done: bool = False) -> bool:
    """Kill a run, run it again, and compare; return whether there were so many operations."""
    child = acted(out, number, signal.SIGKILL, when_done)
    child.join(120)
    assert child.exitcode in (-signal.SIGKILL, 77)
    if child.exitcode == 77:
        return False
    assert_same(finish(out, settings=SETTINGS), undisturbed)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_kill_after_the_result_is_mended_by_the_next_start(
    tmp_path: Path, undisturbed: tuple, number: int
) -> None:
    """Whatever the word of it, the checkpoint before, the lock and temporary files became."""
    assert killed(tmp_path, number, undisturbed, when_done=True)
    assert status.read(the_run(tmp_path)).state == "done"


@pytest.mark.slow
@pytest.mark.parametrize("state", ["running", "interrupted"])
@pytest.mark.parametrize("by", ["a job", "a sweep", "a run"])
def test_who_finds_a_result_without_the_word_of_it_says_it(
    tmp_path: Path, state: str, by: str
) -> None:
    folder = finish(tmp_path, settings=SETTINGS)
    dead = f".a~{process.host()}~{2**22 - 1}~~3~0.tmp"
    for name in (dead, folder.checkpoint_prev.name):
        (folder.path / name).touch()
    before = folder.result.read_bytes()
    status.write(folder, state)
    if by == "a job":
        config = yaml.safe_load(folder.config.read_text())
        assert run_spec(RunSpec(str(folder.path), (config,)))
    else:
        sweep = ["-m", "hydra/launcher=local"] if by == "a sweep" else []
        assert main([f"out={tmp_path}", *sweep, *SETTINGS]) == 0
    assert status.read(folder).state == "done"
    assert folder.result.read_bytes() == before
    names = {entry.name for entry in folder.path.iterdir()}
    assert not names & {dead, folder.checkpoint_prev.name}
    assert not any(name.startswith(".lock") for name in names)


@pytest.mark.slow
def test_a_kill_before_every_change_of_a_file(tmp_path: Path, undisturbed: tuple) -> None:
    number = 1
    while killed(tmp_path / str(number), number, undisturbed):
        number += EVERY
    assert number > 50


# -- processes that freeze, lose their run, and wake --------------------------------------------


def _take_over(out: Path) -> None:
    """Run on what seems to be another machine, which sees only the age of the frozen one's lock."""
    name = process.host()
    process.host = lambda: f"another.{name}"
    raise SystemExit(main([f"out={out}", *SETTINGS]))


def content(folder: RunFolder) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.path.rglob("*") if path.name != "train.log"]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def is_stopped(pid: int) -> bool:
    return process._stat(pid)[0] == "T"


def frozen(out: Path, number: int, undisturbed: tuple) -> bool:
    """Freeze a run, let another process finish it, wake the first; nothing may change by that.

    Returns:
        Whether there were so many operations.
    """
    child = acted(out, number, signal.SIGSTOP)
    wait_for(lambda: not child.is_alive() or is_stopped(child.pid))
    if not child.is_alive():
        assert child.exitcode == 77
        return False
    held = list(out.glob("digits/mlp/*/*/.lock.*"))
    for file in held:
        os.utime(file, (1, 1))  # its last sign of life is long ago
    heir = FORKS.Process(target=_take_over, args=(out,))
    heir.start()
    heir.join(120)
    assert heir.exitcode == 0
    before = content(the_run(out))
    os.kill(child.pid, signal.SIGCONT)
    child.join(120)
    assert child.exitcode in (0, 1)
    if held:
        assert content(the_run(out)) == before
    assert_same(the_run(out), undisturbed)
    return True


@pytest.mark.slow
def test_who_freezes_before_any_change_of_a_file_replaces_nothing_afterwards(
    tmp_path: Path, undisturbed: tuple
) -> None:
    number = 1
    while frozen(tmp_path / str(number), number, undisturbed):
        number += EVERY
    assert number > 50
