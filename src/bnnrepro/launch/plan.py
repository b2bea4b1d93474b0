"""The runs of a sweep, and which of them are left to do. Imports no torch where data allow it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bnnrepro.config import Config, instantiate
from bnnrepro.runs import reading
from bnnrepro.runs.layout import RunFolder, run_folder
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.runs.query import Run, look_up
from bnnrepro.runs.result import settings_of
from bnnrepro.runs.signature import signature

_FIXED = (
    "bnnrepro.data.digits.load",
    "bnnrepro.data.mnist.load",
    "bnnrepro.data.cifar.load",
    "bnnrepro.data.permuted.digits",
    "bnnrepro.data.permuted.mnist",
    "bnnrepro.data.shapes.load",
    "bnnrepro.data.label_folder.isbi",
)  # sets whose content is known by their name


@dataclass
class Planned:
    """A run of a sweep: its configuration, its folder, and how it stands there."""

    config: Config
    overrides: list[str]
    run: Run
    same: list["Planned"] = field(default_factory=list)
    """points of the sweep with the same folder, which differ in what changes no number"""

    @property
    def todo(self) -> bool:
        """Whether there is anything to start."""
        return any(_todo(each.config, each.run) for each in [self, *self.same])

    @property
    def label(self) -> str:
        """The overrides in a line, as failures name the run."""
        return " ".join(self.overrides) or self.run.name


def plan(configs: Sequence[Config], overrides: Sequence[Sequence[str]]) -> list[Planned]:
    """Return a sweep's runs in their order, one for each folder."""
    planned: dict[str, Planned] = {}
    fingerprints: dict[str, str | None] = {}
    for config, words in zip(configs, overrides, strict=True):
        run = Run(folder_of(config, fingerprints))
        one = Planned(config, list(words), run)
        first = planned.setdefault(str(run.folder.path), one)
        if first is not one:
            first.same.append(one)
            one.run = first.run
    look_up([each.run for each in planned.values()])
    return list(planned.values())


def refresh(planned: Sequence[Planned]) -> None:
    """Read all statuses again."""
    for each in planned:
        fresh = Run(each.run.folder)
        each.run.status = fresh.status
    look_up([each.run for each in planned])


def folder_of(config: Config, fingerprints: dict[str, str | None]) -> RunFolder:
    """Return the folder of a configuration's run; data known by content are read once."""
    key = json.dumps(config.to_dict()["dataset"], sort_keys=True)
    if config.dataset._target_ in _FIXED:
        fingerprints[key] = None
    elif key not in fingerprints:
        fingerprints[key] = instantiate(config.dataset).fingerprint
    name = signature(config.identity(), fingerprints[key])
    return run_folder(config.out, config.dataset.name, config.model.name, config.method.name, name)


def _todo(config: Config, run: Run) -> bool:
    if run.state.name in ACTIVE:
        return False
    if run.state.name == "failed":
        return config.on_failed == "retry"
    if run.state.name == "done":
        return config.on_done == "rerun" or not evaluated(config, run.folder)
    return True


def evaluated(config: Config, folder: RunFolder) -> bool:
    """Return whether a finished run was evaluated as the configuration wants it."""
    wanted = config.to_dict()["evaluate"]
    try:
        values: dict[str, Any] = reading.parsed(folder.result)
        return any(settings_of(each) == wanted for each in [values, *values["evaluations"]])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # the run itself says what is wrong with it
