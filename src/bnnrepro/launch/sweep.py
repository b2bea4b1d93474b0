"""Start a sweep from its overrides: compose and check every run, hand them to the launcher."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config.compose import CONFIG_NAME, explain
from bnnrepro.config.sweep_points import load_master
from bnnrepro.errors import UserError
from bnnrepro.launch.detached import detached
from bnnrepro.launch.dry_run import Listing
from bnnrepro.launch.in_process import run_composed
from bnnrepro.screen import printable


@dataclass(frozen=True)
class Line:
    """What a sweep is composed from: overrides, and where its config files are."""

    overrides: tuple[str, ...]
    config_name: str = CONFIG_NAME
    config_path: str | None = None
    config_dir: str | None = None

    @property
    def words(self) -> list[str]:
        """The words after ``run.py -m`` that compose the same sweep."""
        options = []
        if self.config_path:
            options += ["--config-path", self.config_path]
        if self.config_name != CONFIG_NAME:
            options += ["--config-name", self.config_name]
        if self.config_dir:
            options += ["--config-dir", self.config_dir]
        return [*options, *self.overrides]


def sweep(hydra: Hydra, line: Line, *, detach: bool = False, dry_run: bool = False) -> int:
    """Start a sweep and wait for its end; return the exit code, 1 if a run failed.

    Args:
        hydra: an open session, see ``hydra_session``.
        line: of the sweep.
        detach: return once the runs are submitted.
        dry_run: list the runs, start none.

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
        if dry_run:
            sweeper.launcher = Listing(master, context)
        elif detach and type(launcher).__name__ == "LocalLauncher":
            return detached(line.words, Path(str(master.out)))
        elif detach:
            _detach(launcher, line)
        batches = sweeper.sweep(arguments=list(master.hydra.overrides.task))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, hydra.config_loader, list(line.overrides), line.config_name) from error
    if isinstance(sweeper.launcher, Listing):
        print(sweeper.launcher.text())
    jobs = [job for batch in batches or [] for job in batch]
    failed = [job for job in jobs if job.status is JobStatus.FAILED]
    for job in failed:
        reason = " ".join(str(job._return_value).split()).removeprefix("failed: ")
        print(printable(f"failed: {' '.join(job.overrides)}: {reason}"), file=sys.stderr)
    if failed:
        again = shlex.join(_retry(line, getattr(launcher, "where", "")))
        print(f"{len(failed)} of the runs failed; to retry them: {again}", file=sys.stderr)
    return 1 if failed else 0


def _retry(line: Line, where: str) -> list[str]:
    """Return the command that retries a sweep; it offers the sweep's own parts again."""
    if not where:
        return ["python", "run.py", "-m", *line.words]
    own = [override for override in line.overrides if "._target_=" in override]
    folder = line.config_dir or line.config_path
    options = ["--config-dir", folder] if folder else []
    return ["bnnrepro", "retry", where, *own, *options]


def _detach(launcher: Any, line: Line) -> None:
    if not hasattr(launcher, "detach"):
        words = ["python", "run.py", "-m", "--detach", "hydra/launcher=slurm", *line.overrides]
        allowed = f"needs a launcher of other processes:\n  {shlex.join(words)}"
        raise UserError("--detach", "", allowed)
    launcher.detach = True
