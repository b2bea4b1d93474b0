"""What cells cost on this machine: from runs done here, else by measuring a few steps of each."""

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
    """What a run of a cell takes, in seconds; ``problem`` says why that is not known.

    Attributes:
        step: of training; None where it was taken from runs that are done.
        epoch: training, validation and test.
        once: what a run takes besides its epochs: building, and the last evaluations.
        problem: a line, empty if all is well.
    """

    step: float | None = None
    epoch: float = 0.0
    once: float = 0.0
    problem: str = ""

    def of(self, epochs: int) -> float:
        """Return the seconds of so many epochs and what comes once."""
        return epochs * self.epoch + self.once


def costs(
    cells: Sequence[Cell], threads: int | None, say: Callable[[str], None] = print
) -> dict[str, Cost]:
    """Return what each cell costs here, by its name.

    Args:
        cells: those with something left to run.
        threads: CPU threads of a run that does not say; None: torch's choice.
        say: told before what takes time.
    """
    found = {cell.name: cost for cell in cells if (cost := _of_done_runs(cell)) is not None}
    unknown = [cell for cell in cells if cell.name not in found]
    if unknown:
        say(f"measuring a few steps of {len(unknown)} cells on this machine ...")
        found |= dict(
            zip((each.name for each in unknown), _measured(unknown, threads), strict=True)
        )
    return found


def _of_done_runs(cell: Cell) -> Cost | None:
    """Return what the cell's runs took that this machine did in one go."""
    done = [status.read(run.folder) for run in cell.runs if run.folder.result.exists()]
    here = process.host()
    whole = [s for each in done if each.host == here and (s := _seconds_an_epoch(each))]
    return Cost(epoch=median(whole)) if whole else None


def _seconds_an_epoch(state: Status) -> float | None:
    if state.state != "done" or state.attempt != 1 or not (state.epochs and state.started):
        return None
    took = datetime.fromisoformat(str(state.updated)) - datetime.fromisoformat(state.started)
    return took.total_seconds() / state.epochs or None


def _measured(cells: Sequence[Cell], threads: int | None) -> list[Cost]:
    first = [cell.runs[0].config for cell in cells]
    configs = [replace(each, threads=each.threads or threads).to_dict() for each in first]
    done = subprocess.run(
        _WORKER,
        input=json.dumps(configs),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    measured = [Cost(**json.loads(line)) for line in lines]
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    gone = Cost(problem=f"measuring ended early: {said}")
    return [*measured, *[gone] * (len(cells) - len(measured))]
