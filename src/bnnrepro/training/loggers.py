"""Loggers besides the run's folder: wandb and TensorBoard."""

from collections.abc import Sequence

from bnnrepro.config import Config
from bnnrepro.store.folder import RunFolder
from bnnrepro.training.callbacks import Callback


def make_logger(cfg: Config, folder: RunFolder, signature: str) -> Sequence[Callback]:
    """Return the chosen loggers."""
    return ()
