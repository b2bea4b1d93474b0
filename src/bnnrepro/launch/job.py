"""A job's work: its runs, one after another or side by side, each with its own folder.

A job stops at SIGUSR2 (time limit or preemption: submitit then submits it again) or at SIGTERM. A
run saves its state first; its errors are recorded in its folder, and the job exits non-zero so that
SLURM reports the failure too.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from bnnrepro import screen
from bnnrepro.errors import BusyError, TakenOverError, UserError
from bnnrepro.launch.cancel import cancel
from bnnrepro.launch.payload import RunSpec, Workdir
from bnnrepro.launch.signals import REQUEUED, TERMINATED, StopSignal, requeue, terminate
from bnnrepro.launch.submission import Submission
from bnnrepro.runs import process, slurm_queue, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import Run, submitted_runs, update_states

_STOPPED = "another run of the sweep failed (fail_fast)"


class RunsFailedError(Exception):
    """At least one run of a job failed; the reasons are in the run folders."""


class Batch:
    """A job's runs; submitit pickles it, calls it in the job, and asks it for a ``checkpoint``.

    Args:
        runs: of the job.
        submission: the sweep that they belong to.
        workdir: of the sweep's launcher.
        at_once: runs that run side by side; 1: one after another in this process.
        fail_fast: the first failure cancels the rest of the sweep.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        submission: Submission,
        workdir: Workdir,
        *,
        at_once: int = 1,
        fail_fast: bool = False,
    ) -> None:
        self.runs = list(runs)
        self.submission = submission
        self.workdir = workdir
        self.at_once = at_once
        self.fail_fast = fail_fast

    @property
    def _local(self) -> bool:
        return self.submission.launcher.get("kind") == "local"

    def checkpoint(self) -> Any:
        """Return the submission for submitit's requeue: this batch, since its runs resume."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Run what is left.

        Raises:
            RunsFailedError: at least one failed; the others were run.
            SystemExit: a signal stopped the job.
        """
        screen.guard()
        if not self._local:
            slurm_queue.enter_job(self.submission.name)
        self.workdir.enter()
        signal.signal(signal.SIGTERM, terminate)
        runs = sorted(self.runs, key=_died)  # one that kills its job must not block the others
        failed = self._side_by_side(runs) if self.at_once > 1 else self._in_turn(runs)
        if failed:
            raise RunsFailedError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}")

    def record_unfinished(self, runs: Sequence[RunSpec], code: int, output: str) -> list[RunSpec]:
        """Record a failure of the runs that an ended process did not finish; return them.

        Args:
            runs: of the process.
            code: its exit code, as for ``process.describe_exit``.
            output: the file with its output.
        """
        left = [spec for spec in runs if self._is_unfinished(spec)]
        for spec in left:
            line = f"its process {process.describe_exit(code)}; its output is in {output}"
            status.record_failure(spec.folder, RuntimeError(line))
        if left:
            self.stop_others()
        return left

    def _is_unfinished(self, spec: RunSpec) -> bool:
        state = status.read(spec.folder)
        if state.state == "submitted":
            return state.submission == self.submission.name
        return state.state == "running" and status.alive(state) is False

    def _in_turn(self, runs: Sequence[RunSpec]) -> list[str]:
        failed = []
        for spec in runs:
            if self._stopped(spec):
                continue
            try:
                if not run_spec(spec):
                    failed.append(spec.path)
                    self.stop_others()
            except SystemExit as stop:
                if stop.code == REQUEUED:
                    requeue()
                raise
        return failed

    def _side_by_side(self, runs: Sequence[RunSpec]) -> list[str]:
        context = multiprocessing.get_context("spawn")
        waiting, working = list(runs), dict[BaseProcess, RunSpec]()
        failed: list[str] = []
        stop = StopSignal()
        while working or (waiting and not stop):
            while waiting and len(working) < self.at_once and not stop:
                spec = waiting.pop(0)
                if not self._stopped(spec):
                    child: BaseProcess = context.Process(target=_child, args=(spec, self.workdir))
                    child.start()
                    working[child] = spec
            stop.forward(working)
            time.sleep(0.1)
            for child in [child for child in working if child.exitcode is not None]:
                spec = working.pop(child)
                if self._child_failed(spec, child.exitcode or 0, stop):
                    failed.append(spec.path)
                    self.stop_others()
        stop.act()
        return failed

    def _child_failed(self, spec: RunSpec, code: int, stop: StopSignal) -> bool:
        if stop and code in (REQUEUED, TERMINATED, -signal.SIGUSR2, -signal.SIGTERM):
            return False
        output = f"the log of its job in {self.submission.folder}"
        return bool(self.record_unfinished([spec], code, output)) or code == 1

    def _stopped(self, spec: RunSpec) -> bool:
        """Return whether a run must not start any more."""
        if self._local and status.read(spec.folder).state != "submitted":
            return True  # cancelled while it waited, or another process runs it
        if not self.submission.stopped.exists() or spec.folder.result.exists():
            return False
        if status.read(spec.folder).state == "submitted":
            status.write(spec.folder, "interrupted", error=_STOPPED)
        return True

    def stop_others(self) -> None:
        """Cancel the rest of the sweep, once, if ``fail_fast`` is set."""
        if not self.fail_fast or self.submission.stopped.exists():
            return
        self.submission.stopped.touch()
        try:
            others = [Run(RunFolder(path)) for path in submitted_runs(self.submission.folder)]
        except UserError as error:  # jobs that have not started yet see the file ``stopped``
            print(f"fail_fast: {error}")
            return
        update_states(others)
        lines, _ = cancel(others, _STOPPED, keep=slurm_queue.job_number())
        print("\n".join(["fail_fast:", *lines]))


def run_spec(spec: RunSpec) -> bool:
    """Run what is left of a run; return False if it failed, which is then recorded."""
    try:
        configs = spec.typed()
        if not configs:
            print(f"nothing to do: {spec.path}", flush=True)
            if spec.folder.result.exists():
                status.tidy(spec.folder)
            return True
        from bnnrepro import experiment

        for config in configs:
            experiment.run(config)
        return True
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if isinstance(error, BusyError) and status.read(spec.folder).state != "submitted":
            return True  # its owner records how it ends
        return _record(spec, error)
    except Exception as error:
        print(screen.traceback_of(error), end="", file=sys.stderr, flush=True)
        return _record(spec, error)


def _record(spec: RunSpec, error: Exception) -> bool:
    """Record an error that the run itself did not, such as missing data."""
    state = status.read(spec.folder)
    recorded = state.state == "failed" and state.pid == os.getpid()
    if not recorded and not isinstance(error, TakenOverError):
        status.record_failure(spec.folder, error)
    return False


def _child(spec: RunSpec, workdir: Workdir) -> None:
    # Signals are ignored until training handles them, and while it saves; the parent repeats them.
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    screen.guard()
    workdir.enter()
    sys.exit(0 if run_spec(spec) else 1)


def _died(spec: RunSpec) -> bool:
    """Return whether an earlier start of this job died within the run."""
    state = status.read(spec.folder)
    return (
        slurm_queue.restarts() > 0
        and state.state == "running"
        and state.job == slurm_queue.job_number()
    )
