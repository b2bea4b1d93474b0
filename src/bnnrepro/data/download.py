"""Check a data set's files, and download them at most once for many processes."""

from __future__ import annotations

import contextlib
import http.client
import socket
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from bnnrepro.errors import UserError, readable
from bnnrepro.importing import torchvision

KEY = "dataset.root"
TIMEOUT_SECONDS = 30.0  # else a firewall that drops packets blocks a run for ever
FETCH_ERRORS = (
    OSError,  # no network, no space; URLError is one
    RuntimeError,  # torchvision's error for a failed or damaged download
    EOFError,
    zlib.error,
    tarfile.TarError,
    http.client.HTTPException,
)


def ensure_files(
    title: str,
    root: Path,
    md5: Mapping[str, str],
    fetch: Callable[[], None],
    *,
    download: bool,
) -> None:
    """Return once every file is present and intact; download them first if that is allowed.

    Intact data are only read: no lock, nothing written. Otherwise processes queue at
    ``<root>/.<title>.lock`` and check again when they hold it, so that one downloads for all.

    Args:
        title: the data set's name in messages, such as ``MNIST``.
        root: the folder given as ``dataset.root``.
        md5: each file's path under the root, with its md5.
        fetch: downloads missing and damaged files.
        download: allow ``fetch`` to be called.

    Raises:
        UserError: a file cannot be read, or files are missing or damaged and may not or cannot be
            downloaded.
    """
    problem = find_problem(title, root, md5)
    if problem is None:
        return
    if not download:
        cure = "`make data` or dataset.download=true fetches it"
        raise UserError(KEY, str(root), f"{problem}; {cure}")
    with locked(title, root):
        problem = find_problem(title, root, md5)
        if problem is None:
            return
        try:
            with socket_timeout():
                fetch()
        except FETCH_ERRORS as error:
            reason = " ".join(str(error).split())
            raise UserError(
                KEY,
                str(root),
                f"{problem}; fetching {title} failed: {reason[:300]};\n"
                "run `make data` where there is a network, or give a folder that has the data",
            ) from error
        problem = find_problem(title, root, md5)
        if problem is not None:
            raise UserError(KEY, str(root), f"{problem}, even after fetching {title}")


def find_problem(title: str, root: Path, md5: Mapping[str, str]) -> str | None:
    """Return a description of the first missing or damaged file; None if all are intact.

    Raises:
        UserError: a file is present and cannot be read.
    """
    present = [name for name in md5 if (root / name).is_file()]
    if not present:
        return f"no {title} there"
    for name, expected in md5.items():
        if name not in present:
            return f"{name} of {title} is missing"
        with readable(KEY, root / name):  # an unreadable file is not replaced by a download
            md5sum = torchvision().datasets.utils.calculate_md5(root / name)
        if md5sum != expected:
            return f"{name} is damaged or cut short (its md5 is not {expected})"
    return None


@contextlib.contextmanager
def locked(title: str, root: Path) -> Iterator[None]:
    """Hold a data set's lock file; make its root folder if necessary."""
    lock = FileLock(root / f".{title}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        allowed = f"no {title} there, and the folder cannot be written ({error.strerror})"
        raise UserError(KEY, str(root), allowed) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def socket_timeout() -> Iterator[None]:
    """Let a connection fail that sends nothing for ``TIMEOUT_SECONDS``."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
