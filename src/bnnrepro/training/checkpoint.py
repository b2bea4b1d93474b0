"""Checkpoints: written atomically, the previous one kept, verified when read.

A file holds what ``torch.save`` writes, so that ``torch.load`` reads it, followed by 64 hexadecimal
digits: the SHA-256 of all bytes before. It is verified before anything is decoded, because the
formats inside miss some wrong bits and raise errors of all kinds on others.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from bnnrepro.errors import UserError, cannot_read
from bnnrepro.runs import atomic, reading
from bnnrepro.runs.start import DIGITS

log = logging.getLogger(__name__)
FORMAT = 4

_ZIP_END = b"PK\x05\x06"  # begins the last 22 bytes of a file of torch's
_OTHER_VERSION = "written by another version of bnnrepro, or by another program"
_CURE = (
    "put a copy back if you have one, or move the run's folder away: the same command then trains "
    "from scratch"
)


class UnusableError(Exception):
    """A file without a usable state; ``reason`` says why in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class DamagedError(UnusableError):
    """A checkpoint that is truncated or altered, or a file of another kind."""


class _Hashing:
    """A binary file for writing that hashes its content."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._hash = hashlib.sha256()
        self.flush = handle.flush

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._handle.write(data)

    def write_digest(self) -> None:
        self._handle.write(self._hash.hexdigest().encode())


def save(path: Path, state: dict[str, Any], signature: str, keep_as: Path | None = None) -> None:
    """Write a state to a file atomically; a full disk or a kill leaves the old file.

    Args:
        path: the file to create or replace.
        state: tensors, numbers, strings, lists and dicts.
        signature: of the run's configuration.
        keep_as: a name under which the old file is kept. Give it only if the old file is undamaged:
            it replaces one that may be.
    """
    with atomic.replacing(path, keep_as) as handle:
        hashing = _Hashing(handle)
        try:
            torch.save({"format": FORMAT, "signature": signature, **state}, cast(BinaryIO, hashing))
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides that the disk is full
                raise error.__context__ from None
            raise
        hashing.write_digest()


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint and verify every byte.

    Raises:
        FileNotFoundError: the file is missing.
        DamagedError: its bytes are not those that were written.
        UnusableError: another version of this package or of torch wrote it.
        UserError: the system cannot read it, for lack of memory, file handles or permission.
    """
    try:
        with reading.opened(path) as file:
            _verify(path, file)
            state = torch.load(file, map_location=device, weights_only=True)
    except (FileNotFoundError, UnusableError):
        raise
    except Exception as error:
        reason = cannot_read(error)
        if reason:
            line = f"cannot be read: {reason}; the file may well be whole, and nothing was changed"
            raise UserError("checkpoint", str(path), line) from error
        if isinstance(error, OSError):
            raise DamagedError(path, f"damaged, {error.strerror}") from error
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnusableError(path, f"torch {torch.__version__} cannot load it ({why})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UnusableError(path, _OTHER_VERSION)
    return state


def _verify(path: Path, file: BinaryIO) -> None:
    """Raise UnusableError if a file's checksum is wrong; seek to its start."""
    left = file.seek(0, 2) - DIGITS
    file.seek(0)
    actual = hashlib.sha256()
    while left > 0 and (block := file.read(min(left, 1 << 20))):
        actual.update(block)
        left -= len(block)
    digits = file.read()
    if digits != actual.hexdigest().encode():
        if digits[-22:].startswith(_ZIP_END):
            raise UnusableError(path, _OTHER_VERSION)
        raise DamagedError(path, "damaged, its checksum is wrong")
    file.seek(0)


def load_newest(
    path: Path, previous: Path, signature: str, device: torch.device | str
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest usable checkpoint and its path, or None without a file.

    If the newest cannot be used, the previous one is taken, with a warning.

    Raises:
        UserError: if there are files and none can be used, one has another configuration, or the
            system cannot read one.
    """
    unusable: list[UnusableError] = []
    for candidate in (path, previous):
        try:
            state = load(candidate, device)
        except FileNotFoundError:
            continue
        except UnusableError as error:
            unusable.append(error)
            continue
        check_signature(candidate, state, signature)
        for reason in unusable:
            log.warning("%s; falling back to the checkpoint before", reason)
        return candidate, state
    if unusable:
        line = f"{unusable[0].reason}; there is no other that can be used; {_CURE}"
        raise UserError("checkpoint", str(unusable[0].path), line)
    return None


def check_signature(path: Path, state: dict[str, Any], signature: str) -> None:
    """Raise UserError if a checkpoint belongs to a run of another configuration."""
    if state["signature"] != signature:
        reason = f"is of the configuration {state['signature']}, this run is {signature}; {_CURE}"
        raise UserError("checkpoint", str(path), reason)
