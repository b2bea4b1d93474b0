"""Cost of cells on this machine: from runs done here, else by measuring a few steps of each."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from bnnrepro.report.cells import Cell
from bnnrepro.runs import process, status
from bnnrepro.runs.status import Status

_WORKER = [sys.executable, "-m", "bnnrepro.report.measure_costs"]


@dataclass(frozen=True)
class Cost:
    """Time that a run of a cell takes, in seconds; ``problem`` says why it is unknown.

    Attributes:
        step: of training; None where the cost comes from finished runs.
        epoch: training, validation and test.
        once: outside the epochs: building, and the last evaluations.
        problem: one line; empty if the cost is known.
    """

    step: float | None = None
    epoch: float = 0.0
    once: float = 0.0
    problem: str = ""

    def seconds(self, epochs: int) -> float:
        """Return the time of a run of that many epochs."""
        return epochs * self.epoch + self.once


def costs(
    cells: Sequence[Cell], threads: int | None, say: Callable[[str], None] = print
) -> dict[str, Cost]:
    """Return each cell's cost on this machine, by its name.

    Args:
        cells: those with something left to run.
        threads: CPU threads of a run whose config sets none; None: torch's choice.
        say: is called with a message before anything slow.
    """
    known = {cell.name: cost for cell in cells if (cost := _of_done_runs(cell)) is not None}
    unknown = [cell for cell in cells if cell.name not in known]
    if unknown:
        say(f"measuring a few steps of {len(unknown)} cells on this machine ...")
        measured = _measure(unknown, threads)
        known |= {cell.name: cost for cell, cost in zip(unknown, measured, strict=True)}
    return known


def _of_done_runs(cell: Cell) -> Cost | None:
    """Return the cost by those of the cell's runs that this machine did without interruption."""
    done = [status.read(run.folder) for run in cell.runs if run.folder.result.exists()]
    here = process.host()
    seconds = [s for state in done if state.host == here and (s := _seconds_per_epoch(state))]
    return Cost(epoch=median(seconds)) if seconds else None


def _seconds_per_epoch(state: Status) -> float | None:
    if state.state != "done" or state.attempt != 1 or not (state.epochs and state.started):
        return None
    took = datetime.fromisoformat(str(state.updated)) - datetime.fromisoformat(state.started)
    return took.total_seconds() / state.epochs or None


def _measure(cells: Sequence[Cell], threads: int | None) -> list[Cost]:
    configs = [cell.runs[0].config for cell in cells]
    configs = [replace(config, threads=config.threads or threads) for config in configs]
    worker = subprocess.run(
        _WORKER,
        input=json.dumps([config.to_dict() for config in configs]),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    lines = [line for line in worker.stdout.splitlines() if line.startswith("{")]
    measured = [Cost(**json.loads(line)) for line in lines]
    reason = (worker.stderr.strip().splitlines() or [f"exit code {worker.returncode}"])[-1]
    unmeasured = Cost(problem=f"measuring ended early: {reason}")
    return [*measured, *[unmeasured] * (len(cells) - len(measured))]
