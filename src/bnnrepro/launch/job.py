"""What a job does: its runs, one after another or side by side, each with its own folder.

A job is asked to stop by SIGUSR2 (its time is almost up, or another job wants the node: it is then
submitted again by submitit) or SIGTERM. A run saves its state first; what it raises is recorded in
its folder, and the job exits non-zero so that SLURM knows too.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from bnnrepro import screen
from bnnrepro.errors import BusyError, TakenOverError, UserError
from bnnrepro.launch.cancel import cancel
from bnnrepro.launch.payload import Frozen, Place
from bnnrepro.launch.submission import Submission
from bnnrepro.runs import failures, process, slurm_queue, status
from bnnrepro.runs.cleanup import tidy
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import Run, look_up, submitted_runs

REQUEUED = 128 + signal.SIGUSR2
TERMINATED = 128 + signal.SIGTERM
_STOPPED = "another run of the sweep failed (fail_fast)"
_ASK_AGAIN = 3.0  # seconds; a child that was still importing did not hear the first time


class RunsFailedError(Exception):
    """At least one run of a job failed; each folder says how."""


class Batch:
    """A job's runs; submitit pickles it, calls it in the job, and asks it for a ``checkpoint``.

    Args:
        runs: what to do.
        submission: the sweep that they belong to.
        place: where it was submitted.
        at_once: runs that go side by side; 1: one after another in this process.
        fail_fast: the first failure cancels the rest of the sweep.
    """

    def __init__(
        self,
        runs: Sequence[Frozen],
        submission: Submission,
        place: Place,
        *,
        at_once: int = 1,
        fail_fast: bool = False,
    ) -> None:
        self.runs = list(runs)
        self.submission = submission
        self.place = place
        self.at_once = at_once
        self.fail_fast = fail_fast

    @property
    def _local(self) -> bool:
        return self.submission.launcher.get("kind") == "local"

    def checkpoint(self) -> Any:
        """Return what submitit submits again: the same, since every run knows how far it is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Do the runs that are left.

        Raises:
            RunsFailedError: at least one failed; the others were run.
            SystemExit: the job was asked to stop.
        """
        screen.guard()
        if not self._local:
            slurm_queue.enter_job(self.submission.name)
        self.place.enter()
        signal.signal(signal.SIGTERM, _terminate)
        runs = sorted(self.runs, key=_died)  # one that kills its job must not keep the others back
        failed = self._side_by_side(runs) if self.at_once > 1 else self._in_turn(runs)
        if failed:
            raise RunsFailedError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}")

    def bury(self, runs: Sequence[Frozen], code: int, output: str) -> list[Frozen]:
        """Record a failure of those runs that a process left when it ended; return them.

        Args:
            runs: that the process was to do.
            code: how it ended, as ``process.ending`` has it.
            output: where what it printed is.
        """
        left = [frozen for frozen in runs if self._is_left(frozen)]
        for frozen in left:
            line = f"its process {process.ending(code)}; its output is in {output}"
            failures.record(frozen.folder, RuntimeError(line))
        if left:
            self.stop_others()
        return left

    def _is_left(self, frozen: Frozen) -> bool:
        state = status.read(frozen.folder)
        if state.state == "submitted":
            return state.submission == self.submission.name
        return state.state == "running" and status.alive(state) is False

    def _in_turn(self, runs: Sequence[Frozen]) -> list[str]:
        failed = []
        for frozen in runs:
            if self._stopped(frozen):
                continue
            try:
                if not run_frozen(frozen):
                    failed.append(frozen.path)
                    self.stop_others()
            except SystemExit as stop:
                if stop.code == REQUEUED:
                    _hand_over()
                raise
        return failed

    def _side_by_side(self, runs: Sequence[Frozen]) -> list[str]:
        context = multiprocessing.get_context("spawn")
        waiting, working = list(runs), dict[BaseProcess, Frozen]()
        failed: list[str] = []
        asked = Asked()
        while working or (waiting and not asked):
            while waiting and len(working) < self.at_once and not asked:
                frozen = waiting.pop(0)
                if not self._stopped(frozen):
                    child: BaseProcess = context.Process(target=_child, args=(frozen, self.place))
                    child.start()
                    working[child] = frozen
            asked.pass_on(working)
            time.sleep(0.1)
            for child in [each for each in working if each.exitcode is not None]:
                frozen = working.pop(child)
                if self._child_failed(frozen, child.exitcode or 0, asked):
                    failed.append(frozen.path)
                    self.stop_others()
        asked.answer()
        return failed

    def _child_failed(self, frozen: Frozen, code: int, asked: "Asked") -> bool:
        if asked and code in (REQUEUED, TERMINATED, -signal.SIGUSR2, -signal.SIGTERM):
            return False
        output = f"the log of its job in {self.submission.folder}"
        return bool(self.bury([frozen], code, output)) or code == 1

    def _stopped(self, frozen: Frozen) -> bool:
        """Tell whether a run is not to start any more."""
        if self._local and status.read(frozen.folder).state != "submitted":
            return True  # cancelled while it waited, or somebody else is at it
        if not self.submission.stopped.exists() or frozen.folder.result.exists():
            return False
        if status.read(frozen.folder).state == "submitted":
            status.write(frozen.folder, "interrupted", error=_STOPPED)
        return True

    def stop_others(self) -> None:
        """Cancel the rest of the sweep, once, if a failure is to do that."""
        if not self.fail_fast or self.submission.stopped.exists():
            return
        self.submission.stopped.touch()
        try:
            others = [Run(RunFolder(path)) for path in submitted_runs(self.submission.folder)]
        except UserError as error:  # jobs that have not started yet see that it is stopped
            print(f"fail_fast: {error}")
            return
        look_up(others)
        lines, _ = cancel(others, _STOPPED, keep=slurm_queue.job_number())
        print("\n".join(["fail_fast:", *lines]))


class Asked:
    """A request to stop, for a job whose runs are other processes."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._told = 0.0
        self._before = {}
        for number in (signal.SIGUSR2, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)

    def __bool__(self) -> bool:
        return self._signal is not None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)

    def pass_on(self, working: dict[BaseProcess, Frozen]) -> None:
        """Ask every child to stop, now and then again."""
        if self._signal is None or time.monotonic() - self._told < _ASK_AGAIN:
            return
        self._told = time.monotonic()
        for child in working:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, self._signal)

    def answer(self) -> None:
        """Do, at the end, what the signal was for."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._signal is signal.SIGUSR2:
            _hand_over()
        if self._signal is not None:
            sys.exit(TERMINATED)


def run_frozen(frozen: Frozen) -> bool:
    """Run what is left of a frozen run; return False if it failed, which is then on record."""
    try:
        configs = frozen.typed()
        if not configs:
            print(f"nothing to do: {frozen.path}", flush=True)
            if frozen.folder.result.exists():
                tidy(frozen.folder)
            return True
        from bnnrepro import experiment

        for config in configs:
            experiment.run(config)
        return True
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if isinstance(error, BusyError) and status.read(frozen.folder).state != "submitted":
            return True  # its owner says how it goes
        return _record(frozen, error)
    except Exception as error:
        print(screen.traceback_of(error), end="", file=sys.stderr, flush=True)
        return _record(frozen, error)


def _record(frozen: Frozen, error: Exception) -> bool:
    """Record what was raised before the run itself could do it, as by a lack of its data."""
    state = status.read(frozen.folder)
    recorded = state.state == "failed" and state.pid == os.getpid()
    if not recorded and not isinstance(error, TakenOverError):
        failures.record(frozen.folder, error)
    return False


def _child(frozen: Frozen, place: Place) -> None:
    # Until training hears them, and while it saves, signals wait: the parent asks again.
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    screen.guard()
    place.enter()
    sys.exit(0 if run_frozen(frozen) else 1)


def _died(frozen: Frozen) -> bool:
    """Tell whether an earlier start of this job ended within the run, without a word."""
    state = status.read(frozen.folder)
    return (
        slurm_queue.restarts() > 0
        and state.state == "running"
        and state.job == slurm_queue.job_number()
    )


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _hand_over() -> None:
    """Let submitit, whose handler was here first, submit the job again; it exits."""
    before = signal.getsignal(signal.SIGUSR2)
    if callable(before):
        before(signal.SIGUSR2, None)
    sys.exit(REQUEUED)
