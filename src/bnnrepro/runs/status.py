"""A run's ``status.json``: its state, progress and process; failures and the end on record."""

import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone

from bnnrepro.errors import cannot_read
from bnnrepro.runs import atomic, lock, process, reading, slurm_queue
from bnnrepro.runs.layout import RunFolder
from bnnrepro.screen import printable, traceback_of

STATES = ("submitted", "running", "done", "failed", "interrupted")
"""The states that a run writes; ``read`` adds ``absent`` (no file), ``damaged``, ``unreadable``."""

_NUMBERS = ("epoch", "epochs", "pid", "attempt")
# A job is a word of scancel's command line, a submission the name of a folder in .hydra.
_FORMS = {"job": re.compile(r"[0-9_+]+"), "submission": re.compile(r"(?a)\w[\w .-]{0,200}")}


@dataclass(frozen=True)
class Status:
    """The content of ``status.json``.

    ``started`` is the time of the first start, ``updated`` of the last write (ISO 8601, UTC);
    ``attempt`` counts the starts. ``host``, ``pid`` and ``process`` (which distinguishes a process
    from a later one with its number) are those of the last process to run it, None while it waits.
    ``job`` is the number that SLURM gave it, ``submission`` names the sweep that it was submitted
    with, ``error`` is one line with the reason of a failure.
    """

    state: str
    epoch: int | None = None
    epochs: int | None = None
    started: str | None = None
    updated: str | None = None
    host: str | None = None
    pid: int | None = None
    process: str | None = None
    job: str | None = None
    attempt: int = 0
    error: str | None = None
    submission: str | None = None

    @property
    def effective(self) -> str:
        """The state, or ``stale`` for a ``running`` run whose process is dead."""
        return "stale" if self.state == "running" and alive(self) is False else self.state


def write(
    folder: RunFolder,
    state: str,
    *,
    epoch: int | None = None,
    epochs: int | None = None,
    job: str | None = None,
    error: str | None = None,
    submission: str | None = None,
    here: bool = False,
) -> Status:
    """Replace the run's status, atomically, and return it.

    ``started`` and, where not given, ``epoch`` and ``epochs`` stay as they were. ``attempt`` grows
    by one when a process starts to run it: when ``running`` follows another state or another
    process's ``running``. With ``running``, the status names the writing process, and the
    job that it was started as unless ``job`` is given. With ``submitted`` it names no process, but
    the ``job`` and the ``submission``; with ``here``, this process, in whose queue the run waits.

    Raises:
        ValueError: ``state`` is none of ``STATES``.
    """
    if state not in STATES:
        raise ValueError(f"state={state}: must be one of {', '.join(STATES)}")
    old = read(folder)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = replace(
        old,
        state=state,
        epoch=old.epoch if epoch is None else epoch,
        epochs=old.epochs if epochs is None else epochs,
        updated=now,
        job=job or old.job,
        error=error,
    )
    if state == "submitted":
        new = replace(new, host=None, pid=None, process=None, job=job, submission=submission)
    if state == "running" or here:
        pid = os.getpid()
        new = replace(new, host=process.host(), pid=pid, process=process.start_mark(pid))
    if state == "running":
        name = slurm_queue.job_name() or new.submission
        new = replace(new, job=job or slurm_queue.job_number(), submission=name)
        if old.state != "running" or _runner(old) != _runner(new):
            new = replace(new, attempt=old.attempt + 1, started=old.started or now)
    atomic.write_json(folder.status, asdict(new))
    return new


def read(folder: RunFolder) -> Status:
    """Return the run's status; whatever is on disk, this raises nothing.

    The state is ``absent`` where there is no file, ``damaged`` where it cannot be parsed, and
    ``unreadable`` where the system does not give it; ``error`` then says why.
    """
    try:
        content = reading.parsed(folder.status)
    except FileNotFoundError:
        return Status("absent")
    except (OSError, ValueError) as error:
        reason = cannot_read(error)
        return Status("unreadable", error=reason) if reason else Status("damaged")
    return _parse(content) or Status("damaged")


def alive(status: Status) -> bool | None:
    """Return whether the process that wrote ``status`` lives; None where that is unknown.

    It is unknown for a process of another machine, or where no process has run it yet.
    """
    if status.pid is None or status.host != process.host():
        return None
    return process.is_alive(status.pid, status.process)


def record_failure(folder: RunFolder, error: Exception, reason: str | None = None) -> str:
    """Record a failure as far as the disk allows; return its one-line message.

    The line goes to ``status.json``, the traceback to ``train.log``.

    Args:
        folder: the run's.
        error: with its traceback.
        reason: the message; None: the error's own.
    """
    message = str(error) if reason is None else reason
    line = printable(" ".join(message.split())) or type(error).__name__
    with suppress(OSError), open(folder.log, "a", encoding="utf-8", opener=reading.regular) as log:
        log.write(traceback_of(error))
    with suppress(OSError):
        write(folder, "failed", error=line)
    return line


def mark_done(folder: RunFolder) -> None:
    """Mark a run as done and remove what it no longer needs; its lock must be held."""
    write(folder, "done")
    atomic.check_fence(folder.path)
    folder.checkpoint_prev.unlink(missing_ok=True)


def tidy(folder: RunFolder) -> None:
    """Complete a run that was killed right after its result: mark it as done, remove leftovers.

    Nothing happens if nothing is left, if another process holds the run, or if its folder cannot
    be written.
    """
    with suppress(OSError, lock.HeldError, lock.LostError):
        state = read(folder)
        left = folder.checkpoint_prev.exists() or any(folder.path.glob(".lock.*"))
        if state.state != "done" or left or atomic.leftovers(folder.path):
            with lock.hold(folder.path, above=state.attempt):
                mark_done(folder)


def _parse(content: object) -> Status | None:
    """Return the status in a file's content, None if the content is not valid."""
    if not isinstance(content, dict) or content.get("state") not in STATES:
        return None
    values = {field.name: content[field.name] for field in fields(Status) if field.name in content}
    values = {k: printable(v) if isinstance(v, str) else v for k, v in values.items()}
    for name, value in values.items():
        if value is None and name != "attempt":
            continue
        if type(value) is not (int if name in _NUMBERS else str):
            return None
        if name in _FORMS and not _FORMS[name].fullmatch(str(value)):
            return None
    if any(isinstance(value, int) and value < 0 for value in values.values()):
        return None
    return None if values.get("pid") == 0 else Status(**values)


def _runner(status: Status) -> tuple[str | None, int | None, str | None]:
    return status.host, status.pid, status.process
