"""Checkpoints: whole or not at all, the one before kept, damage found on reading."""

import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bnnrepro.errors import UserError
from bnnrepro.store import atomic

log = logging.getLogger(__name__)
FORMAT = 3


class DamagedError(Exception):
    """A checkpoint file that cannot be read whole."""


def save(path: Path, state: dict[str, Any], signature: str) -> None:
    """Write a state to a file, atomically; a full disk or a kill leaves the old file."""
    with atomic.replacing(path) as handle:
        _write(handle, state, signature)


def save_rotating(path: Path, previous: Path, state: dict[str, Any], signature: str) -> None:
    """Write a state to a file, and keep the file that was there as the previous one.

    At every moment at least one of the two names holds a whole checkpoint.
    """
    with atomic.replacing(path) as handle:
        _write(handle, state, signature)
        handle.flush()
        if path.exists():
            atomic.check_fence(path.parent)
            path.replace(previous)


def _write(handle: BinaryIO, state: dict[str, Any], signature: str) -> None:
    try:
        torch.save({"format": FORMAT, "signature": signature, **state}, handle)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch hides that the disk is full
            raise error.__context__ from None
        raise


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint and verify every byte's checksum.

    Raises:
        FileNotFoundError: where there is none.
        DamagedError: if it is cut short, altered, or not a checkpoint.
    """
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
            if broken:
                raise DamagedError(f"{path}: damaged in {broken}")
            file.seek(0)
            state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DamagedError(f"{path}: damaged ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DamagedError(f"{path}: not a checkpoint of format {FORMAT}")
    return state


def load_newest(
    path: Path, previous: Path, signature: str, device: torch.device | str
) -> dict[str, Any] | None:
    """Return the newest whole checkpoint, None where there is no file at all.

    A damaged one falls back to the one before, with a warning.

    Raises:
        UserError: if none of those there are can be read, or one is of another configuration.
    """
    damaged: dict[Path, DamagedError] = {}
    for candidate in (path, previous):
        try:
            state = load(candidate, device)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            damaged[candidate] = error
            continue
        check_signature(candidate, state, signature)
        for reason in damaged.values():
            log.warning("%s; falling back to the checkpoint before", reason)
        return state
    if damaged:
        raise UserError(
            "checkpoint",
            str(next(iter(damaged))),
            "damaged, and there is no whole one before it; remove the run's folder to train afresh",
        )
    return None


def check_signature(path: Path, state: dict[str, Any], signature: str) -> None:
    """Raise UserError if a checkpoint belongs to a run of another configuration."""
    if state["signature"] != signature:
        raise UserError(
            "checkpoint",
            str(path),
            f"is of the configuration {state['signature']}, this run is {signature}; "
            "remove the run's folder to train afresh",
        )
