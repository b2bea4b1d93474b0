"""Console progress: a live bar on a terminal, one line per epoch elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from bnnrepro.training.callbacks import Callback
from bnnrepro.training.task import EpochRow, Training


def epoch_line(row: EpochRow, epochs: int, metric: str) -> str:
    """Return an epoch's metrics as one line."""
    width = len(str(epochs))
    parts = [f"epoch {row['epoch']:{width}d}/{epochs}", f"loss {row['train_loss']:.4f}"]
    for split in ("train", "validation", "test"):
        if f"{split}_{metric}" in row:
            parts.append(f"{split} {row[f'{split}_{metric}']:.2f}")
    if "flipped" in row:
        parts.append(f"flipped {100 * row['flipped']:.2f} %")
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


def duration(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Lines(Callback):
    """Prints one line per epoch, with the time left."""

    def on_fit_start(self, training: Training) -> None:
        """Start the clock."""
        self._started, self._first = time.monotonic(), training.epoch

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Print the epoch's metrics."""
        pace = (time.monotonic() - self._started) / (training.epoch - self._first)
        left = duration(pace * (training.epochs - training.epoch))
        line = epoch_line(row, training.epochs, training.task.metric)
        print(f"{line}  left {left}", flush=True)


class Bar(Callback):
    """Shows a live bar: epoch, batch, loss, metric, samples per second, time left."""

    def __init__(self) -> None:
        self.console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
        )

    def on_fit_start(self, training: Training) -> None:
        """Show the bar."""
        done = training.epoch * training.batches + training.batch
        self._task = self._progress.add_task(
            "", total=training.epochs * training.batches, completed=done, figures=""
        )
        self._samples, self._since, self._shown_at = 0, time.monotonic(), 0.0
        self._progress.start()

    def on_batch_end(self, training: Training) -> None:
        """Move the bar, at most ten times per second: reading the loss waits for the device."""
        now = time.monotonic()
        if now - self._shown_at < 0.1:
            return
        self._shown_at = now
        loss, metric, rate = training.running_metrics()
        self._progress.update(
            self._task,
            completed=training.epoch * training.batches + training.batch,
            description=(
                f"epoch {training.epoch + 1}/{training.epochs} "
                f"batch {training.batch}/{training.batches}"
            ),
            figures=(f"loss {loss:.4f} {training.task.metric} {metric:.2f} {rate:,.0f} samples/s"),
        )

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Print the epoch's line above the bar."""
        self._progress.console.print(
            epoch_line(row, training.epochs, training.task.metric), highlight=False
        )

    def on_interrupt(self, training: Training) -> None:
        """Remove the bar."""
        self._progress.stop()

    def on_fit_end(self, training: Training) -> None:
        """Remove the bar."""
        self._progress.stop()

    def close(self, exit_code: int) -> None:
        """Remove the bar, after an error too."""
        self._progress.stop()


def progress() -> Callback:
    """Return a bar if standard output is a terminal, else lines."""
    return Bar() if sys.stdout is not None and sys.stdout.isatty() else Lines()
