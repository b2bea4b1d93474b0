"""A checkpoint is whole, or known not to be; what the system cannot give is no damage."""

import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnrepro.errors import UserError
from bnnrepro.experiment import Result
from bnnrepro.training import checkpoint

from ..file_operations import before_operation

STATE = {"model": {"weight": torch.ones(3)}, "epoch": 1, "rows": [{"epoch": 1}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, STATE, "x")
    return path


def newest(path: Path) -> tuple[Path, dict[str, Any]] | None:
    return checkpoint.load_newest(path, path.with_name("checkpoint.prev.pt"), "x", "cpu")


# -- damage -------------------------------------------------------------------------------------


def test_torch_reads_it_by_itself(file: Path) -> None:
    plain, mapped = torch.load(file), torch.load(file, mmap=True)
    assert torch.equal(plain["model"]["weight"], torch.ones(3))
    assert mapped["epoch"] == 1
    content = file.read_bytes()
    assert hashlib.sha256(content[:-64]).hexdigest().encode() == content[-64:]


def test_every_wrong_bit_is_damage(file: Path) -> None:
    """In the headers and the directory of the zip too, where torch and zipfile overlook some."""
    content = file.read_bytes()
    with file.open("r+b", buffering=0) as handle:
        for place, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(handle.fileno(), bytes([byte ^ 1 << bit]), place)
                with pytest.raises(checkpoint.DamagedError):
                    checkpoint.load(file)
            os.pwrite(handle.fileno(), bytes([byte]), place)
    assert checkpoint.load(file)["epoch"] == 1


def test_no_cut_can_be_used(file: Path) -> None:
    """That of the checksum alone leaves a whole file of torch's, which others write too."""
    size = file.stat().st_size
    for length in reversed(range(size)):
        os.truncate(file, length)
        with pytest.raises(checkpoint.UnusableError) as caught:
            checkpoint.load(file)
        assert isinstance(caught.value, checkpoint.DamagedError) or length == size - 64


def of_an_older_version(path: Path) -> None:
    torch.save({"format": 3, "signature": "x", **STATE}, path)


def of_another_format(path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT + 1, "signature": "x", **STATE}, path)
    with_digest(path, path.read_bytes())


def of_another_torch(path: Path) -> None:
    with_digest(path, b"PK\x03\x04 in a way that is not known here")


def with_digest(path: Path, content: bytes) -> None:
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def wrong_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2):
        content[place] ^= 1
    path.write_bytes(content)


UNUSABLE = [of_an_older_version, of_another_format, of_another_torch, a_fifo, a_folder, wrong_bits]


@pytest.mark.parametrize("spoil", UNUSABLE)
def test_what_cannot_be_used_falls_back_to_the_one_before(
    file: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    previous = file.with_name("checkpoint.prev.pt")
    shutil.copy(file, previous)
    spoil(file)
    actual = newest(file)
    assert actual is not None
    assert actual[0] == previous
    assert "falling back to the checkpoint before" in caplog.text
    previous.unlink()
    with pytest.raises(UserError) as caught:
        newest(file)
    assert "move the run's folder away" in str(caught.value)
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize("spoil", [of_an_older_version, of_another_format])
def test_another_versions_file_is_not_called_damaged(
    file: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(file)
    with pytest.raises(checkpoint.UnusableError, match="written by another version") as caught:
        checkpoint.load(file)
    assert not isinstance(caught.value, checkpoint.DamagedError)


# -- what the system cannot give ----------------------------------------------------------------

REFUSALS = [
    (MemoryError(), "not enough memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
    (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory"),
    (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
]


def assert_refused(path: Path, reason: str) -> None:
    """The newest is named with the reason; the one before is not taken, nothing is advised."""
    shutil.copy(path, path.with_name("checkpoint.prev.pt"))
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        newest(path)
    text = str(caught.value)
    assert text.startswith(f"checkpoint={path}: cannot be read: {reason}")
    assert not any(word in text for word in ("damaged", "remove", "delete", "away"))
    assert path.read_bytes() == before


@pytest.mark.parametrize(("error", "reason"), REFUSALS, ids=lambda value: repr(value)[:24])
def test_what_the_system_cannot_give_is_no_damage(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", refuse)
    assert_refused(file, reason)


@contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def test_no_file_handle_is_left(file: Path) -> None:
    shutil.copy(file, file.with_name("checkpoint.prev.pt"))
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(UserError, match="Too many open files"):
        newest(file)


@pytest.mark.slow
def test_too_little_memory_for_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"model": {"weight": torch.zeros(100_000_000)}}, "x")
    # In a process of its own: this one may have kept as much of what others have freed.
    done = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY, str(path)], capture_output=True, text=True
    )
    assert "checkpoint.pt: cannot be read: not enough memory" in done.stdout, done.stderr


_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from bnnrepro.errors import UserError
from bnnrepro.training import checkpoint

path = Path(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)
try:
    checkpoint.load_newest(path, path.with_name("checkpoint.prev.pt"), "x", "cpu")
except UserError as error:
    print(error)
"""


# -- the one before -----------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_a_kill_at_any_file_operation_leaves_a_whole_one(tmp_path: Path, keep: bool) -> None:
    forks = multiprocessing.get_context("fork")

    def save(folder: Path, number: int) -> None:
        path, previous = folder / "checkpoint.pt", folder / "checkpoint.prev.pt"
        before_operation(folder, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        checkpoint.save(path, {**STATE, "epoch": 3}, "x", previous if keep else None)

    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, previous = folder / "checkpoint.pt", folder / "checkpoint.prev.pt"
        for epoch, place in ((1, previous), (2, path)):
            checkpoint.save(place, {**STATE, "epoch": epoch}, "x")
        if not keep:
            wrong_bits(path)
        child = forks.Process(target=save, args=(folder, number))
        child.start()
        child.join()
        actual = newest(path)
        assert actual is not None
        assert actual[1]["epoch"] in ({2, 3} if keep else {1, 3})
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert number > (3 if keep else 2)
    assert [checkpoint.load(candidate)["epoch"] for candidate in (path, previous)] == [
        3,
        2 if keep else 1,
    ]


@pytest.mark.parametrize("spoil", [wrong_bits, of_an_older_version])
def test_a_damaged_newest_never_replaces_the_whole_one_before(
    run_small: Callable[..., Result], spoil: Callable[[Path], None]
) -> None:
    run = run_small("epochs=4", "stop_after=2")
    folder = run.folder
    whole = folder.checkpoint_prev.read_bytes()
    assert checkpoint.load(folder.checkpoint_prev)["epoch"] == 1
    spoil(folder.checkpoint)
    run_small("epochs=4", "stop_after=2")  # epoch 2 again, and its checkpoint
    assert checkpoint.load(folder.checkpoint)["epoch"] == 2
    assert folder.checkpoint_prev.read_bytes() == whole
    run_small("epochs=4", "stop_after=3")
    assert checkpoint.load(folder.checkpoint_prev)["epoch"] == 2
    assert json.loads(folder.status.read_text())["epoch"] == 3
