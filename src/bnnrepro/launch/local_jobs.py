"""Launcher ``local``: a sweep as processes of this machine, which share its cores and GPUs."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.launch.job import Batch
from bnnrepro.launch.plan import PlannedRun
from bnnrepro.launch.settings import Local
from bnnrepro.launch.signals import delayed, terminated_as_interrupted
from bnnrepro.launch.submission import Reservation, Submission
from bnnrepro.launch.submitter import Submitter, shown
from bnnrepro.launch.wait import wait
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder

_CORES_PER_RUN = 2
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
        """Return the launcher's keys, for the sweep's record."""
        return asdict(self.values)

    def check(self) -> None:
        """Find the GPUs, and share out cores and GPUs among slots."""
        self.gpus = self.values.gpus if self.values.gpus is not None else visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        share = len(self.gpus) * self.values.runs_per_gpu or max(1, (cores or 1) // _CORES_PER_RUN)
        self.slots = self.values.processes or share
        self.threads = self.values.threads or max(1, (cores or 1) // self.slots)

    def submit(
        self, todo: Sequence[PlannedRun], submission: Submission, reservation: Reservation
    ) -> None:
        """Queue the runs in this process, behind those that wait already."""
        batches = self.batches(todo, submission, self.threads)
        self._waiting += enumerate(batches, start=len(submission.earlier))

    def wait(self, plan: Sequence[PlannedRun]) -> None:
        """Start a run whenever a slot is free, until all have ended."""
        with terminated_as_interrupted():
            wait(plan, self.tick, longest=1.0)

    def stop(self) -> None:
        """Signal the running runs to save and stop, and wait for them."""
        with delayed():
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
        """Return a line that says what Ctrl-C did to this launcher's runs."""
        return "stopped; the same command resumes"

    def tick(self) -> bool:
        """Start waiting runs in free slots; return whether any waits or works."""
        for slot in range(self.slots):
            worker = self._working.get(slot)
            if worker is not None and (code := worker.process.poll()) is not None:
                del self._working[slot]
                worker.batch.record_unfinished(worker.batch.runs, code, shown(worker.log))
            if slot not in self._working and (queued := self._next()) is not None:
                with delayed():
                    self._working[slot] = self._launch(*queued, slot)
                    del self._waiting[0]
        return bool(self._waiting or self._working)

    def _next(self) -> tuple[int, Batch] | None:
        """Return the next batch that has a run which was not cancelled while it waited."""
        while self._waiting:
            number, batch = self._waiting[0]
            batch.runs = [run for run in batch.runs if _waits_here(run.folder)]
            if batch.runs:
                return number, batch
            del self._waiting[0]
        return None

    def _launch(self, number: int, batch: Batch, slot: int) -> "_Worker":
        log = batch.submission.folder / f"{number}.log"
        gpus = [self.gpus[slot % len(self.gpus)]] if self.gpus else []
        with tempfile.TemporaryFile() as work, log.open("ab") as output:
            pickle.dump(batch, work)
            work.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", _WORK],
                stdin=work,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))},
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which stops it
            )
        return _Worker(process, batch, log)


@dataclass
class _Worker:
    """A process that runs a batch, and the file with its output."""

    process: subprocess.Popen[bytes]
    batch: Batch
    log: Path


def visible_gpus() -> list[int]:
    """Return the numbers of the GPUs that this process may use, without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        words = [word.strip() for word in chosen.split(",") if word.strip()]
        words = list(takewhile(lambda word: word != "-1", words))  # CUDA hides it and the rest
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
    """Return whether a run still waits in this process's queue."""
    state = status.read(folder)
    return state.state == "submitted" and state.pid == os.getpid()
