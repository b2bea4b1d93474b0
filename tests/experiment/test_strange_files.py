"""Something else instead of a run's file, and files that this user may not touch."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cases import first_fast

from bnnrepro.api import load
from bnnrepro.cli import runs as store
from bnnrepro.cli.run import main
from bnnrepro.errors import UserError
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder

from .processes import FORKS

SETTINGS = ["model.hidden=[16]", "checkpoint_seconds=0", "device=cpu", "threads=1", "epochs=2"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="drops Linux capabilities")
FILES = [
    "config.yaml",
    "env.json",
    "status.json",
    "metrics.csv",
    "checkpoint.pt",
    "checkpoint.prev.pt",
    "best.pt",
    "result.json",
    "train.log",
    "submitted.json",
    ".lock.1",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores: with a finished run, and with one that was stopped."""
    out = tmp_path_factory.mktemp("runs")
    assert main([f"out={out / 'done'}", *SETTINGS]) == 0
    assert main([f"out={out / 'stopped'}", *SETTINGS, "stop_after=1"]) == 0
    return out


@pytest.fixture
def alarm() -> Iterator[None]:
    """Nothing waits for a file: a FIFO that nobody writes to makes a plain open wait for ever."""

    def ring(*_: object) -> None:
        raise TimeoutError("waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def the_run(out: Path) -> RunFolder:
    (path,) = out.glob("digits/mlp/*/*")
    return RunFolder(path)


@pytest.mark.slow
@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("state", ["done", "stopped"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_no_obstacle_or_said_in_a_line(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    state: str,
    name: str,
    make: Callable[[Path], None],
) -> None:
    out = Path(shutil.copytree(runs / state, tmp_path / "out"))
    path = the_run(out).path / name
    path.unlink(missing_ok=True)
    make(path)
    assert store.main(["status", str(out), "--all"]) == 0
    try:
        load(path.parent)
    except UserError:
        assert name in ("result.json", "config.yaml", "best.pt") or state == "stopped"
    capsys.readouterr()
    code = main([f"out={out}", *SETTINGS])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert code == 0 or len([line for line in error.splitlines() if "error: " in line]) == 1
    if make is os.mkfifo and name not in ("train.log", ".lock.1"):
        assert code == 0 or name in ("best.pt", "checkpoint.pt")
        assert code == 2 or the_run(out).result.is_file()


# -- what this user may not touch ----------------------------------------------------------------


@pytest.fixture
def others(runs: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the stores; whatever a test takes from it is given back at the end."""
    folder = Path(shutil.copytree(runs, tmp_path / "store"))
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)


def _without_privileges(output: Path, entry: Callable[[list[str]], int], argv: list[str]) -> None:
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # of this process, in the present form
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the second half follows
    assert ctypes.CDLL(None).capget(header, sets) == 0
    sets[0] &= ~0b110  # the superuser's rights to read and write in spite of a file's mode
    assert ctypes.CDLL(None).capset(header, sets) == 0
    raise SystemExit(entry(argv))


def called(output: Path, entry: Callable[[list[str]], int], *argv: str) -> tuple[int, str]:
    """Call a command line that a file's mode holds back; return exit code and what it said."""
    child = FORKS.Process(target=_without_privileges, args=(output, entry, list(argv)))
    child.start()
    child.join(120)
    assert child.exitcode is not None
    return child.exitcode, output.read_text()


def assert_one_line(said: str) -> None:
    assert "Traceback" not in said
    (line,) = [each for each in said.splitlines() if "error: " in each]
    assert "Permission denied" in line or "Read-only" in line
    assert "damaged" not in line


@linux
@pytest.mark.parametrize("state", ["done", "stopped"])
@pytest.mark.parametrize("hidden", first_fast(["", "status.json", "result.json", "checkpoint.pt"]))
def test_what_may_not_be_read_is_unreadable(
    others: Path, tmp_path: Path, state: str, hidden: str
) -> None:
    path = the_run(others / state).path / hidden
    if not path.exists():
        pytest.skip("an unfinished run has no result")
    path.chmod(0)
    code, said = called(tmp_path / "said", store.main, "status", str(others / state), "--all")
    assert code == 0, said
    if hidden != "checkpoint.pt" and (state, hidden) != ("done", "status.json"):
        assert "unreadable 1" in said
    code, said = called(tmp_path / "said", main, f"out={others / state}", *SETTINGS)
    if hidden == "status.json" or (state, hidden) == ("done", "checkpoint.pt"):
        assert (code, "result: " in said) == (0, True)
    else:
        assert code == 2
        assert_one_line(said)


@pytest.mark.slow
@linux
def test_a_read_only_store_is_read(others: Path, tmp_path: Path) -> None:
    """A command that has to write is refused in one line."""
    done, stopped = the_run(others / "done"), the_run(others / "stopped")
    status.write(done, "running")  # as if killed before it could say that it is done
    for each in others.rglob("*"):
        each.chmod(0o555 if each.is_dir() else 0o444)
    said = tmp_path / "said"
    assert called(said, store.main, "status", str(others / "done"), "--all")[0] == 0
    code, text = called(said, main, f"out={others / 'done'}", *SETTINGS)
    assert (code, "result: " in text) == (0, True), text
    code, text = called(said, main, f"out={others / 'done'}", *SETTINGS, "evaluate.samples=3")
    assert code == 1
    assert_one_line(text)
    code, text = called(said, main, f"out={others / 'stopped'}", *SETTINGS)
    assert code == 2
    assert_one_line(text)
    assert status.read(stopped).state == "interrupted"
