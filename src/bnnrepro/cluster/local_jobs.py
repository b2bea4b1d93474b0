"""The sweep on this machine, by submitit: so many processes at a time, cores and GPUs shared."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

from bnnrepro.cluster.cancelling import cancel
from bnnrepro.cluster.job import Batch
from bnnrepro.cluster.launching import Submitter
from bnnrepro.cluster.plan import Planned, refresh
from bnnrepro.cluster.settings import Local
from bnnrepro.cluster.submission import Announcement, Submission
from bnnrepro.cluster.waiting import wait
from bnnrepro.errors import UserError
from bnnrepro.store import status
from bnnrepro.store.folder import RunFolder

_YEAR = 365 * 24 * 60  # minutes: submitit ends what lasts longer
_CORES_A_RUN = 2


class LocalJobs(Submitter):
    """Starts runs as processes of this machine, each slot with its share of cores and GPUs.

    Args:
        values: the launcher's keys.
    """

    kind = "local"

    def __init__(self, values: Local) -> None:
        self.values = values
        self.name = values.name
        self._waiting: list[Batch] = []
        self._working: dict[int, Any] = {}

    def settings(self) -> dict[str, Any]:
        """Return the launcher's keys, for the record."""
        return asdict(self.values)

    def check(self) -> None:
        """Look for the GPUs that are to be used."""
        self.gpus = self.values.gpus if self.values.gpus is not None else visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        share = len(self.gpus) * self.values.runs_per_gpu or max(1, (cores or 1) // _CORES_A_RUN)
        self.slots = self.values.processes or share
        self.threads = self.values.threads or max(1, (cores or 1) // self.slots)

    def submit(self, todo: Sequence[Planned], made: Submission, announcement: Announcement) -> None:
        """Queue the runs in this process."""
        self._waiting = self.batches(todo, made, self.threads)

    def wait(self, planned: Sequence[Planned]) -> None:
        """Start a run whenever a slot is free, until all have ended."""
        with _terminated_as_interrupted():
            try:
                wait(planned, self._tick, longest=1.0)
            except BaseException:
                self._stop(planned)
                raise

    def interrupted(self) -> None:
        """Say that the runs are stopped and will go on."""
        print("\nstopped; the same line goes on from there")

    def _tick(self) -> bool:
        for slot in range(self.slots):
            job = self._working.get(slot)
            if job is not None and job.done():
                del self._working[slot]
            if slot not in self._working and (batch := self._next()) is not None:
                self._working[slot] = self._launch(batch, slot)
        return bool(self._waiting or self._working)

    def _next(self) -> Batch | None:
        """Return the next batch with a run that nobody has cancelled while it waited."""
        while self._waiting:
            batch = self._waiting.pop(0)
            batch.runs = [run for run in batch.runs if _is_ours(run.folder)]
            if batch.runs:
                return batch
        return None

    def _launch(self, batch: Batch, slot: int) -> Any:
        import submitit

        executor = submitit.LocalExecutor(batch.submission.folder)
        mine = [self.gpus[slot % len(self.gpus)]] if self.gpus else []
        executor.update_parameters(
            timeout_min=_YEAR, gpus_per_node=len(mine), visible_gpus=tuple(mine)
        )
        with _deaf_to_ctrl_c():
            return executor.submit(batch)

    def _stop(self, planned: Sequence[Planned]) -> None:
        """Ask the running runs to save and stop, and wait until they have."""
        with _deaf_to_ctrl_c():
            refresh(planned)
            waiting = [each.run for each in planned if each.run.outlook.state == "queued"]
            cancel([run for run in waiting if _is_ours(run.folder)])
            for job in self._working.values():
                job._process.terminate()
            for job in self._working.values():
                job._process.wait()


def visible_gpus() -> list[int]:
    """Return the numbers of the GPUs that this process may use; torch is not asked."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        words = [word.strip() for word in chosen.split(",") if word.strip()]
        if not all(word.isdecimal() for word in words):
            allowed = "must be numbers for hydra/launcher=local; or give hydra.launcher.gpus=[0]"
            raise UserError("CUDA_VISIBLE_DEVICES", chosen, allowed)
        return [int(word) for word in words]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    done = subprocess.run([program, "-L"], capture_output=True, encoding="utf-8", check=False)
    return list(range(sum(line.startswith("GPU ") for line in done.stdout.splitlines())))


def _is_ours(folder: RunFolder) -> bool:
    """Tell whether a run still waits in, or runs for, this process's queue."""
    state = status.read(folder)
    return state.state == "running" or (state.state == "submitted" and state.pid == os.getpid())


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let a process that is started here not hear the terminal's Ctrl-C: this one tells it."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # outside the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    try:
        for each in (signal.SIGTERM, signal.SIGHUP):
            if each is signal.SIGTERM or signal.getsignal(each) is not signal.SIG_IGN:  # nohup
                before[each] = signal.signal(each, interrupt)
    except ValueError:  # outside the main thread
        pass
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
