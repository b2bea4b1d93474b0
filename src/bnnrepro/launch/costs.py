"""Cost of planned runs: from finished runs, else from measured epochs, else from a few steps."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from statistics import median
from typing import Any

from bnnrepro.config import Config
from bnnrepro.launch.plan import PlannedRun
from bnnrepro.runs import process
from bnnrepro.runs.query import Run, find
from bnnrepro.runs.status_table import seconds_per_epoch

_WORKER = [sys.executable, "-m", "bnnrepro.launch.measure_costs"]
_MAX_MEASURED = 20  # runs: more would not change the median


@dataclass(frozen=True)
class Cost:
    """Time that a run takes, in seconds; ``problem`` says why it is unknown.

    Attributes:
        step: of training; None where the cost comes from runs.
        epoch: training, validation and test.
        once: outside the epochs: building, and the last evaluations.
        problem: one line; empty if the cost is known.
    """

    step: float | None = None
    epoch: float = 0.0
    once: float = 0.0
    problem: str = ""

    def of(self, planned: PlannedRun) -> float:
        """Return the seconds of computing that are left of a planned run."""
        if not planned.todo or planned.run.state.name == "done":
            return 0.0
        epochs = planned.config.effective_epochs - (planned.run.status.epoch or 0)
        return max(0, epochs) * self.epoch + self.once


def costs(groups: Mapping[str, Sequence[PlannedRun]]) -> dict[str, Cost]:
    """Return the cost of a run of each group, by its name, where runs tell it.

    Those of the group count that this machine has done without interruption; if there are none,
    the epochs that any runs have done, on any machine, of the same data set, network, method and
    preset.
    """
    known = {}
    for name, planned in groups.items():
        seconds = [s for p in planned if (s := _wall_seconds(p.run))]
        seconds = seconds or list(islice(_epoch_seconds(planned[0]), _MAX_MEASURED))
        if seconds:
            known[name] = Cost(epoch=median(seconds))
    return known


def measured_costs(
    groups: Mapping[str, Sequence[PlannedRun]],
    threads: int | None,
    say: Callable[[str], None] = print,
) -> dict[str, Cost]:
    """Return the cost of a run of each group, by its name: ``costs``, or a few steps done here.

    Args:
        groups: those with something left to run.
        threads: CPU threads of a run whose config sets none; None: torch's choice.
        say: is called with a message before anything slow.
    """
    known = costs(groups)
    unknown = {name: planned[0].config for name, planned in groups.items() if name not in known}
    if unknown:
        say(f"measuring a few steps of {len(unknown)} cells on this machine ...")
        known |= zip(unknown, _measure(list(unknown.values()), threads), strict=True)
    return known


def _wall_seconds(run: Run) -> float | None:
    """Return the seconds per epoch, all included, of a run that this machine did in one go."""
    status = run.status
    in_one_go = status.state == "done" and status.attempt == 1 and status.host == process.host()
    if not in_one_go or not (status.epochs and status.started):
        return None
    took = datetime.fromisoformat(str(status.updated)) - datetime.fromisoformat(status.started)
    return took.total_seconds() / status.epochs or None


def _epoch_seconds(planned: PlannedRun) -> Iterator[float]:
    folder = planned.run.folder.path.parent
    for run in find([folder], {})[0] if folder.is_dir() else []:
        preset: Any = run.config.get("preset")
        same = isinstance(preset, dict) and preset.get("name") == planned.config.preset.name
        if same and (seconds := seconds_per_epoch(run)):
            yield seconds


def _measure(configs: Sequence[Config], threads: int | None) -> list[Cost]:
    configs = [replace(config, threads=config.threads or threads) for config in configs]
    worker = subprocess.run(
        _WORKER,
        input=json.dumps([config.to_dict() for config in configs]),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    lines = [line for line in worker.stdout.splitlines() if line.startswith("{")]
    measured = [Cost(**json.loads(line)) for line in lines]
    reason = (worker.stderr.strip().splitlines() or [f"exit code {worker.returncode}"])[-1]
    unmeasured = Cost(problem=f"measuring ended early: {reason}")
    return [*measured, *[unmeasured] * (len(configs) - len(measured))]
