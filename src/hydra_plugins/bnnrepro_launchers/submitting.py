"""``hydra/launcher=slurm`` and ``local``: the plugin's launchers, with configs fixed at submission.

Hydra's own compose again when a job starts, start everything at once on one machine, and know
nothing of runs that are done; here each point is composed and checked first, and the rest is
``bnnrepro.launch``.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra_plugins.hydra_submitit_launcher import submitit_launcher as plugin

from bnnrepro.config.sweep_points import Points


class _Submitting(plugin.BaseSubmititLauncher):
    """A launcher that submits frozen configs."""

    checks_every_point = True
    detach = False
    where = ""
    """what ``retry`` is told to mean this sweep"""

    def _submitter(self) -> Any:
        raise NotImplementedError

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit what is left of the sweep's runs; wait for them unless detached."""
        from bnnrepro.errors import RunFailedError
        from bnnrepro.launch.plan import plan

        setup_globals()
        assert self.config is not None
        assert self.hydra_context is not None
        submitter = self._submitter()
        submitter.detach = self.detach
        points = Points(self.hydra_context.config_loader, self.config)
        planned = plan(points.check(job_overrides), job_overrides)
        submitter.start(planned)
        self.where = submitter.where
        if self.detach:
            return []
        returns = []
        for each, why in submitter.tell(planned):
            returns.append(JobReturn(overrides=each.overrides, status=JobStatus.FAILED))
            returns[-1].return_value = RunFailedError(why)
        return returns


class SlurmLauncher(_Submitting, plugin.SlurmLauncher):
    """Runs as a SLURM array job."""

    def _submitter(self) -> Any:
        from bnnrepro.config.constraints import build
        from bnnrepro.launch.settings import Slurm
        from bnnrepro.launch.slurm_jobs import SlurmJobs

        return SlurmJobs(build("hydra.launcher", self.params, Slurm))


class LocalLauncher(_Submitting, plugin.LocalLauncher):
    """Runs as processes of this machine, so many at a time."""

    def _submitter(self) -> Any:
        from bnnrepro.config.constraints import build
        from bnnrepro.launch.local_jobs import LocalJobs
        from bnnrepro.launch.settings import Local

        return LocalJobs(build("hydra.launcher", self.params, Local))
