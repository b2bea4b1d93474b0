"""Overview of many runs: counts, then a line for each that is not done."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.runs import reading
from bnnrepro.runs.liveness import STATES
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.runs.query import Run
from bnnrepro.screen import printable

MAX_ROWS = 20  # of a state, unless all are asked for
_SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)


def overview(runs: Sequence[Run], left_out: Sequence[Path] = (), *, show_all: bool = False) -> str:
    """Return counts and table.

    Args:
        runs: with their states set by ``update_states``.
        left_out: folders among them that are not runs, or lack the settings to choose by.
        show_all: a line for every run, the done ones too.
    """
    lines = [counts(runs)]
    rows = [row for state in STATES for row in _rows(runs, state, show_all)]
    if rows:
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            lines.append("  ".join([*cells, row[3]]).rstrip())
    if left_out:
        lines.append(
            "ignored, no run of bnnrepro or without a readable config.yaml: "
            f"{_some([str(folder) for folder in left_out])}"
        )
    return "\n".join(map(printable, lines))


def counts(runs: Sequence[Run]) -> str:
    """Return the number of runs and of each state, in one line."""
    return f"{len(runs):,} run{'s' if len(runs) != 1 else ''}, {state_counts(runs)}".rstrip(", ")


def state_counts(runs: Sequence[Run]) -> str:
    """Return the number of runs of each state, as ``done 3, failed 1``."""
    number = Counter(run.state.name for run in runs)
    return ", ".join(f"{state} {number[state]:,}" for state in STATES if number[state])


def seconds_per_epoch(run: Run) -> float | None:
    """Return the average duration of the run's last five epochs; None if none was measured."""
    try:
        rows = read_metrics(run.folder.metrics)[-5:]
    except UserError:
        return None
    seconds = [float(row.get("seconds") or 0) for row in rows]
    seconds = [value for value in seconds if 0 < value < math.inf]
    return sum(seconds) / len(seconds) if seconds else None


def _rows(runs: Sequence[Run], state: str, show_all: bool) -> list[tuple[str, ...]]:
    chosen = [run for run in runs if run.state.name == state]
    if show_all:
        return [_row(run) for run in chosen]
    if state == "done":
        return []
    rows = [_row(run) for run in chosen[:MAX_ROWS]]
    if len(chosen) > MAX_ROWS:
        rows.append((state, f"… {len(chosen) - MAX_ROWS:,} more (--all)", "", ""))
    return rows


def _row(run: Run) -> tuple[str, ...]:
    return run.state.name, f"{run.name}{_seed(run)}", _progress(run), _note(run)


def _seed(run: Run) -> str:
    try:
        match = _SEED.search(reading.text(run.folder.config))
    except (OSError, UnicodeDecodeError):
        return ""
    return f" seed {match[1]}" if match else ""


def _progress(run: Run) -> str:
    epoch, epochs = run.status.epoch, run.status.epochs
    if epochs is None:
        return ""
    text = f"epoch {epoch or 0}/{epochs}"
    pace = seconds_per_epoch(run) if run.state.name == "running" else None
    return f"{text}, left {_clock(pace * (epochs - (epoch or 0)))}" if pace else text


def _note(run: Run) -> str:
    note = run.state.note
    return note if len(note) <= 120 else f"{note[:117]}..."


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
