"""Loggers beside the run's folder: wandb and TensorBoard; their failure never ends a run."""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from bnnrepro.config import Config
from bnnrepro.config.instantiation import LOGGERS
from bnnrepro.importing import locate
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.result import is_number, leaves, read_result
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.task import EpochRow, Training

__all__ = ["make_loggers"]

log = logging.getLogger(__name__)


def make_loggers(cfg: Config, folder: RunFolder, signature: str) -> list[Callback]:
    """Return the chosen loggers; their packages are imported when training starts.

    Args:
        cfg: of the run; ``cfg.logger`` chooses.
        folder: of the run; all files of the loggers are in it.
        signature: of the run's configuration; names the wandb run.
    """
    offered = {**asdict(cfg.logger), "cfg": cfg, "folder": folder, "signature": signature}
    loggers = list[Callback]()
    for name in cfg.logger.name.split("+"):
        target = locate("logger.name", LOGGERS[name])
        keys = offered.keys() & inspect.signature(target).parameters.keys()
        loggers.append(Guarded(name, target(**{key: offered[key] for key in keys})))
    return loggers


def tagged(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of metrics.csv by the names of loggers: ``train/loss`` for ``train_loss``."""
    splits = ("train", "validation", "test")
    parts = {key: key.partition("_") for key in row}
    return {f"{a}/{b}" if a in splits and b else k: row[k] for k, (a, _, b) in parts.items()}


def figures_of(folder: RunFolder) -> dict[str, float]:
    """Return a finished run's figures, such as ``best/test/mode/accuracy``; {} before its end."""
    if not folder.result.exists():
        return {}
    result = read_result(folder.result)
    pairs = [pair for moment in ("final", "best") for pair in leaves(result.get(moment), moment)]
    return {key.replace(".", "/"): value for key, value in pairs if is_number(value)}


class Guarded(Callback):
    """Wraps a callback that only reports: its first failure is one warning and disables it.

    Args:
        name: of the logger, for the warning.
        logger: a logger, or the progress on the screen; it is closed in any case.
    """

    def __init__(self, name: str, logger: Callback) -> None:
        self._name = name
        self._logger = logger
        self._failed = False

    def on_fit_start(self, training: Training) -> None:
        """Start the logger."""
        self._try("start", lambda: self._logger.on_fit_start(training))

    def on_batch_end(self, training: Training) -> None:
        """Pass a step on, unless the logger failed before."""
        if not self._failed:
            self._try("log", lambda: self._logger.on_batch_end(training))

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Pass a row on, unless the logger failed before."""
        if not self._failed:
            self._try("log", lambda: self._logger.on_epoch_end(training, row))

    def on_interrupt(self, training: Training) -> None:
        """Pass the interruption on."""
        self._try("stop", lambda: self._logger.on_interrupt(training))

    def on_fit_end(self, training: Training) -> None:
        """Pass the end of training on."""
        self._try("stop", lambda: self._logger.on_fit_end(training))

    def close(self, exit_code: int) -> None:
        """Close the logger."""
        self._try("finish", lambda: self._logger.close(exit_code))

    def _try(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if not self._failed:
                reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
                log.warning("%s could not %s: %s; going on without it", self._name, what, reason)
            self._failed = True
