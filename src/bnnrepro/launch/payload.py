"""A run as it was submitted: plain data that a job needs no composing for."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnnrepro.config import Config, typed
from bnnrepro.launch.plan import Planned, evaluated
from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder


@dataclass(frozen=True)
class Frozen:
    """The configurations of one run folder: usually one, more if they differ in evaluation."""

    path: str
    configs: tuple[dict[str, Any], ...]

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self.path))

    def typed(self) -> list[Config]:
        """Return the configurations that are still to be run."""
        configs = [typed(each) for each in self.configs]
        if status.read(self.folder).state != "submitted":  # a job that starts again has rerun it
            configs = [replace(each, on_done="skip") for each in configs]
        return [each for each in configs if self._needs(each)]

    def _needs(self, config: Config) -> bool:
        if self.folder.result.exists():
            return config.on_done == "rerun" or not evaluated(config, self.folder)
        return not (config.on_failed == "skip" and status.read(self.folder).state == "failed")


def freeze(planned: Planned, threads: int | None) -> Frozen:
    """Return a planned run with its threads set, unless its configuration says how many."""
    configs = []
    for each in [planned, *planned.same]:
        threaded = replace(each.config, threads=each.config.threads or threads)
        configs.append(threaded.to_dict())
    return Frozen(str(planned.run.folder.path.absolute()), tuple(configs))


@dataclass(frozen=True)
class Place:
    """Where a sweep was submitted: what relative paths and a user's own modules depend on."""

    cwd: str
    modules: tuple[str, ...]

    def enter(self) -> None:
        """Make this process work there."""
        os.chdir(self.cwd)
        sys.path[:0] = [each for each in self.modules if each not in sys.path]


def here() -> Place:
    """Return this process's place."""
    known = {sys.prefix, sys.base_prefix}
    own = [str(Path(each or ".").absolute()) for each in sys.path]
    modules = [each for each in own if not any(each.startswith(prefix) for prefix in known)]
    return Place(str(Path.cwd()), tuple(dict.fromkeys(modules)))
