"""Sweeps in this process: every point is composed and checked; then all run in turn."""

import sys
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals

from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.launch.sweep_points import Points, check_sweep_size, merged
from bnnrepro.screen import traceback_of


class SequentialLauncher(BasicLauncher):
    """Hydra's basic launcher, which continues after a failing run and creates no folder."""

    checks_every_point = True

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Check every point, then run them in turn."""
        setup_globals()
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        points = Points(self.hydra_context.config_loader, self.config)
        count = len(points.check(job_overrides))
        returns = []
        for index, overrides in enumerate(job_overrides):
            print(f"run {index + 1} of {count}: {' '.join(overrides)}", flush=True)
            config = points.compose(overrides)
            if config.logger.get("group", "") is None:
                config.logger.group = f"sweep-{crc32(repr(job_overrides).encode()):08x}"
            config.hydra.job.id = str(initial_job_idx + index)
            config.hydra.job.num = initial_job_idx + index
            done = run_job(
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
                hydra_context=self.hydra_context,
                configure_logging=False,
            )
            if done.status is JobStatus.FAILED:
                _report(done._return_value)
            returns.append(done)
            if done.status is JobStatus.FAILED and config.fail_fast:
                print(f"fail_fast: {count - index - 1} more runs are not started")
                break
        return returns


class GridSweeper(BasicSweeper):
    """Hydra's basic sweeper, which starts and writes nothing before every check has passed."""

    def sweep(self, arguments: list[str]) -> Any:
        """Launch all combinations in one batch."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        overrides = merged(parser, self.params, arguments)
        for each in overrides:
            if each.is_interval_sweep():
                allowed = "a range without steps needs a search: hydra/sweeper=optuna"
                raise UserError(each.get_key_element(), each.get_value_string(), allowed)
        check_sweep_size(overrides)
        batches = self.split_arguments(overrides, self.max_batch_size)
        if not getattr(self.launcher, "checks_every_point", False) or len(batches) > 1:
            Points(loader, self.config).check(point for batch in batches for point in batch)
        first, returns = 0, []
        for batch in batches:
            returns.append(self.launcher.launch(batch, initial_job_idx=first))
            first += len(batch)
        return returns


def _report(error: Exception) -> None:
    if isinstance(error, UserError | RunFailedError):
        print(f"error: {error}", file=sys.stderr)
    else:
        print(traceback_of(error), end="", file=sys.stderr)
