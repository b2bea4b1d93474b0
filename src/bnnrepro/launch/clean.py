"""Free the disk space that finished runs need no more: ``bnnrepro clean``.

A finished run keeps its figures, its weights and its posterior, so that it can be evaluated again,
loaded and exported. Adam's moments in its checkpoints serve only to go on training.
"""

from typing import Any

from bnnrepro.runs import lock
from bnnrepro.runs.query import Run
from bnnrepro.training import checkpoint

MOMENTS = ("exp_avg", "exp_avg_sq")


def removable(run: Run) -> dict[str, int]:
    """Return the files of a finished run that can shrink, with the bytes to be freed."""
    return {name: freed for name, (_, freed) in _smaller(run).items()}


def clean(run: Run) -> None:
    """Write the smaller files; the run's folder is locked meanwhile."""
    with lock.hold(run.folder.path, above=run.status.attempt):
        for name, (state, _) in _smaller(run).items():
            state.pop("format")
            checkpoint.save(run.folder.path / name, state, state.pop("signature"))


def _smaller(run: Run) -> dict[str, tuple[dict[str, Any], int]]:
    """Return the checkpoints that hold moments: their states without, and the moments' bytes."""
    found = {}
    files = (run.folder.checkpoint, run.folder.best) if run.state.name == "done" else ()
    for file in files:
        try:
            state = checkpoint.load(file)
        except (FileNotFoundError, checkpoint.UnusableError):
            continue
        weights = state["optimizer"]["state"].values()
        freed = [own.pop(key).nbytes for own in weights for key in MOMENTS if key in own]
        if freed:
            found[file.name] = state, sum(freed)
    return found
