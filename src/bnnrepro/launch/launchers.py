"""Choose and build a launcher from overrides or from a sweep's record."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bnnrepro.config.compose import groups, hydra_session, load
from bnnrepro.constraints import build, shown
from bnnrepro.errors import UserError
from bnnrepro.launch.local_jobs import LocalJobs
from bnnrepro.launch.settings import Local, Slurm
from bnnrepro.launch.slurm_jobs import SlurmJobs
from bnnrepro.launch.submitter import Submitter

EXECUTED = ("setup", "additional_parameters")
"""A launcher's keys that may hold shell lines: any option of sbatch."""


def launcher_keys(overrides: Sequence[str], config_dir: str | None = None) -> dict[str, Any]:
    """Return the keys of the launcher that overrides choose, with its ``kind``.

    Args:
        overrides: Hydra's.
        config_dir: a folder of config files searched before ``conf/``.

    Raises:
        UserError: it does not start runs in other processes, or an override is wrong.
    """
    with hydra_session(config_dir=config_dir) as hydra:
        keys = keys_of(load(hydra.config_loader, list(overrides)))
    if keys["kind"] is None:
        raise UserError("hydra/launcher", "", "must be slurm or local")
    return keys


def keys_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the keys of a composed config's launcher; ``kind`` is None for a sequential one."""
    values: Any = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    name = str(values.pop("_target_")).rpartition(".")[2]
    return {"kind": {"SlurmLauncher": "slurm", "LocalLauncher": "local"}.get(name), **values}


def make_submitter(values: dict[str, Any]) -> Submitter:
    """Return the launcher with keys as ``launcher_keys`` returns them."""
    keys = {key: value for key, value in values.items() if key != "kind"}
    if values.get("kind") == "slurm":
        return SlurmJobs(build("hydra.launcher", keys, Slurm))
    return LocalJobs(build("hydra.launcher", keys, Local))


def check_recorded(values: dict[str, Any], config_dir: str | None = None) -> None:
    """Refuse a recorded launcher whose shell lines are in no config file of this installation.

    Args:
        values: the launcher's keys in a sweep's record.
        config_dir: a folder of config files searched before ``conf/``.

    Raises:
        UserError: its shell lines or sbatch options differ from those of ``hydra/launcher=slurm``
            and of every file in ``conf/cluster/``.
    """
    recorded = {key: values[key] for key in EXECUTED if values.get(key)}
    if not recorded:
        return
    with hydra_session(config_dir=config_dir) as hydra:
        clusters = groups(hydra.config_loader).get("cluster", [])
    for cluster in clusters:
        present = launcher_keys([f"cluster={cluster}"], config_dir)
        if recorded == {key: present[key] for key in EXECUTED if present.get(key)}:
            return
    key, value = next(iter(recorded.items()))
    allowed = "is in no file of conf/cluster/; choose the launcher again: cluster=…"
    raise UserError(f"hydra.launcher.{key}", shown(value), allowed)
