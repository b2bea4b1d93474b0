"""The exported folder: written beside its place, synced, and then put there whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.runs import atomic, reading

RECORD, CARD = "export.json", "README.md"


@contextlib.contextmanager
def replacing(out: Path, signature: str | None) -> Iterator[Path]:
    """Make a temporary folder that takes the place of ``out`` when the block ends.

    On any exception it is removed, and ``out`` stays as it was. A process killed between two
    renames leaves the former folder under its temporary name.

    Args:
        out: the folder; there is none, it is empty, or it is an export of the run.
        signature: of the run; None for a network without one, which replaces nothing.

    Raises:
        UserError: other files are in the way, or the system refuses one (a full disk).
    """
    _refuse_others(out, signature)
    temporary, former = (out.with_name(atomic.temporary_name(out)) for _ in range(2))
    try:
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        atomic.sync_folder(temporary)
        if out.exists():
            out.rename(former)
        temporary.rename(out)
        atomic.sync_folder(out.parent)
    except OSError as error:
        raise UserError("--out", str(out), f"cannot be written ({error.strerror})") from error
    finally:
        if former.exists() and not out.exists():
            former.rename(out)
        for left in (temporary, former):
            shutil.rmtree(left, ignore_errors=True)


def _refuse_others(out: Path, signature: str | None) -> None:
    if not out.exists():
        return
    try:
        found = {path.name for path in out.iterdir()}
        record = reading.parsed(out / RECORD) if found else {}
        others = found - {RECORD, CARD, *record.get("files", ())}
        if found and (signature is None or record["signature"] != signature):
            others = {RECORD}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        others = {"files"}
    if others:
        allowed = f"has {min(others)}, but not of an export of {signature}; choose another --out"
        raise UserError("--out", str(out), allowed)
