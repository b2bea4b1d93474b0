"""``--dry-run``: the runs of a sweep, the state of each, and the hours that are left."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bnnrepro.config.compose import hydra_session
from bnnrepro.config.sweep_points import Points, load_master
from bnnrepro.errors import UserError
from bnnrepro.launch.plan import Planned, plan
from bnnrepro.launch.wait import counts
from bnnrepro.runs.query import Run, find
from bnnrepro.runs.status_table import seconds_an_epoch

_LOOKED_AT = 20  # measured runs of a kind: more would not change the median


def dry_run(planned: Sequence[Planned]) -> str:
    """Return the runs, what each would do, and the estimated hours."""
    paces = _paces(planned)
    lines, seconds, unknown = [], 0.0, set[str]()
    for each in planned:
        left = 0.0
        if each.todo and each.run.state.name != "done":
            left = (each.config.effective_epochs - (each.run.status.epoch or 0)) * (
                paces.get(_kind(each.run)) or 0.0
            )
            if _kind(each.run) not in paces:
                unknown.add("/".join(_kind(each.run)))
        seconds += left
        what = "start" if each.todo else "leave"
        time = f"  {_hours(left)}" if left else ""
        lines.append(f"{what}  {each.run.state.name:<11}  {each.run.name}  {each.label}{time}")
    todo = sum(each.todo for each in planned)
    hours = f"about {_hours(seconds)} of computing, by measured epochs"
    if unknown:
        hours = "" if not seconds else f"{hours}, "
        hours += f"no epoch was measured of {', '.join(sorted(unknown))}"
    return "\n".join([*lines, f"{todo} of {len(planned)} to start ({counts(planned)}); {hours}"])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def _kind(run: Run) -> tuple[str, ...]:
    return run.folder.path.parts[-4:-1]


def _paces(planned: Sequence[Planned]) -> dict[tuple[str, ...], float]:
    """Return the median seconds an epoch of each data set, model and method, where measured."""
    places = {each.run.folder.path.parent for each in planned if each.todo}
    measured: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for place in [each for each in places if each.is_dir()]:
        for run in find([place], {})[0]:
            kind = _kind(run)
            if len(measured[kind]) < _LOOKED_AT and (pace := seconds_an_epoch(run)):
                measured[kind].append(pace)
    return {kind: statistics.median(paces) for kind, paces in measured.items() if paces}


class Listing:
    """A launcher that starts nothing.

    Args:
        master: the sweep's config.
        context: Hydra's.
    """

    checks_every_point = True

    def __init__(self, master: DictConfig, context: HydraContext) -> None:
        self._master = master
        self._context = context
        self.planned: list[Planned] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        """Note the runs."""
        points = Points(self._context.config_loader, self._master)
        self.planned += plan(points.check(job_overrides), job_overrides)
        return []

    def text(self) -> str:
        """Return the runs noted, as ``--dry-run`` prints them."""
        return dry_run(self.planned)


def planned_by(overrides: Sequence[str], config_dir: str | None = None) -> list[Planned]:
    """Return the runs of a sweep's line, as ``run.py -m`` would compose it.

    Args:
        overrides: the line.
        config_dir: a folder of config files searched before ``conf/``.

    Raises:
        UserError: an override, or what they add up to, is not allowed.
    """
    with hydra_session(config_dir=config_dir) as hydra:
        master = load_master(hydra.config_loader, list(overrides))
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))

        def nothing(cfg: DictConfig) -> None:
            raise UserError("sweep", " ".join(overrides), "is only listed")

        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=master, hydra_context=context, task_function=nothing
        )
        sweeper.launcher = Listing(master, context)
        sweeper.sweep(arguments=list(master.hydra.overrides.task))
        planned: list[Planned] = sweeper.launcher.planned
        return planned
