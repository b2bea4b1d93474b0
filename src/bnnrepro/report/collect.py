"""Read a table's runs from their folders alone, and check everything that is read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.curves import Columns, read_columns
from bnnrepro.report.published import SELECTIONS, SPLITS
from bnnrepro.runs import query, reading
from bnnrepro.runs.liveness import STATES as RUN_STATES
from bnnrepro.runs.result import DamagedResultError, is_number, leaves, read_result, settings_of

_DONE, *_OTHERS, _NEW = RUN_STATES
STATES = (_DONE, "left out", *_OTHERS, "missing")
"""States of a run folder, with ``missing`` for a run that nobody has started, and ``left out`` for
a finished run of other code than the cell's other runs."""

UNKNOWN = "unknown"
"""Code of runs that are older than its record."""


@dataclass(frozen=True)
class CellResults:
    """A cell with its runs as found on disk, in the order of ``cell.runs``.

    ``code`` is the hash of the code of all runs in ``used`` (None where no run is done).
    """

    cell: Cell
    runs: tuple["CollectedRun", ...]
    code: str | None

    @property
    def used(self) -> tuple["CollectedRun", ...]:
        """Finished runs that the figures are made of."""
        return tuple(run for run in self.runs if run.state == "done")

    @property
    def unused(self) -> tuple["CollectedRun", ...]:
        """All other runs; their state is not ``done``, and most have a reason."""
        return tuple(run for run in self.runs if run.state != "done")

    @property
    def stands_for(self) -> str | None:
        """The data set that other data stand in for in these runs; None where none do."""
        return next(
            (run.result["stands_for"] for run in self.used if run.result["stands_for"]), None
        )

    @property
    def metric(self) -> str | None:
        """Name of the metric that selects the best epoch in the results; None without a result."""
        return next((metric_of(run.result) for run in self.used), None)


@dataclass(frozen=True)
class CollectedRun:
    """A run of a cell: its state with the reason, and the content of its files where sound.

    ``result`` is empty unless the state is ``done`` or ``left out``; ``environment`` is empty where
    ``env.json`` is missing or damaged.
    """

    expected: Expected
    state: str
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last four parts of the run's folder."""
        return "/".join(self.expected.folder.path.parts[-4:])

    @property
    def code(self) -> str:
        """Hash of the code that made the numbers, several joined by ``+`` if it changed midway."""
        return "+".join(dict.fromkeys(str(s.get("numerics") or UNKNOWN) for s in self._starts))

    @property
    def dirty(self) -> bool:
        """Whether the working tree had uncommitted changes, at this start or an earlier one."""
        commits = [start.get("git") for start in self._starts]
        return any(isinstance(git, dict) and bool(git.get("dirty")) for git in commits)

    @property
    def _starts(self) -> list[Mapping[str, Any]]:
        """Environments of all starts of the run, oldest first."""
        earlier = self.environment.get("earlier")
        earlier = earlier if isinstance(earlier, list) else []
        return [*(start for start in earlier if isinstance(start, dict)), self.environment]

    @cached_property
    def metrics(self) -> Columns:
        """Columns of ``metrics.csv`` over epochs; empty where it is missing or damaged."""
        return read_columns(self.expected.folder.metrics) or {}

    def value(self, selection: str, split: str, prediction: str = "mode") -> float | None:
        """Return the metric at the ``best`` or ``final`` epoch; None where the run has none.

        ``prediction`` (``mode`` or ``mean``) does not matter on ``train``. A mean is taken only
        from the evaluation that the cell's configuration asks for.
        """
        node: Any = self.evaluation(prediction).get(selection)
        for key in (split, *(() if split == "train" else (prediction,)), metric_of(self.result)):
            node = node.get(key) if isinstance(node, Mapping) else None
        return float(node) if is_number(node) else None

    def evaluation(self, prediction: str) -> Mapping[str, Any]:
        """Return the evaluation that the cell's settings ask for; at the mode any will do."""
        expected = asdict(self.expected.config.evaluate)
        later = self.result.get("evaluations")
        for evaluation in (self.result, *(later if isinstance(later, list) else [])):
            if not isinstance(evaluation, Mapping):
                continue
            settings = evaluation.get("evaluate", expected)
            if isinstance(settings, Mapping) and settings_of({"evaluate": settings}) == expected:
                return evaluation
        return self.result if prediction == "mode" else {}


