"""A small server for the tests of downloads, and MNIST and CIFAR in miniature."""

import gzip
import hashlib
import pickle
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from bnnrepro.data import mnist
from bnnrepro.importing import torchvision


def md5(content):
    return hashlib.md5(content).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        # torchvision asks for redirections first, by a GET that it leaves unread.
        if self.headers["Method"] != "HEAD":
            self.server.gets[self.path.rsplit("/", 1)[-1]] += 1
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local mirror: ``folder`` is what it serves, ``gets`` counts what was fetched."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    running.gets, running.folder = Counter(), folder
    running.url = f"http://127.0.0.1:{running.server_port}/"
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def idx(array):
    """An array in the format of MNIST's files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def small_mnist(server, monkeypatch):
    """MNIST with few images on the local mirror: its raw files, name to content."""
    rng = np.random.default_rng(0)
    raw = {}
    for part, n in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        raw[f"{part}-images-idx3-ubyte"] = idx(images)
        raw[f"{part}-labels-idx1-ubyte"] = idx(np.arange(n, dtype=np.uint8) % 10)
    resources = []
    for name, content in raw.items():
        archive = gzip.compress(content)
        (server.folder / f"{name}.gz").write_bytes(archive)
        resources.append((f"{name}.gz", md5(archive)))
    monkeypatch.setattr(torchvision().datasets.MNIST, "resources", resources)
    monkeypatch.setattr(torchvision().datasets.MNIST, "mirrors", [server.url])
    monkeypatch.setattr(mnist, "RAW_MD5", {name: md5(content) for name, content in raw.items()})
    return raw


def cifar_files(source, n_classes):
    """The pickled files of torchvision's layout, with ten images each."""
    rng = np.random.default_rng(0)
    key = "labels" if n_classes == 10 else "fine_labels"
    for name, _ in [*source.train_list, *source.test_list]:
        data = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        yield name, {"data": data, key: rng.integers(0, n_classes, 10).tolist()}
    yield source.meta["filename"], {source.meta["key"]: [f"c{k}" for k in range(n_classes)]}


@pytest.fixture(params=[("cifar10", 10), ("cifar100", 100)], ids=lambda param: param[0])
def small_cifar(request, server, monkeypatch):
    """One CIFAR with few images on the local mirror: its name and the unpickled files."""
    name, n_classes = request.param
    source = getattr(torchvision().datasets, name.upper())
    files = dict(cifar_files(source, n_classes))
    pickled = {file: pickle.dumps(content) for file, content in files.items()}
    folder = server.folder / source.base_folder
    folder.mkdir()
    for file, content in pickled.items():
        (folder / file).write_bytes(content)
    archive = server.folder / source.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, source.base_folder)
    for listed in ("train_list", "test_list"):
        renewed = [[file, md5(pickled[file])] for file, _ in getattr(source, listed)]
        monkeypatch.setattr(source, listed, renewed)
    meta = source.meta | {"md5": md5(pickled[source.meta["filename"]])}
    monkeypatch.setattr(source, "meta", meta)
    monkeypatch.setattr(source, "url", server.url + source.filename)
    monkeypatch.setattr(source, "tgz_md5", md5(archive.read_bytes()))
    return name, source, files
