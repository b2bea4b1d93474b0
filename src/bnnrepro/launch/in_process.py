"""Runs in this process."""

from typing import Any

from omegaconf import DictConfig

from bnnrepro.config.validation import check


def run_composed(cfg: DictConfig) -> Any:
    """Check and run a composed config; Hydra calls this for each run in this process."""
    config = check(cfg)
    from bnnrepro.experiment import run  # torch is imported after every check

    return run(config)
