"""Read a table's runs from their folders alone, and check everything that is read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.published import SELECTIONS, SPLITS
from bnnrepro.runs import query
from bnnrepro.runs.liveness import STATES as RUN_STATES
from bnnrepro.runs.result import is_number, leaves, settings_of
from bnnrepro.runs.results import (
    Columns,
    code_of,
    environment_of,
    is_dirty,
    read_columns,
    result_of,
)

_DONE, *_OTHERS, _NEW = RUN_STATES
STATES = (_DONE, "left out", *_OTHERS, "missing")
"""States of a run folder, with ``missing`` for a run that nobody has started, and ``left out`` for
a finished run of other code than the cell's other runs."""


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
        return code_of(self.environment)

    @property
    def dirty(self) -> bool:
        """Whether the working tree had uncommitted changes, at this start or an earlier one."""
        return is_dirty(self.environment)

    @property
    def commit(self) -> str:
        """First ten digits of the commit, and whether the tree had uncommitted changes."""
        git = self.environment.get("git")
        commit = str(git.get("commit"))[:10] if isinstance(git, dict) else "unknown"
        return f"{commit}{' with uncommitted changes' if self.dirty else ''}"

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


def collect(cells: Sequence[Cell]) -> list[CellResults]:
    """Read the runs of some cells.

    Runs of a cell made by different code are never combined: those of the most frequent code
    count (of the newest where two are equally frequent), and the others are ``left out``.
    """
    expected = {run.folder.path: (run, cell) for cell in cells for run in cell.runs}
    queried = {path: query.Run(run.folder) for path, (run, _) in expected.items()}
    query.update_states(list(queried.values()))
    # once for each folder, as a cell may occur in several tables
    runs = {path: _read(run, cell, queried[path]) for path, (run, cell) in expected.items()}
    return [_of_one_code(cell, [runs[r.folder.path] for r in cell.runs]) for cell in cells]


def metric_of(result: Mapping[str, Any]) -> str | None:
    """Return the name of a result's metric other than the loss."""
    return next((key for key in result["final"]["train"] if key != "loss"), None)


@dataclass(frozen=True)
class Issue:
    """Runs of a cell that do not count, with one state and one reason."""

    cell: str
    state: str
    reason: str
    runs: tuple[CollectedRun, ...]


def issues(collected: Sequence[CellResults]) -> list[Issue]:
    """Return an issue for each cell, state and reason of the unused runs."""
    found = []
    for results in collected:
        groups: dict[tuple[int, str], list[CollectedRun]] = {}
        for run in results.unused:
            groups.setdefault((STATES.index(run.state), run.reason), []).append(run)
        found += [
            Issue(results.cell.name, STATES[state], reason, tuple(runs))
            for (state, reason), runs in sorted(groups.items(), key=lambda item: item[0])
        ]
    return found


def issue_lines(found: Sequence[Issue]) -> list[str]:
    """Return issues in lines; cells with the same issue share one, without folders.

    Damaged runs always have their own line with the folder, as somebody has to look there.
    """
    groups: dict[tuple[str, ...], list[Issue]] = {}
    for issue in found:
        own = issue.cell if issue.state == "damaged" else ""
        seeds = ranges([run.expected.seed for run in issue.runs])
        groups.setdefault((own, issue.state, issue.reason, seeds), []).append(issue)
    lines = []
    for (_, state, reason, seeds), group in groups.items():
        runs = group[0].runs
        where = f", seed{'s' if len(runs) > 1 else ''} {seeds}" if runs else ""
        alone = len(group) == 1 and state != "missing"
        folders = f" ({', '.join(run.name for run in runs)})" if alone else ""
        cells = ", ".join(issue.cell for issue in group)
        lines.append(f"{cells}{where}: {state}{f': {reason}' if reason else ''}{folders}")
    return lines


def ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers in short: ``0-2, 4``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _read(expected: Expected, cell: Cell, run: query.Run) -> CollectedRun:
    if not expected.folder.path.exists():
        return CollectedRun(expected, "missing")
    state, reason, result = result_of(run)
    if state == "new":
        state = "damaged"
    elif state == "done":
        fault = _other_run(result, expected, cell) or _impossible(result)
        state, reason = ("damaged", f"result.json: {fault}") if fault else (state, "")
    environment = environment_of(run)
    return CollectedRun(
        expected, state, reason, result if state == "done" else {}, environment=environment
    )


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


def _of_one_code(cell: Cell, runs: Sequence[CollectedRun]) -> CellResults:
    done = [run for run in runs if run.state == "done"]
    count = Counter(run.code for run in done)
    newest = {run.code: _date(run) for run in sorted(done, key=_date)}
    code = max(count, key=lambda code: (count[code], newest[code]), default=None)
    reason = "made by other code ({}); the table's is {}"
    checked = (
        replace(run, state="left out", reason=reason.format(run.code, code))
        if run.state == "done" and run.code != code
        else run
        for run in runs
    )
    return CellResults(cell, tuple(checked), code)


def _date(run: CollectedRun) -> str:
    return str(run.environment.get("date", ""))
