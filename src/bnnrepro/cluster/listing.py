"""The runs that a sweep's line stands for, without starting any."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from bnnrepro.cluster.plan import Planned, plan
from bnnrepro.config.compose import hydra_session, load_master
from bnnrepro.config.points import Points
from bnnrepro.errors import UserError


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
