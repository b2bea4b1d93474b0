"""What a table's runs left on disk: read from their folders alone, and nothing of it trusted."""

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
from bnnrepro.report.published import SPLITS
from bnnrepro.runs import query, reading
from bnnrepro.runs.liveness import STATES as STATES_OF_A_STORE
from bnnrepro.runs.result import DamagedResultError, is_number, leaves, read_result, settings_of

_DONE, *_OTHERS, _NEW = STATES_OF_A_STORE
STATES = (_DONE, "left out", *_OTHERS, "missing")
"""The store's states, with ``missing`` for a run that nobody has started, and ``left out`` for one
that is done, by other code than the cell's other runs."""

UNKNOWN = "unknown"
"""The code of runs that are older than the record of it."""


@dataclass(frozen=True)
class Collected:
    """A cell with what there is of its runs, in the order of ``cell.runs``.

    ``code`` is the one that all runs in ``used`` were made by (None where nothing is done).
    """

    cell: Cell
    runs: tuple["CollectedRun", ...]
    code: str | None

    @property
    def used(self) -> tuple["CollectedRun", ...]:
        """The finished runs that figures are made of."""
        return tuple(run for run in self.runs if run.state == "done")

    @property
    def unused(self) -> tuple["CollectedRun", ...]:
        """All others; each has a state that is not ``done``, and mostly a reason."""
        return tuple(run for run in self.runs if run.state != "done")

    @property
    def stands_for(self) -> str | None:
        """The data set that other data stand for in these runs, None where none does."""
        return next(
            (run.result["stands_for"] for run in self.used if run.result["stands_for"]), None
        )

    @property
    def metric(self) -> str | None:
        """The metric that selects the best epoch, as the results name it; None without a result."""
        return next((metric_of(run.result) for run in self.used), None)


@dataclass(frozen=True)
class CollectedRun:
    """A run of a cell: its state, why, and what its files say where they may be believed.

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
        """The run's folder, its last four parts."""
        return "/".join(self.expected.folder.path.parts[-4:])

    @property
    def code(self) -> str:
        """Hash of the code that made the numbers, several joined by ``+`` if it changed midway."""
        starts = [*_earlier(self.environment), self.environment]
        return "+".join(dict.fromkeys(str(each.get("numerics") or UNKNOWN) for each in starts))

    @property
    def dirty(self) -> bool:
        """Whether the working tree had uncommitted changes, at this start or an earlier one."""
        starts = [*_earlier(self.environment), self.environment]
        return any(
            isinstance(each.get("git"), dict) and bool(each["git"].get("dirty")) for each in starts
        )

    @cached_property
    def metrics(self) -> Columns:
        """The epochs' figures by column; empty where ``metrics.csv`` is missing or damaged."""
        return read_columns(self.expected.folder.metrics) or {}

    def value(self, selection: str, split: str, kind: str = "mode") -> float | None:
        """Return the metric at the ``best`` or ``final`` epoch; None where the run has none.

        ``kind`` (``mode`` or ``mean``) does not matter on ``train``. A mean is taken from the
        evaluation that the cell's configuration asks for, and from no other.
        """
        node: Any = self.evaluation(kind).get(selection)
        for word in (split, *(() if split == "train" else (kind,)), metric_of(self.result)):
            node = node.get(word) if isinstance(node, Mapping) else None
        return float(node) if is_number(node) else None

    def evaluation(self, kind: str) -> Mapping[str, Any]:
        """Return the run's figures under the wanted settings; any will do at the mode."""
        wanted = asdict(self.expected.config.evaluate)
        again = self.result.get("evaluations")
        candidates = [self.result, *(again if isinstance(again, list) else [])]
        for each in candidates:
            if not isinstance(each, Mapping):
                continue
            settings = each.get("evaluate", wanted)
            if isinstance(settings, Mapping) and settings_of({"evaluate": settings}) == wanted:
                return each
        return self.result if kind == "mode" else {}


