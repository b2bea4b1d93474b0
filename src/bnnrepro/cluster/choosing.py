"""From overrides to the launcher that they choose."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from bnnrepro.cluster.launching import Submitter
from bnnrepro.cluster.local_jobs import LocalJobs
from bnnrepro.cluster.settings import Local, Slurm
from bnnrepro.cluster.slurm_jobs import SlurmJobs
from bnnrepro.config.compose import hydra_session, load
from bnnrepro.config.rules import build
from bnnrepro.errors import UserError


def launcher_keys(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the keys of the launcher that overrides compose to, with its ``kind``.

    Raises:
        UserError: it is not one that starts runs as other processes, or an override is wrong.
    """
    with hydra_session() as hydra:
        cfg = load(hydra.config_loader, list(overrides))
        values: Any = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    kind = {"SlurmLauncher": "slurm", "LocalLauncher": "local"}.get(
        str(values.pop("_target_")).rpartition(".")[2]
    )
    if kind is None:
        raise UserError("hydra/launcher", "", "must be slurm or local")
    return {"kind": kind, **values}


def make_submitter(values: dict[str, Any]) -> Submitter:
    """Return the launcher of keys as ``launcher_keys`` gives them."""
    keys = {key: value for key, value in values.items() if key != "kind"}
    if values.get("kind") == "slurm":
        return SlurmJobs(build("hydra.launcher", keys, Slurm))
    return LocalJobs(build("hydra.launcher", keys, Local))
