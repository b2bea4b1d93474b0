"""A local sweep whose launcher goes on without its terminal."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.launch.launching import NOTHING, SUBMITTED
from bnnrepro.launch.submission import SCRATCH
from bnnrepro.runs import process
from bnnrepro.screen import printable


def detached(words: Sequence[str], out: Path) -> int:
    """Start the sweep's launcher in a session of its own; return once it has submitted the runs.

    Args:
        words: of the sweep's line, after ``-m``.
        out: folder of all runs; what the launcher prints goes to a file in its scratch folder.

    Returns:
        0, the launcher's exit code if it refused, or 1 if it was killed before it had submitted.
    """
    scratch = out / SCRATCH
    made = [each for each in (scratch, out, *out.parents) if not each.exists()]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="launcher-", suffix=".log", dir=scratch)
    except OSError as error:
        reason = f"must be a folder that can be written ({error.strerror}: {scratch})"
        raise UserError("out", str(out), reason) from error
    log = Path(name)
    with open(handle, "wb") as output:  # noqa: PTH123 (mkstemp's own handle)
        child = subprocess.Popen(
            [sys.executable, "-m", "bnnrepro", "sweep", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    while (code := child.poll()) is None and not _submitted(log):
        time.sleep(0.05)
    if not code or _submitted(log):
        print(f"{_submitted(log)}\nits launcher is process {child.pid} and writes {log}")
        return 0
    print(printable(_content(log), lines=True), end="", file=sys.stderr)
    if code < 0:
        print(f"error: the launcher {process.ending(code)}; it wrote {log}", file=sys.stderr)
        return 1
    log.unlink()
    with suppress(OSError):
        for folder in made:
            folder.rmdir()
    return code


def _submitted(log: Path) -> str:
    """Return the line that says that all is submitted, empty while there is none."""
    lines = _content(log).splitlines(keepends=True)
    whole = [line.rstrip() for line in lines if line.endswith("\n")]
    return next((line for line in whole if line.startswith(NOTHING) or SUBMITTED in line), "")


def _content(log: Path) -> str:
    """Return what the launcher has printed; the last character may be half written."""
    return log.read_text(encoding="utf-8", errors="replace")
