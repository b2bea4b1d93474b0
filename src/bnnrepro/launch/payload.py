"""A run as submitted: plain data, so that a job composes no configuration."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnnrepro.config import Config, typed
from bnnrepro.launch.plan import PlannedRun, is_evaluated
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder


@dataclass(frozen=True)
class RunSpec:
    """The configurations of one run folder: usually one, more if they differ in evaluation."""

    path: str
    configs: tuple[dict[str, Any], ...]

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self.path))

    def typed(self) -> list[Config]:
        """Return the configurations that are still to be run."""
        configs = [typed(config) for config in self.configs]
        if status.read(self.folder).state != "submitted":  # a restarted job has rerun it already
            configs = [replace(config, on_done="skip") for config in configs]
        return [config for config in configs if self._needs(config)]

    def _needs(self, config: Config) -> bool:
        if self.folder.result.exists():
            return config.on_done == "rerun" or not is_evaluated(config, self.folder)
        return not (config.on_failed == "skip" and status.read(self.folder).state == "failed")


def make_spec(planned: PlannedRun, threads: int | None) -> RunSpec:
    """Return a planned run as plain data; ``threads`` is the default of its configurations."""
    configs = [run.config for run in [planned, *planned.duplicates]]
    threaded = [replace(config, threads=config.threads or threads) for config in configs]
    path = str(planned.run.folder.path.absolute())
    return RunSpec(path, tuple(config.to_dict() for config in threaded))


@dataclass(frozen=True)
class Workdir:
    """The folder and the module paths of a sweep's launcher, for relative paths and imports."""

    cwd: str
    modules: tuple[str, ...]

    def enter(self) -> None:
        """Make them this process's own."""
        os.chdir(self.cwd)
        sys.path[:0] = [path for path in self.modules if path not in sys.path]


def current_workdir() -> Workdir:
    """Return this process's folder and those module paths that are not Python's own."""
    prefixes = (sys.prefix, sys.base_prefix)
    paths = [str(Path(path or ".").absolute()) for path in sys.path]
    modules = [path for path in paths if not path.startswith(prefixes)]
    return Workdir(str(Path.cwd()), tuple(dict.fromkeys(modules)))
