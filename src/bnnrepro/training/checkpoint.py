"""Checkpoints: whole or not at all, the one before kept, damage found on reading.

A file is what ``torch.save`` writes, and ``torch.load`` reads it; after that stand 64 hexadecimal
digits, the SHA-256 of all bytes before. They are verified before anything is decoded: the formats
inside do not notice every wrong bit, and answer others with errors of all kinds.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from bnnrepro.errors import UserError, cannot_read
from bnnrepro.runs import atomic, reading

log = logging.getLogger(__name__)
FORMAT = 4

_DIGITS = 64
_ZIP_END = b"PK\x05\x06"  # begins the last 22 bytes of a file of torch's
_OTHER_VERSION = "written by another version of bnnrepro, or by another program"
_CURE = (
    "put a copy back if you have one, or move the run's folder away: the same command then trains "
    "afresh"
)


class UnusableError(Exception):
    """A file that no state can be taken from; ``reason`` in a few words."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class DamagedError(UnusableError):
    """A checkpoint file that is cut short or altered, or no checkpoint at all."""


class _Hashing:
    """A binary file to write to that hashes what it is given."""

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
    """Write a state to a file, atomically; a full disk or a kill leaves the old file.

    Args:
        path: what is replaced, or made.
        state: tensors, numbers, strings, lists and dicts.
        signature: of the run's configuration.
        keep_as: another name for the file that was there. Give it only where that file is whole:
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
        FileNotFoundError: where there is none.
        DamagedError: its bytes are not those that were written.
        UnusableError: they are, and another version of this package or of torch wrote them.
        UserError: the system cannot give them: for want of memory, file handles or permission.
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
    """Raise UnusableError if a file's last digits are not those of the rest; go to its start."""
    left = file.seek(0, 2) - _DIGITS
    file.seek(0)
    found = hashlib.sha256()
    while left > 0 and (block := file.read(min(left, 1 << 20))):
        found.update(block)
        left -= len(block)
    digits = file.read()
    if digits != found.hexdigest().encode():
        if digits[-22:].startswith(_ZIP_END):
            raise UnusableError(path, _OTHER_VERSION)
        raise DamagedError(path, "damaged, its checksum is wrong")
    file.seek(0)


def load_newest(
    path: Path, previous: Path, signature: str, device: torch.device | str
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest checkpoint that can be used, and its path; None where there is no file.

    One that cannot be used falls back to the one before, with a warning.

    Raises:
        UserError: if none of those there are can be used, or one is of another configuration, or
            the system cannot give the bytes of one.
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
