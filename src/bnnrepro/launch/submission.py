"""A sweep that was given to jobs: its folder ``<out>/.hydra/<name>/`` and its record."""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from bnnrepro.errors import UserError
from bnnrepro.launch.plan import Planned
from bnnrepro.runs import atomic, provenance, reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.query import SUBMISSION, Run, submitted_runs

SCRATCH = ".hydra"


@dataclass(frozen=True)
class Job:
    """A job and the folders of its runs; no number before the cluster gave it one."""

    job: str | None
    runs: list[str]


@dataclass(frozen=True)
class Submission:
    """A sweep's record: with it, ``retry`` and ``cancel`` work long after the launcher's end."""

    name: str
    folder: Path
    launcher: dict[str, Any]
    jobs: list[Job]

    @property
    def stopped(self) -> Path:
        """A file that is there once ``fail_fast`` has stopped the sweep."""
        return self.folder / "stopped"

    def write(self) -> None:
        """Write the record, atomically."""
        content = {
            "name": self.name,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "launcher": self.launcher,
            "jobs": [asdict(job) for job in self.jobs],
        }
        atomic.write_json(self.folder / SUBMISSION, content)


def new(
    out: str, prefix: str, launcher: dict[str, Any], runs: Sequence[Sequence[str]]
) -> Submission:
    """Make a sweep's folder and record, its jobs still without numbers."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    folder = (Path(out) / SCRATCH / name).absolute()
    made = Submission(name, folder, launcher, [Job(None, list(each)) for each in runs])
    try:
        folder.mkdir(parents=True)
        made.write()
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = f"must be a folder that can be written ({error.strerror}: {folder})"
        raise UserError("out", out, reason) from error
    return made


def discard(made: Submission) -> None:
    """Remove a sweep's folder, and those above that hold nothing else."""
    shutil.rmtree(made.folder, ignore_errors=True)
    with suppress(OSError):
        made.folder.parent.rmdir()
        made.folder.parent.parent.rmdir()


def forget(made: Submission) -> None:
    """Leave in a sweep's record those jobs alone that were submitted."""
    made.jobs[:] = [each for each in made.jobs if each.job is not None]
    with suppress(OSError):
        made.write()


def read(folder: Path) -> Submission:
    """Return the record in a sweep's folder.

    Raises:
        UserError: it is missing or damaged, or names what is no run in its store.
    """
    submitted_runs(folder)
    try:
        content = reading.parsed(folder / SUBMISSION)
        jobs = [Job(each["job"], list(each["runs"])) for each in content["jobs"]]
        return Submission(str(content["name"]), folder, dict(content["launcher"]), jobs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError("sweep", str(folder), f"{SUBMISSION} cannot be read ({error})") from error


def folder_of(run: Run) -> Path | None:
    """Return the folder of the sweep that a run was last submitted with; None where there is none.

    Raises:
        UserError: it lies outside of the run's store.
    """
    scratch = run.folder.path.absolute().parents[3] / SCRATCH
    folder = scratch / str(run.status.submission)
    if run.status.submission is None or not folder.is_dir():
        return None
    if folder.resolve().parent != scratch.parent.resolve() / SCRATCH:
        raise UserError("sweep", str(folder), f"is a link that leads out of {scratch}")
    return folder


class Announcement:
    """The word in every run's folder that it is submitted, which can be taken back.

    Args:
        planned: the runs.
        name: of the submission.
        here: the runs wait in this process's own queue.
    """

    def __init__(self, planned: Sequence[Planned], name: str, *, here: bool = False) -> None:
        self._planned, self._name, self._here = planned, name, here
        self._before: dict[str, tuple[dict[Path, bytes | None], list[Path]]] = {}
        self.given: set[str] = set()
        """folders of runs that are the jobs' now, and are not taken back"""

    def make(self) -> None:
        """Write configuration, code and status into every folder.

        Raises:
            UserError: a folder cannot be written; nothing is left behind.
        """
        code = provenance.code()
        try:
            for each in self._planned:
                self._write(each, code)
        except OSError as error:
            self.take_back()
            reason = f"cannot be written ({error.strerror}); nothing was submitted"
            raise UserError("out", str(each.config.out), reason) from error
        except BaseException:
            self.take_back()
            raise

    def give(self, jobs: dict[str, str]) -> None:
        """Note the job of each of these run folders, unless the job itself has done so by now.

        Where the disk takes no note, the job is found by its name.
        """
        self.given |= jobs.keys()
        for path, job in jobs.items():
            folder = RunFolder(Path(path))
            now = status.read(folder)
            if now.state == "submitted" and now.submission == self._name and now.job is None:
                with suppress(OSError):
                    status.write(folder, "submitted", job=job, submission=self._name)

    def take_back(self) -> None:
        """Leave every folder that was not given to a job as it was before."""
        for path, (files, made) in reversed(self._before.items()):
            if path in self.given:
                continue
            with suppress(OSError):
                for file, content in files.items():
                    if content is None:
                        file.unlink(missing_ok=True)
                    else:
                        atomic.write_bytes(file, content)
                for folder in made:
                    folder.rmdir()

    def _write(self, planned: Planned, code: dict[str, object]) -> None:
        folder, config = planned.run.folder, planned.config
        made = [each for each in [folder.path, *folder.path.parents][:5] if not each.exists()]
        files = (folder.status, folder.config, folder.submitted)
        self._before[str(folder.path.absolute())] = ({each: _content(each) for each in files}, made)
        folder.create()
        atomic.write_text(folder.config, yaml.safe_dump(config.to_dict(), sort_keys=False))
        atomic.write_json(folder.submitted, {"submission": self._name, "code": code})
        status.write(
            folder,
            "submitted",
            epochs=config.effective_epochs,
            submission=self._name,
            here=self._here,
        )


def _content(file: Path) -> bytes | None:
    try:
        with reading.opened(file) as opened:
            return opened.read()
    except FileNotFoundError:
        return None
