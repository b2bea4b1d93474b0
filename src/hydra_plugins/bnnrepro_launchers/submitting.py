"""``hydra/launcher=slurm`` and ``local``: the plugin's launchers, with configs fixed at submission.

Hydra's own launchers compose again when a job starts, start everything at once on one machine, and
do not skip finished runs; here each point is composed and checked first, and the rest is
``bnnrepro.launch``.
"""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra_plugins.hydra_submitit_launcher import submitit_launcher as plugin

from bnnrepro.launch.sweep_points import Points


class _Submitting(plugin.BaseSubmititLauncher):
    """A launcher that submits composed configs."""

    checks_every_point = True
    detach = False
    where = ""
    """the sweep's folder, as typed after ``retry``"""
    kind: str
    """the option of ``hydra/launcher``"""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit what is left of the sweep's runs; wait for them unless detached."""
        from bnnrepro.errors import RunFailedError
        from bnnrepro.launch.launchers import make_submitter
        from bnnrepro.launch.plan import make_plan

        setup_globals()
        assert self.config is not None
        assert self.hydra_context is not None
        submitter = make_submitter({"kind": self.kind, **self.params})
        submitter.detach = self.detach
        points = Points(self.hydra_context.config_loader, self.config)
        plan = make_plan(points.check(job_overrides), job_overrides)
        submitter.start(plan)
        self.where = submitter.where
        if self.detach:
            return []
        returns = []
        for planned, why in submitter.unfinished(plan):
            returns.append(JobReturn(overrides=planned.overrides, status=JobStatus.FAILED))
            returns[-1].return_value = RunFailedError(why)
        return returns


class SlurmLauncher(_Submitting, plugin.SlurmLauncher):
    """Runs as a SLURM array job."""

    kind = "slurm"


class LocalLauncher(_Submitting, plugin.LocalLauncher):
    """Runs as processes of this machine, a fixed number at a time."""

    kind = "local"
