"""Paths of a run's folder and of the files in it."""

from dataclasses import dataclass
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.runs import atomic

MAP = "map.npz"
"""Predictions on a grid, in the folder of a run on points in one or two dimensions."""

POSTERIOR = "posterior.json"
"""Histograms of the posterior, in the folder of a run of continual learning."""

PICTURES = "pictures"
"""Pictures of predictions, in the folder of a run of segmentation."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder and the paths of its files. ``create`` makes the folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def env(self) -> Path:
        """Versions, hardware, commit, command line."""
        return self.path / "env.json"

    @property
    def status(self) -> Path:
        """State, progress, and the process that runs it."""
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def checkpoint(self) -> Path:
        """The newest state, from which the run resumes."""
        return self.path / "checkpoint.pt"

    @property
    def checkpoint_prev(self) -> Path:
        """The state before the newest, used if that one is damaged."""
        return self.path / "checkpoint.prev.pt"

    @property
    def best(self) -> Path:
        """The state of the best validation value."""
        return self.path / "best.pt"

    @property
    def result(self) -> Path:
        """Final figures, written last."""
        return self.path / "result.json"

    @property
    def damaged_result(self) -> Path:
        """An unreadable result, kept when the run wrote it again."""
        return self.path / "result.damaged.json"

    @property
    def submitted(self) -> Path:
        """The code that the run was submitted with, and the submission's name."""
        return self.path / "submitted.json"

    @property
    def log(self) -> Path:
        """The run's log, with the traceback if it failed."""
        return self.path / "train.log"

    def create(self) -> None:
        """Create the folder if it is missing, and check that files can be written in it.

        Raises:
            UserError: it cannot be created or written; the error names the key ``out``.
        """
        make_writable(self.path, "out", self._out())

    def _out(self) -> Path:
        """Return the folder of all runs, four levels up."""
        parents = self.path.parents
        return parents[3] if len(parents) > 3 else self.path


def make_writable(folder: Path, key: str, value: str | Path) -> None:
    """Create a folder if it is missing, and check that files can be written in it.

    Raises:
        UserError: it cannot be created or written; the error names the key with its value.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic.anonymous_file(folder):
            pass
    except OSError as error:
        reason = f"must be a folder that can be written ({error.strerror}: {folder})"
        raise UserError(key, str(value), reason) from error


def run_folder(out: str | Path, dataset: str, model: str, method: str, signature: str) -> RunFolder:
    """Return ``out/<dataset>/<model>/<method>/<signature>``; nothing is written.

    Raises:
        UserError: a name is empty, hidden (begins with a dot) or holds a slash.
    """
    for key, name in (("dataset", dataset), ("model", model), ("method", method)):
        if not name or name.startswith(".") or set(name) & set("/\\\0"):
            raise UserError(key, name, "must be the name of one folder, without slash or first dot")
    return RunFolder(Path(out) / dataset / model / method / signature)
