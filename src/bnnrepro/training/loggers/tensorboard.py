"""TensorBoard event files in the run's folder."""

from typing import TYPE_CHECKING

from bnnrepro.config import Config
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.stored_config import settings_of
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.loggers import figures_of, tagged
from bnnrepro.training.task import EpochRow, Training

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 10


class TensorBoard(Callback):
    """Writes each column of ``metrics.csv`` as a scalar, and at the end settings with figures.

    A resumed run purges earlier event files and writes all rows again: a killed process loses the
    end of its file, so the last epoch in it is unknown.

    Args:
        cfg: of the run.
        folder: of the run; the files go to ``tensorboard`` in it.
    """

    def __init__(self, cfg: Config, folder: RunFolder) -> None:
        self._cfg, self._run = cfg, folder
        self._folder = folder.path / "tensorboard"
        self._writer: SummaryWriter | None = None

    def on_fit_start(self, training: Training) -> None:
        """Open a new event file, and write the rows of a resumed run to it."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(
            self._folder, purge_step=1 if self._folder.exists() else None, flush_secs=FLUSH_SECONDS
        )
        for row in training.rows:
            self._write(row)

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Write a row."""
        self._write(row)

    def close(self, exit_code: int) -> None:
        """Write the settings beside a finished run's figures; close the event file."""
        if self._writer is None:
            return
        if figures := figures_of(self._run):
            settings = settings_of(self._cfg.to_dict()).items()
            plain = {key: value for key, value in settings if isinstance(value, int | float | str)}
            self._writer.add_hparams(plain, figures, run_name=".")
        self._writer.close()

    def _write(self, row: EpochRow) -> None:
        assert self._writer is not None
        for name, value in tagged(row).items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
