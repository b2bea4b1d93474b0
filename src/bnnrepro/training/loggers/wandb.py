"""Weights & Biases: one wandb run per run folder, however often it is interrupted."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from bnnrepro.config import Config
from bnnrepro.constraints import Pattern, Text
from bnnrepro.runs import atomic, reading, status
from bnnrepro.runs.layout import RunFolder
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.loggers import figures_of, tagged
from bnnrepro.training.task import EpochRow, Training

# What wandb takes; it would say so only after the start.
Project = Annotated[
    str, Pattern(r"(?=.*\S)[^/\\#?%:]{1,128}", "1 to 128 characters without / \\ # ? % :")
]
Group = Annotated[str, Pattern(r"(?=.*\S).{1,128}", "text of 1 to 128 characters")]
Tag = Annotated[str, Pattern(r"(?=.*\S).{1,64}", "text of 1 to 64 characters")]

# Settings that not every version of wandb has.
NEWER_SETTINGS = {
    "x_transaction_log_flush_interval": 0.1,  # seconds; later rows are lost with a killed process
    "finish_timeout": 60.0,  # seconds; else a lost network would hold up the end for ever
}


class WandB(Callback):
    """Logs each row of ``metrics.csv`` with the epoch as its step.

    ``wandb.json`` in the run's folder holds the last logged epoch, so that a resumed run logs only
    newer ones.

    Args:
        cfg: of the run.
        folder: of the run; wandb's files go to ``wandb`` in it.
        signature: of the run's configuration; the wandb run's id.
        project: project that the run is filed under.
        entity: user or team; null: the account's own.
        mode: offline: files that `wandb sync` sends later; disabled: nothing, as where
            WANDB_DISABLED is true.
        group: group of runs; null: the sweep's name.
        tags: labels.
    """

    def __init__(
        self,
        cfg: Config,
        folder: RunFolder,
        signature: str,
        project: Project = "bnnrepro",
        entity: Text | None = None,
        mode: Literal["offline", "online", "disabled"] = "offline",
        group: Group | None = None,
        tags: Sequence[Tag] = (),
    ) -> None:
        self._settings: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "mode": mode,
            "group": group or status.read(folder).submission,
        }
        self._settings["tags"] = tags or None
        self._cfg = cfg
        self._folder = folder.path.resolve()
        self._signature = signature
        self._run: Any = None
        self._logged: float = 0

    @property
    def _marker(self) -> Path:
        return self._folder / "wandb.json"

    def on_fit_start(self, training: Training) -> None:
        """Start or resume the wandb run; log the rows that a killed process did not."""
        off = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
        if off or self._settings["mode"] == "disabled":
            self._logged = math.inf
            return
        import wandb

        cfg = self._cfg
        with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or damaged
            self._logged = int(reading.parsed(self._marker)["epoch"])
        with _no_terminal():
            self._run = wandb.init(
                id=self._signature,
                resume="allow",
                name=f"{cfg.dataset.name}/{cfg.model.name}/{cfg.method.name}/seed{cfg.seed}",
                dir=self._folder,
                config=cfg.to_dict(),
                **self._settings,
                reinit="create_new",  # a caller's own wandb run stays as it is
                allow_val_change=True,  # a resumed run may have another device or stop_after
                settings=_settings(wandb),
            )
        if self._settings["mode"] == "online":
            print(f"wandb: {self._run.url}", flush=True)
        self._catch_up(training.rows)

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """Log all rows since the last call."""
        self._catch_up(training.rows)

    def close(self, exit_code: int) -> None:
        """Finish the wandb run with the process's exit code."""
        if self._run is not None:
            self._run.summary.update(figures_of(RunFolder(self._folder)))
            self._run.finish(exit_code=exit_code)

    def _catch_up(self, rows: list[EpochRow]) -> None:
        """Log the new rows, with one write of the marker for all of them."""
        new = [row for row in rows if row["epoch"] > self._logged]
        if not new:
            return
        self._mark(new[-1]["epoch"])  # first: a kill leaves a gap, never an epoch twice
        try:
            for row in new:
                self._run.log(tagged(row), step=row["epoch"], commit=True)
                self._logged = row["epoch"]
        except Exception:
            self._mark(self._logged)
            raise

    def _mark(self, epoch: float) -> None:
        atomic.write_json(self._marker, {"id": self._signature, "epoch": epoch})


def _settings(wandb: Any) -> Any:
    """Return settings that keep wandb quiet and away from our output, code and git state."""
    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, save_code=False
    )
    for name, value in NEWER_SETTINGS.items():
        if hasattr(settings, name):
            setattr(settings, name, value)
    return settings


@contextmanager
def _no_terminal() -> Iterator[None]:
    """Replace standard input: wandb asks for a login wherever that is a terminal."""
    before = sys.stdin
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = before
