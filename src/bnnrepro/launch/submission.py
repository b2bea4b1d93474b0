"""A submitted sweep: its folder ``<out>/.hydra/<name>/``, its record, and marks in run folders."""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from bnnrepro.errors import UserError
from bnnrepro.launch.plan import PlannedRun
from bnnrepro.runs import atomic, provenance, reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import SUBMISSION, Run, submitted_runs

SCRATCH = ".hydra"


@dataclass(frozen=True)
class Job:
    """A job's number, None until SLURM assigns one, and the folders of its runs."""

    job: str | None
    runs: list[str]


@dataclass(frozen=True)
class Submission:
    """A sweep's record, by which ``retry`` and ``cancel`` work after the launcher has ended."""

    name: str
    folder: Path
    launcher: dict[str, Any]
    jobs: list[Job]
    earlier: list[Job] = field(default_factory=list)
    """jobs of a search that were submitted before ``jobs``"""
    grows: bool = False
    """whether it is a search's, whose folder holds more than this record"""

    @property
    def stopped(self) -> Path:
        """A file that exists once ``fail_fast`` has stopped the sweep."""
        return self.folder / "stopped"

    def write(self) -> None:
        """Write the record, atomically."""
        content = {
            "name": self.name,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "launcher": self.launcher,
            "jobs": [asdict(job) for job in [*self.earlier, *self.jobs]],
        }
        atomic.write_json(self.folder / SUBMISSION, content)

    @classmethod
    def create(
        cls, out: str, prefix: str, launcher: dict[str, Any], runs: Sequence[Sequence[str]]
    ) -> "Submission":
        """Create a sweep's folder and record; ``runs`` are the run folders of each job.

        Raises:
            UserError: the folder cannot be written.
        """
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        folder = (Path(out) / SCRATCH / name).absolute()
        submission = cls(name, folder, launcher, [Job(None, list(paths)) for paths in runs])
        try:
            folder.mkdir(parents=True)
            submission.write()
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = f"must be a folder that can be written ({error.strerror}: {folder})"
            raise UserError("out", out, reason) from error
        return submission

    def grown(self, runs: Sequence[Sequence[str]]) -> "Submission":
        """Return, and record, a search's submission with further jobs."""
        jobs, earlier = [Job(None, list(paths)) for paths in runs], [*self.earlier, *self.jobs]
        submission = replace(self, jobs=jobs, earlier=earlier)
        submission.write()
        return submission

    @classmethod
    def read(cls, folder: Path) -> "Submission":
        """Return the record in a sweep's folder.

        Raises:
            UserError: it is missing or damaged, or names a path that is not a run folder.
        """
        submitted_runs(folder)
        try:
            content = reading.parsed(folder / SUBMISSION)
            jobs = [Job(job["job"], list(job["runs"])) for job in content["jobs"]]
            return cls(str(content["name"]), folder, dict(content["launcher"]), jobs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            allowed = f"{SUBMISSION} cannot be read ({error})"
            raise UserError("sweep", str(folder), allowed) from error

    def discard(self) -> None:
        """Remove the sweep's folder, and parent folders that are then empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()
            self.folder.parent.parent.rmdir()

    def drop_unsubmitted(self) -> None:
        """Remove from the record the jobs that were not submitted."""
        self.jobs[:] = [job for job in self.jobs if job.job is not None]
        with suppress(OSError):
            self.write()


def submission_folder(run: Run) -> Path | None:
    """Return the folder of the sweep that a run was last submitted with; None if there is none.

    Raises:
        UserError: it lies outside the folder of all runs.
    """
    scratch = run.folder.path.absolute().parents[3] / SCRATCH
    folder = scratch / str(run.status.submission)
    if run.status.submission is None or not folder.is_dir():
        return None
    if folder.resolve().parent != scratch.parent.resolve() / SCRATCH:
        raise UserError("sweep", str(folder), f"is a link that leads out of {scratch}")
    return folder


class Reservation:
    """Runs marked as submitted in their folders; marks of runs without a job can be undone.

    Args:
        plan: the runs.
        name: of the submission.
        here: the runs wait in this process's own queue.
    """

    def __init__(self, plan: Sequence[PlannedRun], name: str, *, here: bool = False) -> None:
        self._plan, self._name, self._here = plan, name, here
        self._before: dict[str, tuple[dict[Path, bytes | None], list[Path]]] = {}
        self.assigned: set[str] = set()
        """folders of runs that have a job, and are not restored"""

    def make(self) -> None:
        """Write configuration, code and status into every folder.

        Raises:
            UserError: a folder cannot be written; nothing is left behind.
        """
        code = provenance.code()
        try:
            for planned in self._plan:
                self._write(planned, code)
        except OSError as error:
            self.undo()
            reason = f"cannot be written ({error.strerror}); nothing was submitted"
            raise UserError("out", str(planned.config.out), reason) from error
        except BaseException:
            self.undo()
            raise

    def assign(self, jobs: dict[str, str]) -> None:
        """Record the job of each of these run folders, unless the job itself has done so already.

        If the disk refuses, the job is still found by its name.
        """
        self.assigned |= jobs.keys()
        for path, job in jobs.items():
            folder = RunFolder(Path(path))
            now = status.read(folder)
            if now.state == "submitted" and now.submission == self._name and now.job is None:
                with suppress(OSError):
                    status.write(folder, "submitted", job=job, submission=self._name)

    def undo(self) -> None:
        """Restore every folder without a job to its state before."""
        for path, (files, new_folders) in reversed(self._before.items()):
            if path in self.assigned:
                continue
            with suppress(OSError):
                for file, content in files.items():
                    if content is None:
                        file.unlink(missing_ok=True)
                    else:
                        atomic.write_bytes(file, content)
                for folder in new_folders:
                    folder.rmdir()

    def _write(self, planned: PlannedRun, code: dict[str, object]) -> None:
        run, config = planned.run.folder, planned.config
        ancestors = [run.path, *run.path.parents][:5]
        contents = {file: _content(file) for file in (run.status, run.config, run.submitted)}
        new_folders = [folder for folder in ancestors if not folder.exists()]
        self._before[str(run.path.absolute())] = (contents, new_folders)
        run.create()
        atomic.write_text(run.config, yaml.safe_dump(config.to_dict(), sort_keys=False))
        atomic.write_json(run.submitted, {"submission": self._name, "code": code})
        status.write(
            run,
            "submitted",
            epochs=config.effective_epochs,
            submission=self._name,
            here=self._here,
        )


def _content(file: Path) -> bytes | None:
    try:
        with reading.opened(file) as stream:
            return stream.read()
    except FileNotFoundError:
        return None
