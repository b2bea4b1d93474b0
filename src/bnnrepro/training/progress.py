"""Progress: a live bar on a terminal or in a notebook, one line per epoch elsewhere."""

import sys
import time
from typing import Any

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


class NotebookBar(Callback):
    """Shows one bar below a notebook's cell: the last epoch's metrics, and the time left.

    It is plain HTML, which needs no widgets and stays in the saved notebook.
    """

    def __init__(self) -> None:
        self._display: Any = None

    def on_fit_start(self, training: Training) -> None:
        """Show the bar."""
        from IPython.display import display

        self._started, self._shown_at = time.monotonic(), 0.0
        self._first = self._done(training)
        self._line = f"epoch {training.epoch}/{training.epochs}"
        shown: Any = display  # untyped
        self._display = shown(self._shown(training), raw=True, display_id=True)

    def on_batch_end(self, training: Training) -> None:
        """Move the bar, at most four times per second."""
        now = time.monotonic()
        if now - self._shown_at >= 0.25:
            self._shown_at = now
            self._display.update(self._shown(training), raw=True)

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Put the epoch's metrics beside the bar."""
        self._line = epoch_line(row, training.epochs, training.task.metric)
        self.on_batch_end(training)

    def on_interrupt(self, training: Training) -> None:
        """Leave the bar where training stopped."""
        self._display.update(self._shown(training), raw=True)

    def on_fit_end(self, training: Training) -> None:
        """Leave the bar with the last epoch's metrics."""
        self._display.update(self._shown(training), raw=True)

    def _done(self, training: Training) -> int:
        return training.epoch * training.batches + training.batch

    def _shown(self, training: Training) -> dict[str, str]:
        done, total = self._done(training), training.epochs * training.batches
        seconds = time.monotonic() - self._started
        left = seconds / max(done - self._first, 1) * (total - done)
        text = f"{self._line}  left {duration(left)}"
        bar = f'<progress value="{done}" max="{total}" style="width: 12em"></progress>'
        line = f'<div style="white-space: pre; overflow-x: auto">{bar} <code>{text}</code></div>'
        return {"text/plain": text, "text/html": line}


def bar() -> Callback:
    """Return the bar of a notebook inside one, else that of a terminal."""
    return NotebookBar() if _in_notebook() else Bar()


def progress() -> Callback:
    """Return a bar in a notebook or if standard output is a terminal, else lines."""
    shown = _in_notebook() or (sys.stdout is not None and sys.stdout.isatty())
    return bar() if shown else Lines()


def _in_notebook() -> bool:
    """Return whether this process is a notebook's kernel; a terminal's IPython is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
