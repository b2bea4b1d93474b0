"""A run's folder kept up to date while it trains, and picked up again after an interruption."""

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
from bnnrepro.training.task import EpochRow, Task, Training

log = logging.getLogger(__name__)

# Least time between two writings of metrics and status: the table is written whole, so that a
# writing each of thousands of short epochs would take longer than the training.
REPORT_SECONDS = 1.0


def best_row(rows: list[EpochRow], task: Task) -> EpochRow | None:
    """Return the first row of the best validation value; None without a validation split."""
    key = f"validation_{task.metric}"
    best: EpochRow | None = None
    for row in rows:
        if key in row and (best is None or task.better(row[key], best[key])):
            best = row
    return best


class Recorder(Callback):
    """Writes metrics, status and checkpoints, and resumes from them.

    Metrics and status are never older than the newest checkpoint, nor by more than
    ``REPORT_SECONDS`` and an epoch older than training; however a run ends other than killed, its
    metrics hold every epoch.

    Args:
        folder: the run's folder, which exists.
        signature: of the run's configuration; a checkpoint of another one is refused.
        every: epochs between two checkpoints.
        seconds: least time between two checkpoints; a stop or the last epoch always writes one.
        stop_after: epoch after which training stops cleanly; None trains to the end.
        about: what stands in every checkpoint so that it can be used by itself: shape, classes,
            normalisation.
        loggers: callbacks that are told of rows only when these are safe in a checkpoint, so that
            a resumed run never logs an epoch twice.
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
        self._newest_is_whole = False  # what is under checkpoint.pt was read, or written, here
        self._written_at = time.monotonic()
        self._told = 0
        self._reported_at = -REPORT_SECONDS
        self._unreported: list[EpochRow] = []  # all rows, where the last are not in metrics.csv yet

    def read(self, device: torch.device) -> None:
        """Read the newest whole checkpoint; nothing in the folder is changed.

        Raises:
            UserError: if all there are are damaged, or one is of another configuration, or the
                system cannot give the bytes of one.
        """
        found = checkpoint.load_newest(
            self.folder.checkpoint, self.folder.checkpoint_prev, self.signature, device
        )
        if found is not None:
            path, self._state = found
            self._newest_is_whole = path == self.folder.checkpoint

    def on_fit_start(self, training: Training) -> None:
        """Resume from the checkpoint that was read."""
        state, self._state = self._state, None
        if state is not None:
            training.load_state_dict(state)
            inside = f", step {training.batch}" if training.batch else ""
            log.info("resumed after epoch %d of %d%s", training.epoch, training.epochs, inside)
        self._told = training.epoch
        for logger in self.loggers:
            logger.on_fit_start(training)
        self._report(training)
        self._maybe_stop(training)

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Write what changed; a checkpoint if one is due."""
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
        """Pass the end on to the loggers; write the rows that are left."""
        for logger in self.loggers:
            logger.close(exit_code)
        if self._unreported:
            with suppress(OSError):  # the disk is full: that is what the run failed of
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
        for row in training.rows[self._told :]:
            for logger in self.loggers:
                logger.on_epoch_end(training, row)
        self._told = training.epoch
        self._report(training)

    def _report(self, training: Training) -> None:
        if training.rows:
            write_metrics(self.folder.metrics, training.rows)
        self._unreported = []
        self._reported_at = time.monotonic()
        status.write(self.folder, "running", epoch=training.epoch, epochs=training.epochs)
