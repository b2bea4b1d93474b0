"""``hydra/sweeper=optuna``: a search on current Optuna; see ``bnnrepro.launch.search``."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Hands the search to ``bnnrepro.launch.search``, which is imported only then."""

    options: Sequence[str] = ()
    """options of the command line that name config files, for the line printed at the end"""

    def __init__(self, **keys: Any) -> None:
        keys.pop("max_batch_size", None)  # the grid's, where a file of conf/sweep/ is a search
        self.keys = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in keys.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what the search needs; the launcher shows which one was chosen."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search; return nothing, since trials that failed belong to a search."""
        from bnnrepro.errors import UserError
        from bnnrepro.launch.dry_run import DryRunLauncher

        if isinstance(self.launcher, DryRunLauncher):
            allowed = (
                "a search chooses its runs as it goes; bnnrepro status multirun/.hydra/search-…"
            )
            raise UserError("hydra/sweeper", "optuna", allowed)
        if find_spec("optuna") is None:
            allowed = "needs Optuna: pip install 'bnnrepro[search]'"
            raise UserError("hydra/sweeper", "optuna", allowed)
        from bnnrepro.launch.search import search

        search(self, arguments)
        return []
