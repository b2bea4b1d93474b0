"""``--dry-run``: list the runs of a sweep with their states and the estimated hours left."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bnnrepro.config import Config
from bnnrepro.config.compose import hydra_session
from bnnrepro.errors import UserError
from bnnrepro.launch.costs import costs
from bnnrepro.launch.plan import PlannedRun, counts, make_plan
from bnnrepro.launch.sweep_points import Points, load_master


def dry_run(plan: Sequence[PlannedRun]) -> str:
    """Return the runs, the action and estimated time of each, and the hours of all."""
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for planned in plan:
        groups[_kind(planned)].append(planned)
    left = {_kind(p) for p in plan if p.todo and p.run.state.name != "done"}
    known = costs({kind: groups[kind] for kind in left})
    lines, seconds = [], 0.0
    for planned in plan:
        cost = known.get(_kind(planned))
        own = cost.of(planned) if cost else 0.0
        seconds += own
        action = "start" if planned.todo else "leave"
        time = f"  {_hours(own)}" if own else ""
        run = planned.run
        lines.append(f"{action}  {run.state.name:<11}  {run.name}  {planned.label}{time}")
    todo = sum(planned.todo for planned in plan)
    hours = f"about {_hours(seconds)} of computing, by measured epochs"
    if unknown := sorted(left - set(known)):
        hours = "" if not seconds else f"{hours}, "
        hours += f"no epoch was measured of {', '.join(unknown)}"
    return "\n".join([*lines, f"{todo} of {len(plan)} to start ({counts(plan)}); {hours}"])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def _kind(planned: PlannedRun) -> str:
    """Return data set, network and method, with the preset: runs of about the same cost."""
    preset = planned.config.preset.name
    kind = "/".join(planned.run.folder.path.parts[-4:-1])
    return kind if preset == "paper" else f"{kind} at {preset}"


class DryRunLauncher:
    """A launcher that lists the points of a sweep, each with its config, and starts nothing.

    Args:
        master: the sweep's config.
        context: Hydra's.
    """

    checks_every_point = True

    def __init__(self, master: DictConfig, context: HydraContext) -> None:
        self._points = Points(context.config_loader, master)
        self.points: list[tuple[Sequence[str], Config]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        """Add points to the list."""
        self.points += zip(job_overrides, self._points.check(job_overrides), strict=True)
        return []


def points_of(
    overrides: Sequence[str], config_dir: str | None = None
) -> list[tuple[Sequence[str], Config]]:
    """Return the points of the sweep that ``run.py -m`` would start: overrides and config of each.

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
        return launcher.points


def plan_of(points: Sequence[tuple[Sequence[str], Config]]) -> list[PlannedRun]:
    """Return the runs of a sweep's points."""
    return make_plan([config for _, config in points], [words for words, _ in points])
