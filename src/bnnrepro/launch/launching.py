"""What the launchers of other processes share: plan, announce, submit, wait, tell."""

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
from bnnrepro.launch import submission as submissions
from bnnrepro.launch.job import Batch
from bnnrepro.launch.payload import Frozen, freeze, here
from bnnrepro.launch.plan import Planned, refresh
from bnnrepro.launch.submission import Announcement, Submission
from bnnrepro.launch.wait import counts, reason
from bnnrepro.runs import lock
from bnnrepro.runs.cleanup import tidy

NOTHING, SUBMITTED = "nothing to start", " submitted"
"""What a launcher's word on a sweep begins with or contains."""

_NOTHING_OURS = "nothing was started here; what others have started goes on"
_POLL = 1.0  # seconds between two looks at another launcher's lock


class Submitter:
    """Starts planned runs in other processes; the same runs again start only what is left."""

    kind: str
    """the option of ``hydra/launcher``"""
    name: str
    """begins the sweep's name"""
    detach = False
    """return once the runs are submitted"""
    submission: Submission | None = None
    """the sweep, once there is one"""

    def settings(self) -> dict[str, Any]:
        """Return the launcher's keys, for the record."""
        raise NotImplementedError

    @abstractmethod
    def check(self) -> None:
        """Refuse, before anything is written, what cannot work here."""

    @abstractmethod
    def submit(self, todo: Sequence[Planned], made: Submission, announcement: Announcement) -> None:
        """Give the runs of a sweep to other processes; called while no other launcher submits."""

    @abstractmethod
    def wait(self, planned: Sequence[Planned]) -> None:
        """Come back when all of them have ended."""

    def start(self, planned: Sequence[Planned]) -> None:
        """Submit what is left of the runs, and wait for all unless detached.

        Raises:
            UserError: something is not as it must be; nothing is left behind but what was submitted
                by then, which the message says.
        """
        self.check()
        for each in planned:
            if each.run.state.name == "done" and each.run.status.state != "done":
                tidy(each.run.folder)
        try:
            if not any(each.todo for each in planned):
                print(f"{NOTHING}: {counts(planned)}", flush=True)
            else:
                self._submit_left(planned)
            if self.detach:
                refresh(planned)
            else:
                self.wait(planned)
        except BaseException as error:
            self.stop()
            if isinstance(error, KeyboardInterrupt):
                print(f"\n{self.interrupted() if self.submission else _NOTHING_OURS}")
            raise

    def stop(self) -> None:
        """Stop, when the launcher must leave, those of its own runs that cannot go on alone."""

    @abstractmethod
    def interrupted(self) -> str:
        """Return what Ctrl-C means for the runs of its own."""

    def tell(self, planned: Sequence[Planned]) -> list[tuple[Planned, str]]:
        """Return the runs that did not come to their end, each with the reason."""
        return [(each, why) for each in planned if (why := reason(each)) is not None]

    @property
    def where(self) -> str:
        """What ``status``, ``retry`` and ``cancel`` are told to mean this sweep."""
        return shown(self.submission.folder) if self.submission else ""

    def _word(self, todo: Sequence[Planned]) -> str:
        if not self.submission or not todo:
            return NOTHING
        numbers = [job.job for job in self.submission.jobs if job.job]
        arrays = sorted({number.partition("_")[0] for number in numbers})
        jobs = f" in {_count(numbers, 'job')} (number {', '.join(arrays)})" if numbers else ""
        return f"{_count(todo, 'run')}{SUBMITTED}{jobs} as {self.where}"

    def _submit_left(self, planned: Sequence[Planned]) -> None:
        with submitting(Path(planned[0].config.out)):
            refresh(planned)  # another launcher may have been first
            todo = [each for each in planned if each.todo]
            if todo:
                self._submit(todo)
            print(f"{self._word(todo)}; before: {counts(planned)}", flush=True)

    def _submit(self, todo: Sequence[Planned]) -> None:
        size = todo[0].config.runs_per_job
        groups = [todo[first : first + size] for first in range(0, len(todo), size)]
        paths = [[str(each.run.folder.path.absolute()) for each in group] for group in groups]
        out = todo[0].config.out
        made = submissions.new(out, self.name, {"kind": self.kind, **self.settings()}, paths)
        announcement = Announcement(todo, made.name, here=self.kind == "local")
        try:
            announcement.make()
            self.submission = made
            self.submit(todo, made, announcement)
        except BaseException:
            announcement.take_back()
            if announcement.given:
                submissions.forget(made)
            else:
                submissions.discard(made)
                self.submission = None
            raise

    def batches(
        self, todo: Sequence[Planned], made: Submission, threads: int | None, at_once: int = 1
    ) -> list[Batch]:
        """Return the jobs' work, in the order of the sweep's record."""
        frozen = {each.path: each for each in (freeze(one, threads) for one in todo)}
        place, fail_fast = here(), any(each.config.fail_fast for each in todo)
        about = replace(made, jobs=[])  # each job would carry the paths of all

        def batch(runs: list[Frozen]) -> Batch:
            return Batch(runs, about, place, at_once=at_once, fail_fast=fail_fast)

        return [batch([frozen[path] for path in job.runs]) for job in made.jobs]


@contextmanager
def submitting(out: Path) -> Iterator[None]:
    """Let one launcher at a time look at a store and submit; others wait, and say so.

    What was made for the purpose is gone afterwards if nothing was submitted.
    """
    scratch = out / submissions.SCRATCH
    above = [each for each in (out, *out.parents) if not each.exists()]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"must be a folder that can be written ({error.strerror}: {scratch})"
        raise UserError("out", str(out), reason) from error
    try:
        with _held(scratch):
            yield
    finally:
        for folder in (scratch, *above):
            try:
                folder.rmdir()
            except OSError:
                break


@contextmanager
def _held(scratch: Path) -> Iterator[None]:
    said = False
    while True:
        try:
            holding = lock.hold(scratch)
            holding.__enter__()
            break
        except lock.HeldError as held:
            if not said:
                who = held.owner or "another process"
                print(f"another launcher, {who}, is submitting there; waiting", file=sys.stderr)
                said = True
            time.sleep(_POLL)
        except OSError as error:
            reason = f"cannot be written ({error.strerror}); nothing was submitted"
            raise UserError("out", str(scratch.parent), reason) from error
    try:
        yield
    finally:
        holding.__exit__(None, None, None)


def _count(things: Sequence[Any], word: str) -> str:
    return f"{len(things)} {word}{'s' if len(things) != 1 else ''}"


def shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
