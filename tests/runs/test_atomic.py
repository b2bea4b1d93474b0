import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnnrepro.runs import atomic, process

WORDS = 200_000  # a version is 1.6 MB: long enough to be killed within

WRITE_FOR_EVER = f"""
import itertools, sys
from bnnrepro.runs import atomic
for version in itertools.count(1):
    with atomic.replacing(sys.argv[1]) as handle:
        for _ in range(20):
            handle.write(version.to_bytes(8, "big") * {WORDS // 20})
    if version == 1:
        print("ready", flush=True)
"""

WRITE_TOO_MUCH = """
import errno, resource, sys
from pathlib import Path
from bnnrepro.runs import atomic
path, limit = Path(sys.argv[1]), sys.argv[2]
atomic.write_bytes(path, b"old")
if limit == "rlimit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    atomic.write_bytes(path, bytes(4_000_000))
except OSError as error:
    print(errno.errorcode[error.errno], [file.name for file in path.parent.iterdir()])
print(path.read_bytes())
"""


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp"))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_writer_killed_at_any_moment_leaves_a_whole_version(tmp_path: Path) -> None:
    path, chance = tmp_path / "checkpoint.pt", random.Random(0)
    left = kills = 0
    while kills < 12 or (left == 0 and kills < 100):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.05))
            child.kill()
        assert child.wait() == -signal.SIGKILL
        kills += 1
        data = path.read_bytes()
        assert data == data[:8] * WORDS
        left += len(leftovers(tmp_path))
        atomic.remove_leftovers(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert left > 0, "no kill fell within a write: the test proves nothing"


def test_a_file_size_limit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path / "f"), "rlimit"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "EFBIG ['f']\nb'old'\n"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small file system cannot be mounted for one process")
    mount = 'mount -t tmpfs -o size=1m none "$0" || exit 77; exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, str(tmp_path)]
    command = [*unshare, sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path / "f"), "disk"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    assert done.stdout == "ENOSPC ['f']\nb'old'\n", done.stderr


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_block_leaves_the_old_file(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    path = tmp_path / "f"
    atomic.write_text(path, "old")

    def fail() -> None:
        with atomic.replacing(path) as handle:
            handle.write(b"new")
            raise kind

    with pytest.raises(kind):
        fail()
    assert path.read_text() == "old"
    assert not leftovers(tmp_path)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    atomic.write_json(path, {"a": 1})
    old = path.read_bytes()
    with pytest.raises(TypeError):
        atomic.write_json(path, {"a": object()})
    assert path.read_bytes() == old


def test_a_new_file_has_the_rights_that_open_gives(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic.write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_only_the_leftovers_of_dead_writers_of_this_machine_are_removed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    here, pid, mark = process.host(), os.getpid(), process.start_mark(os.getpid()) or ""
    (tmp_path / "pictures").mkdir()
    dead = [f".a.pt~{here}~{child.pid}~~0~0.tmp", f"pictures/.a.png~{here}~{child.pid}~~3~0.tmp"]
    if mark:  # the number of a living process, but of a time before it
        dead.append(f".b.pt~{here}~{pid}~00000000-1~0~0.tmp")
    kept = [
        f".c.pt~{here}~{pid}~{mark}~0~0.tmp",
        f".d.pt~another.{here}~{child.pid}~~0~0.tmp",
        f".d.pt~another.{here}~{child.pid}~~4~0.tmp",
        "e.pt",
        ".hidden.tmp",
        "pictures",
    ]
    for name in dead + kept:
        if name != "pictures":
            (tmp_path / name).touch()
    atomic.remove_leftovers(tmp_path)
    assert files_below(tmp_path) == sorted(kept)


def test_the_owner_removes_what_earlier_owners_were_writing_and_nothing_else(
    tmp_path: Path,
) -> None:
    """Wherever these are, and alive or not: they have lost the folder."""
    here, pid, mark = process.host(), os.getpid(), process.start_mark(os.getpid()) or ""
    earlier = [f".a~another~7~x-1~{number}~0.tmp" for number in (1, 4)]
    earlier.append(f".a~{here}~{pid}~{mark}~4~0.tmp")
    kept = [f".a~another~7~x-1~{number}~0.tmp" for number in (0, 5, 6, 40)]
    for name in earlier + kept:
        (tmp_path / name).touch()
    with atomic.fenced(tmp_path, 5, lambda: None):
        atomic.remove_leftovers(tmp_path)
    assert files_below(tmp_path) == sorted(kept)


def test_a_write_under_way_is_not_a_leftover(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "f") as handle:
        assert atomic.leftovers(tmp_path) == []
        handle.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
