"""The sweep on this machine: so many processes at a time, cores and GPUs shared out."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.launch.job import Batch
from bnnrepro.launch.launching import Submitter, shown
from bnnrepro.launch.plan import Planned
from bnnrepro.launch.settings import Local
from bnnrepro.launch.signals import put_off, terminated_as_interrupted
from bnnrepro.launch.submission import Announcement, Submission
from bnnrepro.launch.wait import wait
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder

_CORES_A_RUN = 2
_WORK = "import pickle, sys; pickle.load(sys.stdin.buffer)()"


class LocalJobs(Submitter):
    """Starts runs as processes of this machine, each slot with its share of cores and GPUs.

    Args:
        values: the launcher's keys.
    """

    kind = "local"

    def __init__(self, values: Local) -> None:
        self.values = values
        self.name = values.name
        self._waiting: list[tuple[int, Batch]] = []
        self._working: dict[int, _Worker] = {}

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
        self._waiting = list(enumerate(self.batches(todo, made, self.threads)))

    def wait(self, planned: Sequence[Planned]) -> None:
        """Start a run whenever a slot is free, until all have ended."""
        with terminated_as_interrupted():
            wait(planned, self._tick, longest=1.0)

    def stop(self) -> None:
        """Ask the running runs to save and stop, and wait until they have."""
        with put_off():
            for worker in self._working.values():
                worker.process.terminate()
            for worker in self._working.values():
                worker.process.wait()
            batches = [batch for _, batch in self._waiting]
            batches += [worker.batch for worker in self._working.values()]
            for run in [run for batch in batches for run in batch.runs if _waits_here(run.folder)]:
                with suppress(OSError):
                    status.write(run.folder, "interrupted", error="cancelled")

    def interrupted(self) -> str:
        """Return what Ctrl-C means for the runs of its own."""
        return "stopped; the same line goes on from there"

    def _tick(self) -> bool:
        for slot in range(self.slots):
            worker = self._working.get(slot)
            if worker is not None and (code := worker.process.poll()) is not None:
                del self._working[slot]
                worker.batch.bury(worker.batch.runs, code, shown(worker.log))
            if slot not in self._working and (found := self._next()) is not None:
                with put_off():
                    self._working[slot] = self._launch(*found, slot)
                    del self._waiting[0]
        return bool(self._waiting or self._working)

    def _next(self) -> tuple[int, Batch] | None:
        """Return the next batch with a run that nobody has cancelled while it waited."""
        while self._waiting:
            number, batch = self._waiting[0]
            batch.runs = [run for run in batch.runs if _waits_here(run.folder)]
            if batch.runs:
                return number, batch
            del self._waiting[0]
        return None

    def _launch(self, number: int, batch: Batch, slot: int) -> "_Worker":
        log = batch.submission.folder / f"{number}.log"
        mine = [self.gpus[slot % len(self.gpus)]] if self.gpus else []
        with tempfile.TemporaryFile() as work, log.open("ab") as output:
            pickle.dump(batch, work)
            work.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", _WORK],
                stdin=work,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, mine))},
                start_new_session=True,  # the terminal's Ctrl-C is for the launcher, which tells it
            )
        return _Worker(process, batch, log)


@dataclass
class _Worker:
    """A process that does a batch of runs, and the file of what it prints."""

    process: subprocess.Popen[bytes]
    batch: Batch
    log: Path


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


def _waits_here(folder: RunFolder) -> bool:
    """Tell whether a run still waits in this process's queue."""
    state = status.read(folder)
    return state.state == "submitted" and state.pid == os.getpid()
