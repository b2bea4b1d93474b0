"""``--dry-run``: list the runs of a sweep with their states and the estimated hours left."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bnnrepro.config.compose import hydra_session
from bnnrepro.config.sweep_points import Points, load_master
from bnnrepro.errors import UserError
from bnnrepro.launch.plan import PlannedRun, counts, make_plan
from bnnrepro.runs.query import Run, find
from bnnrepro.runs.status_table import seconds_per_epoch

_MAX_MEASURED = 20  # runs of a kind: more would not change the median


def dry_run(plan: Sequence[PlannedRun]) -> str:
    """Return the runs, the action and estimated time of each, and the hours of all."""
    paces = _paces(plan)
    lines, seconds, unknown = [], 0.0, set[str]()
    for planned in plan:
        left, run = 0.0, planned.run
        if planned.todo and run.state.name != "done":
            epochs = planned.config.effective_epochs - (run.status.epoch or 0)
            left = epochs * (paces.get(_kind(run)) or 0.0)
            if _kind(run) not in paces:
                unknown.add("/".join(_kind(run)))
        seconds += left
        action = "start" if planned.todo else "leave"
        time = f"  {_hours(left)}" if left else ""
        lines.append(f"{action}  {run.state.name:<11}  {run.name}  {planned.label}{time}")
    todo = sum(planned.todo for planned in plan)
    hours = f"about {_hours(seconds)} of computing, by measured epochs"
    if unknown:
        hours = "" if not seconds else f"{hours}, "
        hours += f"no epoch was measured of {', '.join(sorted(unknown))}"
    return "\n".join([*lines, f"{todo} of {len(plan)} to start ({counts(plan)}); {hours}"])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def _kind(run: Run) -> tuple[str, ...]:
    return run.folder.path.parts[-4:-1]


def _paces(plan: Sequence[PlannedRun]) -> dict[tuple[str, ...], float]:
    """Return the median seconds per epoch of each data set, model and method with measurements."""
    folders = {planned.run.folder.path.parent for planned in plan if planned.todo}
    measured: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for folder in filter(Path.is_dir, folders):
        for run in find([folder], {})[0]:
            kind = _kind(run)
            if len(measured[kind]) < _MAX_MEASURED and (pace := seconds_per_epoch(run)):
                measured[kind].append(pace)
    return {kind: statistics.median(paces) for kind, paces in measured.items() if paces}


class DryRunLauncher:
    """A launcher that collects the plan of a sweep and starts nothing.

    Args:
        master: the sweep's config.
        context: Hydra's.
    """

    checks_every_point = True

    def __init__(self, master: DictConfig, context: HydraContext) -> None:
        self._master = master
        self._context = context
        self.plan: list[PlannedRun] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        """Add the runs to the plan."""
        points = Points(self._context.config_loader, self._master)
        self.plan += make_plan(points.check(job_overrides), job_overrides)
        return []


def plan_of(overrides: Sequence[str], config_dir: str | None = None) -> list[PlannedRun]:
    """Return the plan of the sweep that ``run.py -m`` would compose from overrides.

    Args:
        overrides: of the sweep.
        config_dir: a folder of config files searched before ``conf/``.

    Raises:
        UserError: an override, or their combination, is not allowed.
    """
    with hydra_session(config_dir=config_dir) as hydra:
        master = load_master(hydra.config_loader, list(overrides))
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))

        def nothing(cfg: DictConfig) -> None:
            raise UserError("sweep", " ".join(overrides), "is only listed")

        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=master, hydra_context=context, task_function=nothing
        )
        sweeper.launcher = launcher = DryRunLauncher(master, context)
        sweeper.sweep(arguments=list(master.hydra.overrides.task))
        return launcher.plan
