"""Progress that people like: a live bar on a terminal, one line an epoch elsewhere."""

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

from bnnrepro.training.callbacks import Callback, Row
from bnnrepro.training.trainer import Trainer


def epoch_line(row: Row, epochs: int, metric: str) -> str:
    """Return an epoch's figures as one line."""
    width = len(str(epochs))
    parts = [f"epoch {row['epoch']:{width}d}/{epochs}", f"loss {row['train_loss']:.4f}"]
    for split in ("train", "validation", "test"):
        if f"{split}_{metric}" in row:
            parts.append(f"{split} {row[f'{split}_{metric}']:.2f}")
    if "flipped" in row:
        parts.append(f"flipped {100 * row['flipped']:.2f} %")
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Lines(Callback):
    """One line an epoch, with the time left."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Start the clock."""
        self._started, self._first = time.monotonic(), trainer.epoch

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Print the epoch's figures."""
        pace = (time.monotonic() - self._started) / (trainer.epoch - self._first)
        left = clock(pace * (trainer.epochs - trainer.epoch))
        line = epoch_line(row, trainer.epochs, trainer.task.metric)
        print(f"{line}  left {left}", flush=True)


class Bar(Callback):
    """A live bar: epoch, batch, loss, metric, samples a second, time left."""

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

    def on_fit_start(self, trainer: Trainer) -> None:
        """Show the bar."""
        done = trainer.epoch * trainer.batches + trainer.running.batch
        self._task = self._progress.add_task(
            "", total=trainer.epochs * trainer.batches, completed=done, figures=""
        )
        self._samples, self._since, self._shown_at = 0, time.monotonic(), 0.0
        self._progress.start()

    def on_batch_end(self, trainer: Trainer) -> None:
        """Move the bar; ten times a second at most, since figures wait for the device."""
        now = time.monotonic()
        if now - self._shown_at < 0.1:
            return
        self._shown_at = now
        running = trainer.running
        loss, score, count = running.sums.tolist()
        rate = count / running.seconds if running.seconds else 0.0
        self._progress.update(
            self._task,
            completed=trainer.epoch * trainer.batches + running.batch,
            description=(
                f"epoch {trainer.epoch + 1}/{trainer.epochs} "
                f"batch {running.batch}/{trainer.batches}"
            ),
            figures=(
                f"loss {loss / count:.4f} {trainer.task.metric} "
                f"{trainer.task.metric_of(score, count):.2f} "
                f"{rate:,.0f} samples/s"
            ),
        )

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Leave the epoch's line above the bar."""
        self._progress.console.print(
            epoch_line(row, trainer.epochs, trainer.task.metric), highlight=False
        )

    def on_interrupt(self, trainer: Trainer) -> None:
        """Take the bar away."""
        self._progress.stop()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Take the bar away."""
        self._progress.stop()

    def close(self, exit_code: int) -> None:
        """Take the bar away, after an error too."""
        self._progress.stop()


def progress() -> Callback:
    """Return a bar if standard output is a terminal, else lines."""
    return Bar() if sys.stdout is not None and sys.stdout.isatty() else Lines()
