import errno
import multiprocessing
import os

import pytest
import torch

from bnnrepro.data import mnist
from bnnrepro.errors import UserError
from bnnrepro.importing import torchvision

PROCESSES = 6


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def whole(root, small_mnist):
    """A root that holds the small MNIST already."""
    (root / mnist.RAW).mkdir(parents=True)
    for name, content in small_mnist.items():
        (root / mnist.RAW / name).write_bytes(content)
    return root


def refused(root, **options):
    with pytest.raises(UserError, match=r"^dataset\.root=") as caught:
        mnist.load(**{"root": root, "download": False} | options)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 2
    assert str(root) in lines[0]
    return str(caught.value)


def test_what_is_fetched_is_what_is_loaded(root, small_mnist, server):
    data = mnist.load(root=root, download=True)
    raw = small_mnist["train-images-idx3-ubyte"][16:]
    assert data.train.inputs.numpy().tobytes() == raw
    assert data.facts.shape == (1, 28, 28)
    assert data.train.targets.tolist() == [k % 10 for k in range(30)]
    assert len(data.test) == 20
    assert set(server.gets.values()) == {1}


def test_whole_data_are_only_read(whole, server):
    before = sorted(whole.rglob("*"))
    mnist.load(root=whole, download=True)
    assert sorted(whole.rglob("*")) == before
    assert not server.gets


def test_missing_data_say_how_to_get_them(root, small_mnist):
    message = refused(root)
    assert "no MNIST there" in message
    assert "make data" in message
    assert "dataset.download=true" in message
    assert not root.exists()


@pytest.mark.parametrize("spoil", [lambda content: content[:-7], lambda content: content[::-1]])
@pytest.mark.parametrize("name", list(mnist.RAW_MD5))
def test_a_damaged_file_is_named_and_fetching_mends_it(whole, server, name, spoil):
    path = whole / mnist.RAW / name
    path.write_bytes(spoil(path.read_bytes()))
    assert name in refused(whole)
    mnist.load(root=whole, download=True)
    assert server.gets == {f"{name}.gz": 1}


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory"),
    ],
    ids=repr,
)
def test_a_file_that_cannot_be_read_is_neither_damaged_nor_fetched(
    whole, server, trouble, reason, monkeypatch
):
    def fail(*_, **__):
        raise trouble

    with monkeypatch.context() as patch:
        patch.setattr(torchvision().datasets.utils, "calculate_md5", fail)
        for download in (False, True):
            message = refused(whole, download=download)
            assert f"train-images-idx3-ubyte: cannot be read ({reason})" in message
            assert "make data" not in message
    assert not server.gets
    mnist.load(root=whole)


def test_one_missing_file_is_named(whole):
    (whole / mnist.RAW / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte" in refused(whole)


def test_a_root_that_cannot_be_written_is_said(tmp_path, small_mnist):
    (tmp_path / "file").write_text("not a folder")
    assert "cannot be written" in refused(tmp_path / "file" / "data", download=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_root_is_read_if_whole_and_refused_if_not(whole):
    whole.chmod(0o500)
    mnist.load(root=whole, download=True)
    (whole / mnist.RAW / "t10k-labels-idx1-ubyte").unlink()
    assert "cannot be written" in refused(whole, download=True)


def test_no_network_is_two_lines(root, small_mnist, server, monkeypatch):
    server.shutdown()
    server.server_close()
    message = refused(root, download=True)
    assert len(message.splitlines()) == 2
    assert "fetching MNIST failed" in message


def test_a_mirror_that_fails_is_passed_over(root, small_mnist, server, monkeypatch):
    mirrors = [f"{server.url}nothing/here/", server.url]
    monkeypatch.setattr(torchvision().datasets.MNIST, "mirrors", mirrors)
    assert len(mnist.load(root=root, download=True).train) == 30


def test_many_processes_fetch_once(root, small_mnist, server):
    forked = multiprocessing.get_context("fork")
    waiting = forked.Barrier(PROCESSES)

    def work():
        waiting.wait()
        mnist.ensure(root, download=True)

    processes = [forked.Process(target=work) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert server.gets == {f"{name}.gz": 1 for name in small_mnist}


@pytest.mark.realdata
def test_the_real_one(real_data):
    data = mnist.load(root=real_data, mean=None, std=None)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.facts.mean == pytest.approx([0.1307], abs=1e-4)
    assert data.facts.std == pytest.approx([0.3081], abs=1e-4)
    assert torch.equal(data.train.targets[:5], torch.tensor([5, 0, 4, 1, 9]))
