"""Base class of the launchers that start other processes: reserve, submit, wait, report."""

import os
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.launch.job import Batch
from bnnrepro.launch.payload import current_workdir, make_spec
from bnnrepro.launch.plan import PlannedRun, counts, refresh
from bnnrepro.launch.submission import SCRATCH, Reservation, Submission
from bnnrepro.launch.wait import reason
from bnnrepro.runs import lock, status

NOTHING, SUBMITTED = "nothing to start", " submitted"
"""The beginning or a part of a launcher's line on a sweep."""

_NOTHING_STARTED = "nothing was started here; runs of other launchers continue"
_POLL = 1.0  # seconds between two checks of another launcher's lock


class Submitter:
    """Starts planned runs in other processes; a second call starts only what is left."""

    kind: str
    """the option of ``hydra/launcher``"""
    name: str
    """prefix of the sweep's name"""
    detach = False
    """return once the runs are submitted"""
    submission: Submission | None = None
    """the sweep; None before it is created"""

    def settings(self) -> dict[str, Any]:
        """Return the launcher's keys, for the sweep's record."""
        raise NotImplementedError

    @abstractmethod
    def check(self) -> None:
        """Check, before anything is written, that the launcher can work here."""

    @abstractmethod
    def submit(
        self, todo: Sequence[PlannedRun], submission: Submission, reservation: Reservation
    ) -> None:
        """Hand the runs of a sweep to other processes; called while no other launcher submits."""

    @abstractmethod
    def wait(self, plan: Sequence[PlannedRun]) -> None:
        """Return when all runs have ended."""

    def tick(self) -> bool:
        """Do what is due while runs work; return whether some wait that no status shows yet."""
        return False

    def start(self, plan: Sequence[PlannedRun]) -> None:
        """Submit what is left of the runs, and wait for all unless detached.

        Raises:
            UserError: a setting or the machine does not allow it; the message names the runs
                submitted by then, and nothing else is left behind.
        """
        self.check()
        for planned in plan:
            if planned.run.state.name == "done" and planned.run.status.state != "done":
                status.tidy(planned.run.folder)
        try:
            if not any(planned.todo for planned in plan):
                print(f"{NOTHING}: {counts(plan)}", flush=True)
            else:
                self._submit_left(plan)
            if self.detach:
                refresh(plan)
            else:
                self.wait(plan)
        except BaseException as error:
            self.stop()
            if isinstance(error, KeyboardInterrupt):
                print(f"\n{self.interrupted() if self.submission else _NOTHING_STARTED}")
            raise

    def stop(self) -> None:
        """Stop the runs that cannot continue without the launcher, before it ends."""

    @abstractmethod
    def interrupted(self) -> str:
        """Return a line that says what Ctrl-C did to this launcher's runs."""

    def unfinished(self, plan: Sequence[PlannedRun]) -> list[tuple[PlannedRun, str]]:
        """Return the runs that did not finish, each with the reason."""
        return [(planned, why) for planned in plan if (why := reason(planned)) is not None]

    @property
    def where(self) -> str:
        """The sweep's folder, as typed after ``status``, ``retry`` or ``cancel``; empty if none."""
        return shown(self.submission.folder) if self.submission else ""

    def _summary(self, todo: Sequence[PlannedRun]) -> str:
        if not self.submission or not todo:
            return NOTHING
        numbers = [job.job for job in self.submission.jobs if job.job]
        arrays = sorted({number.partition("_")[0] for number in numbers})
        jobs = f" in {_count(numbers, 'job')} (number {', '.join(arrays)})" if numbers else ""
        return f"{_count(todo, 'run')}{SUBMITTED}{jobs} as {self.where}"

    def _submit_left(self, plan: Sequence[PlannedRun]) -> None:
        with submitting(Path(plan[0].config.out)):
            todo = self.submit_left(plan)
            print(f"{self._summary(todo)}; before: {counts(plan)}", flush=True)

    def submit_left(self, plan: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Submit those of the runs that are to be started, and return them.

        Called while no other launcher submits; a search's runs join its submission.
        """
        refresh(plan)  # another launcher may have been first
        todo = [planned for planned in plan if planned.todo]
        if todo:
            self._submit(todo)
        return todo

    def _submit(self, todo: Sequence[PlannedRun]) -> None:
        size = int(self.settings()["runs_per_job"])
        groups = [todo[first : first + size] for first in range(0, len(todo), size)]
        paths = [[str(run.run.folder.path.absolute()) for run in group] for group in groups]
        launcher = {"kind": self.kind, **self.settings()}
        if self.submission is not None and self.submission.grows:
            submission = self.submission.grown(paths)
        else:
            submission = Submission.create(todo[0].config.out, self.name, launcher, paths)
        reservation = Reservation(todo, submission.name, here=self.kind == "local")
        try:
            reservation.make()
            self.submission = submission
            self.submit(todo, submission, reservation)
        except BaseException:
            reservation.undo()
            if reservation.assigned or submission.grows:
                submission.drop_unsubmitted()
            else:
                submission.discard()
                self.submission = None
            raise

    def batches(
        self,
        todo: Sequence[PlannedRun],
        submission: Submission,
        threads: int | None,
        at_once: int = 1,
    ) -> list[Batch]:
        """Return the jobs' work, in the order of the sweep's record."""
        specs = {spec.path: spec for spec in (make_spec(planned, threads) for planned in todo)}
        fail_fast = any(planned.config.fail_fast for planned in todo)
        sweep = replace(
            submission, jobs=[], earlier=[]
        )  # else each job would carry the paths of all
        workdir = current_workdir()
        runs = [[specs[path] for path in job.runs] for job in submission.jobs]
        return [
            Batch(group, sweep, workdir, at_once=at_once, fail_fast=fail_fast) for group in runs
        ]


@contextmanager
def submitting(out: Path) -> Iterator[None]:
    """Let one launcher at a time read run states and submit; others wait, and say so.

    Folders created here are removed again if nothing was submitted.
    """
    scratch = out / SCRATCH
    new_folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"must be a folder that can be written ({error.strerror}: {scratch})"
        raise UserError("out", str(out), reason) from error
    try:
        with _held(scratch):
            yield
    finally:
        for folder in (scratch, *new_folders):
            try:
                folder.rmdir()
            except OSError:
                break


@contextmanager
def _held(scratch: Path) -> Iterator[None]:
    notified = False
    while True:
        try:
            holding = lock.hold(scratch)
            holding.__enter__()
            break
        except lock.HeldError as held:
            if not notified:
                who = held.owner or "another process"
                print(f"another launcher, {who}, is submitting there; waiting", file=sys.stderr)
                notified = True
            time.sleep(_POLL)
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); nothing was submitted"
            raise UserError("out", str(scratch.parent), reason) from error
    try:
        yield
    finally:
        holding.__exit__(None, None, None)


def _count(items: Sequence[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"


def shown(path: Path) -> str:
    """Return a path relative to the current folder, if it is inside; else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