def collect(cells: Sequence[Cell], code: str | None = None) -> list[CellResults]:
    """Read the runs of some cells.

    Runs of a cell made by different code are never combined: those of the most frequent code
    count (of the newest where two are equally frequent), and the others are ``left out``.

    Args:
        cells: with their runs.
        code: beginning of the hash of the code whose runs count, in all cells.

    Raises:
        UserError: no finished run is of that code.
    """
    expected = {run.folder.path: (run, cell) for cell in cells for run in cell.runs}
    queried = {path: query.Run(run.folder) for path, (run, _) in expected.items()}
    query.update_states(list(queried.values()))
    # once for each folder, as a cell may occur in several tables
    runs = {path: _read(run, cell, queried[path]) for path, (run, cell) in expected.items()}
    if code is not None:
        hashes = sorted({run.code for run in runs.values() if run.state == "done"})
        if not any(hash_.startswith(code) for hash_ in hashes):
            allowed = f"no finished run is of this code; there are {', '.join(hashes)}"
            raise UserError("code", code, allowed)
    return [_of_one_code(cell, [runs[r.folder.path] for r in cell.runs], code) for cell in cells]


def metric_of(result: Mapping[str, Any]) -> str | None:
    """Return the name of a result's metric other than the loss."""
    return next((key for key in result["final"]["train"] if key != "loss"), None)


def _read(expected: Expected, cell: Cell, run: query.Run) -> CollectedRun:
    state, reason = run.state.name, run.state.note
    environment = _environment(expected)
    if state != "done":
        if state == "new" and expected.folder.path.exists():
            state, reason = "damaged", "has neither a status nor a result"
        elif state == "new":
            state, reason = "missing", ""
        return CollectedRun(expected, state, reason, environment=environment)
    try:
        result = read_result(expected.folder.result)
    except UserError as error:
        state = "damaged" if isinstance(error, DamagedResultError) else "unreadable"
        return CollectedRun(expected, state, f"result.json {error.allowed}")
    fault = _other_run(result, expected, cell) or _impossible(result)
    if fault:
        return CollectedRun(expected, "damaged", f"result.json: {fault}")
    return CollectedRun(expected, "done", "", result, environment)


def _other_run(result: Mapping[str, Any], expected: Expected, cell: Cell) -> str | None:
    """Return a sentence if a result belongs to another run; None if it is this run's."""
    config = expected.config
    values = {
        "signature": expected.folder.path.name,
        "preset": cell.preset,
        "seed": expected.seed,
        "dataset": config.preset.stand_in or config.dataset.name,
        "model": config.model.name,
        "method": config.method.name,
        "stands_for": config.dataset.name if config.preset.stand_in else None,
    }
    for key, value in values.items():
        if result[key] != value:
            return f"of another run, {key} is {result[key]!r}, not {value!r}"
    return None


def _impossible(result: Mapping[str, Any]) -> str | None:
    """Return a sentence on the first impossible figure; None if there is none."""
    if metric_of(result) is None:
        return "final.train has no metric"
    evaluations = (result, *result.get("evaluations", ()))
    for evaluation, selection in product(evaluations, SELECTIONS):
        splits = {split: evaluation.get(selection, {}).get(split) for split in SPLITS}
        for key, value in leaves(splits, selection):
            if not math.isfinite(value):
                return f"{key} is not finite"
            if key.endswith(".accuracy") and not 0 <= value <= 100:
                return f"{key} is {value}, not a percentage"
    return None


def _environment(expected: Expected) -> Mapping[str, Any]:
    try:
        content = reading.parsed(expected.folder.env)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _of_one_code(cell: Cell, runs: Sequence[CollectedRun], prefix: str | None) -> CellResults:
    code = _choose_code([run for run in runs if run.state == "done"], prefix)
    checked = []
    for run in runs:
        if run.state == "done" and run.code != code:
            reason = f"made by other code ({run.code}); the table's is {code or prefix}"
            run = replace(run, state="left out", reason=reason)
        checked.append(run)
    return CellResults(cell, tuple(checked), code)


def _choose_code(done: Sequence[CollectedRun], prefix: str | None) -> str | None:
    matches = [run for run in done if prefix is None or run.code.startswith(prefix)]
    count = Counter(run.code for run in matches)
    newest: dict[str, str] = {}
    for run in matches:
        newest[run.code] = max(newest.get(run.code, ""), str(run.environment.get("date", "")))
    return max(count, key=lambda code: (count[code], newest[code]), default=None)
