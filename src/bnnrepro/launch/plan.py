"""Plan a sweep: its runs, and those left to do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bnnrepro.config import Config, instantiate
from bnnrepro.importing import locate
from bnnrepro.runs import reading, status
from bnnrepro.runs.layout import RunFolder, run_folder
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.runs.query import Run, update_states
from bnnrepro.runs.result import settings_of
from bnnrepro.runs.signature import signature
from bnnrepro.runs.status_table import state_counts


@dataclass
class PlannedRun:
    """A run of a sweep: its configuration, and its folder with status and state."""

    config: Config
    overrides: list[str]
    run: Run
    duplicates: list["PlannedRun"] = field(default_factory=list)
    """points of the sweep with the same folder; they differ in settings that change no number"""

    @property
    def todo(self) -> bool:
        """True if there is anything to start."""
        return any(_todo(point.config, point.run) for point in [self, *self.duplicates])

    @property
    def label(self) -> str:
        """The overrides in one line, by which failures name the run."""
        return " ".join(self.overrides) or self.run.name


def make_plan(configs: Sequence[Config], overrides: Sequence[Sequence[str]]) -> list[PlannedRun]:
    """Return a sweep's runs in order, one per folder."""
    runs: dict[str, PlannedRun] = {}
    fingerprints: dict[str, str | None] = {}
    for config, words in zip(configs, overrides, strict=True):
        run = Run(run_folder_of(config, fingerprints))
        planned = PlannedRun(config, list(words), run)
        first = runs.setdefault(str(run.folder.path), planned)
        if first is not planned:
            first.duplicates.append(planned)
            planned.run = first.run
    update_states([planned.run for planned in runs.values()])
    return list(runs.values())


def refresh(plan: Sequence[PlannedRun]) -> None:
    """Read all statuses again."""
    for planned in plan:
        planned.run.status = status.read(planned.run.folder)
    update_states([planned.run for planned in plan])


def counts(plan: Sequence[PlannedRun]) -> str:
    """Return the number of runs of each state, in one line."""
    return state_counts([planned.run for planned in plan])


def run_folder_of(config: Config, fingerprints: dict[str, str | None]) -> RunFolder:
    """Return the folder of a configuration's run.

    Args:
        config: of the run.
        fingerprints: cache, filled here: data given by a path are read once.
    """
    key = json.dumps(config.to_dict()["dataset"], sort_keys=True)
    if getattr(locate("dataset._target_", config.dataset._target_), "fixed", False):
        fingerprints[key] = None
    elif key not in fingerprints:
        fingerprints[key] = instantiate(config.dataset).facts.fingerprint
    name = signature(config.identity(), fingerprints[key])
    return run_folder(config.out, config.dataset.name, config.model.name, config.method.name, name)


def _todo(config: Config, run: Run) -> bool:
    if run.state.name in ACTIVE:
        return False
    if run.state.name == "failed":
        return config.on_failed == "retry"
    if run.state.name == "done":
        return config.on_done == "rerun" or not is_evaluated(config, run.folder)
    return True


def is_evaluated(config: Config, folder: RunFolder) -> bool:
    """Return whether a finished run was evaluated with the configuration's settings."""
    expected = config.to_dict()["evaluate"]
    try:
        result: dict[str, Any] = reading.parsed(folder.result)
        return any(settings_of(part) == expected for part in [result, *result["evaluations"]])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # the run itself reports the fault
