"""Start a sweep from its overrides: compose and check every run, hand them to the launcher."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config.compose import CONFIG_NAME, explain
from bnnrepro.config.validation import check
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.launch.dry_run import DryRunLauncher, dry_run, plan_of
from bnnrepro.launch.submission import SCRATCH
from bnnrepro.launch.submitter import NOTHING, SUBMITTED
from bnnrepro.launch.sweep_points import load_master
from bnnrepro.runs import process
from bnnrepro.screen import printable


@dataclass(frozen=True)
class SweepLine:
    """A sweep's command line: its overrides and the places of its config files."""

    overrides: tuple[str, ...]
    config_name: str = CONFIG_NAME
    config_path: str | None = None
    config_dir: str | None = None

    @property
    def words(self) -> list[str]:
        """The words after ``run.py -m`` that compose the same sweep."""
        return [*self.options, *self.overrides]

    @property
    def options(self) -> list[str]:
        """The options that name config files."""
        options = []
        if self.config_path:
            options += ["--config-path", self.config_path]
        if self.config_name != CONFIG_NAME:
            options += ["--config-name", self.config_name]
        if self.config_dir:
            options += ["--config-dir", self.config_dir]
        return options


def sweep(hydra: Hydra, line: SweepLine, *, detach: bool = False, dry: bool = False) -> int:
    """Start a sweep and wait for its end; return the exit code, 1 if a run failed.

    Args:
        hydra: an open session, see ``hydra_session``.
        line: of the sweep.
        detach: return once the runs are submitted.
        dry: list the runs, start none.

    Raises:
        UserError: a setting of the sweep is not allowed; nothing was started.
    """
    master = load_master(hydra.config_loader, list(line.overrides), line.config_name)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))
    try:
        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=master, hydra_context=context, task_function=run_composed
        )
        launcher = getattr(sweeper, "launcher", None)
        if dry:
            sweeper.launcher = DryRunLauncher(master, context)
        elif detach and type(launcher).__name__ == "LocalLauncher":
            return start_detached(line.words, Path(str(master.out)))
        elif detach:
            _set_detach(sweeper, launcher, line)
        if hasattr(sweeper, "options"):
            sweeper.options = line.options
        batches = sweeper.sweep(arguments=list(master.hydra.overrides.task))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, hydra.config_loader, list(line.overrides), line.config_name) from error
    except RunFailedError as error:  # a search's, as a whole
        print(f"error: {error}", file=sys.stderr)
        return 1
    if isinstance(sweeper.launcher, DryRunLauncher):
        print(dry_run(plan_of(sweeper.launcher.points)))
    jobs = [job for batch in batches or [] for job in batch]
    failed = [job for job in jobs if job.status is JobStatus.FAILED]
    for job in failed:
        reason = " ".join(str(job._return_value).split()).removeprefix("failed: ")
        print(printable(f"failed: {' '.join(job.overrides)}: {reason}"), file=sys.stderr)
    if failed:
        again = shlex.join(_retry_command(line, getattr(launcher, "where", "")))
        print(f"{len(failed)} of the runs failed; to retry them: {again}", file=sys.stderr)
    return 1 if failed else 0


def run_composed(cfg: DictConfig) -> Any:
    """Check and run a composed config; Hydra calls this for each run in this process."""
    config = check(cfg)
    from bnnrepro.experiment import run  # torch is imported after every check

    return run(config)


def _retry_command(line: SweepLine, where: str) -> list[str]:
    """Return the command that retries a sweep, with the ``_target_`` that the sweep allowed."""
    if not where:
        return ["python", "run.py", "-m", *line.words]
    targets = [override for override in line.overrides if "._target_=" in override]
    folder = line.config_dir or line.config_path
    options = ["--config-dir", folder] if folder else []
    return ["bnnrepro", "retry", where, *targets, *options]


def _set_detach(sweeper: Any, launcher: Any, line: SweepLine) -> None:
    if hasattr(sweeper, "options"):
        raise UserError("--detach", "", "a search must go on asking: nohup python run.py … &")
    if not hasattr(launcher, "detach"):
        words = ["python", "run.py", "-m", "--detach", "hydra/launcher=slurm", *line.overrides]
        allowed = f"needs a launcher that starts other processes:\n  {shlex.join(words)}"
        raise UserError("--detach", "", allowed)
    launcher.detach = True


def start_detached(words: Sequence[str], out: Path) -> int:
    """Start a local sweep's launcher in a session of its own; return once the runs are submitted.

    Args:
        words: of the sweep's line, after ``-m``.
        out: folder of all runs; the launcher prints to a file in its scratch folder.

    Returns:
        0, the launcher's exit code if it refused, or 1 if it was killed before it had submitted.
    """
    scratch = out / SCRATCH
    new_folders = [folder for folder in (scratch, out, *out.parents) if not folder.exists()]
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="launcher-", suffix=".log", dir=scratch)
    except OSError as error:
        reason = f"must be a folder that can be written ({error.strerror}: {scratch})"
        raise UserError("out", str(out), reason) from error
    log = Path(name)
    with open(handle, "wb") as output:  # noqa: PTH123 (mkstemp's own handle)
        child = subprocess.Popen(
            [sys.executable, "-m", "bnnrepro", "sweep", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    while (code := child.poll()) is None and not _submitted(log):
        time.sleep(0.05)
    if not code or _submitted(log):
        print(f"{_submitted(log)}\nits launcher is process {child.pid} and writes {log}")
        return 0
    print(printable(_content(log), lines=True), end="", file=sys.stderr)
    if code < 0:
        exit_text = process.describe_exit(code)
        print(f"error: the launcher {exit_text}; it wrote {log}", file=sys.stderr)
        return 1
    log.unlink()
    with suppress(OSError):
        for folder in new_folders:
            folder.rmdir()
    return code


def _submitted(log: Path) -> str:
    """Return the launcher's line that all runs are submitted, empty while there is none."""
    lines = _content(log).splitlines(keepends=True)
    whole = [line.rstrip() for line in lines if line.endswith("\n")]
    return next((line for line in whole if line.startswith(NOTHING) or SUBMITTED in line), "")


def _content(log: Path) -> str:
    """Return the launcher's output; its last character may be half written."""
    return log.read_text(encoding="utf-8", errors="replace")