def collect(cells: Sequence[Cell], code: str | None = None) -> list[Collected]:
    """Read the runs of some cells.

    Runs of a cell that were made by different code are never put together: those of the most
    frequent code stand, of the newest where two are as frequent, and the others are ``left out``.

    Args:
        cells: with the runs that belong to them.
        code: the beginning of the hash of the code whose runs are wanted, in all cells.

    Raises:
        UserError: no finished run is of that code.
    """
    shared: dict[str, CollectedRun] = {}  # a cell may occur in several tables
    expected = {str(each.folder.path): (each, cell) for cell in cells for each in cell.runs}
    looked = {path: query.Run(each.folder) for path, (each, _) in expected.items()}
    query.update_states(list(looked.values()))
    for path, (each, cell) in expected.items():
        shared[path] = _read(each, cell, looked[path])
    if code is not None:
        known = sorted({run.code for run in shared.values() if run.state == "done"})
        if not any(each.startswith(code) for each in known):
            raise UserError("code", code, f"no finished run is of it; there are {', '.join(known)}")
    return [
        _one_code(cell, [shared[str(each.folder.path)] for each in cell.runs], code)
        for cell in cells
    ]


def metric_of(result: Mapping[str, Any]) -> str | None:
    """Return the name of the metric that stands beside the loss in a result."""
    return next((key for key in result["final"]["train"] if key != "loss"), None)


def _read(expected: Expected, cell: Cell, run: query.Run) -> CollectedRun:
    state, reason = run.state.name, run.state.note
    environment = _environment(expected)
    if state != "done":
        if state == "new":
            state, reason = ("missing", "") if not expected.folder.path.exists() else _empty()
        return CollectedRun(expected, state, reason, environment=environment)
    try:
        result = read_result(expected.folder.result)
    except UserError as error:
        state = "damaged" if isinstance(error, DamagedResultError) else "unreadable"
        return CollectedRun(expected, state, f"result.json {error.allowed}")
    fault = _foreign(result, expected, cell) or _impossible(result)
    if fault:
        return CollectedRun(expected, "damaged", f"result.json: {fault}")
    return CollectedRun(expected, "done", "", result, environment)


def _empty() -> tuple[str, str]:
    return "damaged", "has neither a status nor a result"


def _foreign(result: Mapping[str, Any], expected: Expected, cell: Cell) -> str | None:
    """Return why a result is another run's; None if it is this one's."""
    config = expected.config
    wanted = {
        "signature": expected.folder.path.name,
        "preset": cell.preset,
        "seed": expected.seed,
        "dataset": config.preset.stand_in or config.dataset.name,
        "model": config.model.name,
        "method": config.method.name,
        "stands_for": config.dataset.name if config.preset.stand_in else None,
    }
    for key, value in wanted.items():
        if result[key] != value:
            return f"of another run, {key} is {result[key]!r}, not {value!r}"
    return None


def _impossible(result: Mapping[str, Any]) -> str | None:
    """Return which figure cannot be; None if all can."""
    if metric_of(result) is None:
        return "final.train has no metric"
    for each, moment in product((result, *result.get("evaluations", ())), ("best", "final")):
        splits = {split: each.get(moment, {}).get(split) for split in SPLITS}
        for key, value in leaves(splits, moment):
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


def _earlier(environment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    earlier = environment.get("earlier")
    return [each for each in earlier if isinstance(each, dict)] if isinstance(earlier, list) else []


def _one_code(cell: Cell, runs: Sequence[CollectedRun], wanted: str | None) -> Collected:
    done = [run for run in runs if run.state == "done"]
    chosen = _choose(done, wanted)
    kept = []
    for run in runs:
        if run.state == "done" and run.code != chosen:
            other = f"made by other code ({run.code}); the table's is {chosen or wanted}"
            run = replace(run, state="left out", reason=other)
        kept.append(run)
    return Collected(cell, tuple(kept), chosen)


def _choose(done: Sequence[CollectedRun], wanted: str | None) -> str | None:
    fitting = [run for run in done if wanted is None or run.code.startswith(wanted)]
    number = Counter(run.code for run in fitting)
    newest: dict[str, str] = {}
    for run in fitting:
        newest[run.code] = max(newest.get(run.code, ""), str(run.environment.get("date", "")))
    return max(number, key=lambda each: (number[each], newest[each]), default=None)
