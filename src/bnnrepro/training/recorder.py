"""Write a run's folder while it trains, and resume from it after an interruption."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from bnnrepro.runs import status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.metrics import write_metrics
from bnnrepro.training import checkpoint
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.progress import epoch_line
from bnnrepro.training.task import EpochRow, Training, best_row

log = logging.getLogger(__name__)

# Minimum time between two writes of metrics and status: the whole table is rewritten, which after
# each of thousands of short epochs would take longer than the training.
REPORT_SECONDS = 1.0


class Recorder(Callback):
    """Writes metrics, status and checkpoints, and resumes from them.

    Metrics and status are never older than the newest checkpoint, and never lag training by more
    than ``REPORT_SECONDS`` and one epoch. Unless a run is killed, its metrics hold every epoch.

    Args:
        folder: the run's folder, which exists.
        signature: of the run's configuration; a checkpoint with another signature is refused.
        every: epochs between two checkpoints.
        seconds: minimum time between two checkpoints; a stop or the last epoch always writes one.
        stop_after: epoch after which training stops cleanly; None trains to the end.
        about: the data set's shape, classes and normalisation, recorded in every checkpoint so that
            it can be used without the data.
        loggers: callbacks that get a row only once it is in a checkpoint, so that a resumed run
            never logs an epoch twice.
    """

    def __init__(
        self,
        folder: RunFolder,
        signature: str,
        *,
        every: int = 1,
        seconds: float = 20.0,
        stop_after: int | None = None,
        about: dict[str, Any] | None = None,
        loggers: Sequence[Callback] = (),
    ) -> None:
        self.folder = folder
        self.signature = signature
        self.every = every
        self.seconds = seconds
        self.stop_after = stop_after
        self.about = about or {}
        self.loggers = loggers
        self._state: dict[str, Any] | None = None
        self._newest_is_whole = False  # this process has read or written checkpoint.pt
        self._written_at = time.monotonic()
        self._logged = 0
        self._reported_at = -REPORT_SECONDS
        self._unreported: list[EpochRow] = []  # all rows, while the last are not in metrics.csv

    def read(self, device: torch.device) -> None:
        """Read the newest undamaged checkpoint; the folder is not changed.

        Raises:
            UserError: if every checkpoint is damaged, one has another configuration, or the system
                cannot read one.
        """
        newest = checkpoint.load_newest(
            self.folder.checkpoint, self.folder.checkpoint_prev, self.signature, device
        )
        if newest is not None:
            path, self._state = newest
            self._newest_is_whole = path == self.folder.checkpoint

    def on_fit_start(self, training: Training) -> None:
        """Resume from the checkpoint that was read."""
        state, self._state = self._state, None
        if state is not None:
            training.load_state_dict(state)
            inside = f", step {training.batch}" if training.batch else ""
            log.info("resumed after epoch %d of %d%s", training.epoch, training.epochs, inside)
        self._logged = training.epoch
        for logger in self.loggers:
            logger.on_fit_start(training)
        self._report(training)
        self._maybe_stop(training)

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Write what changed, and a checkpoint if it is due."""
        if best_row(training.rows, training.task) is row:
            checkpoint.save(self.folder.best, self._snapshot(training), self.signature)
        self._maybe_stop(training)
        last = training.epoch == training.epochs or training.stop
        due = training.epoch % self.every == 0
        if last or (due and time.monotonic() - self._written_at >= self.seconds):
            self._checkpoint(training)
        elif time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._report(training)
        else:
            self._unreported = training.rows
        log.debug("%s", epoch_line(row, training.epochs, training.task.metric))

    def on_interrupt(self, training: Training) -> None:
        """Save the state between two steps."""
        self._checkpoint(training)

    def close(self, exit_code: int) -> None:
        """Close the loggers; write the remaining rows."""
        for logger in self.loggers:
            logger.close(exit_code)
        if self._unreported:
            with suppress(OSError):  # a full disk, which is why the run failed
                write_metrics(self.folder.metrics, self._unreported)

    def _snapshot(self, training: Training) -> dict[str, Any]:
        return {
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "epoch": training.epoch,
            "about": self.about,
        }

    def _maybe_stop(self, training: Training) -> None:
        if self.stop_after is not None and training.epoch >= self.stop_after:
            training.stop = True

    def _checkpoint(self, training: Training) -> None:
        checkpoint.save(
            self.folder.checkpoint,
            {**training.state_dict(), "about": self.about},
            self.signature,
            keep_as=self.folder.checkpoint_prev if self._newest_is_whole else None,
        )
        self._newest_is_whole = True
        self._written_at = time.monotonic()
        for row in training.rows[self._logged :]:
            for logger in self.loggers:
                logger.on_epoch_end(training, row)
        self._logged = training.epoch
        self._report(training)

    def _report(self, training: Training) -> None:
        if training.rows:
            write_metrics(self.folder.metrics, training.rows)
        self._unreported = []
        self._reported_at = time.monotonic()
        status.write(self.folder, "running", epoch=training.epoch, epochs=training.epochs)
