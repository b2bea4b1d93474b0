"""Content of a report in any format: lines, notes, missing runs, environments."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnrepro.report.collect import STATES, CellResults, CollectedRun
from bnnrepro.report.published import Quoted
from bnnrepro.report.statistics import Stats, Verdict, compare, summarise
from bnnrepro.report.tables import NOTES, SHORTENED, Table, TableRow

DASH = "—"
SELECTION = {
    "best": "at the first epoch of the best validation value",
    "final": "at the last epoch",
}


@dataclass(frozen=True)
class Line:
    """A row of the table with its results; ``mark`` is its note's number or empty."""

    row: TableRow
    results: CellResults | None
    ours: Stats | None
    values: tuple[tuple[CollectedRun, float], ...]
    verdict: Verdict | None
    mark: str
    protocol: str
    """the deviation from the paper's protocol, shown beside every figure of ours; else empty"""

    @property
    def expected(self) -> int:
        """Number of runs that the cell should have."""
        return len(self.results.cell.runs) if self.results else 0

    @property
    def ours_text(self) -> str:
        """Mean and population standard deviation, or ``no run done``; with the protocol."""
        if self.row.cell is None:
            return DASH
        text = "no run done" if self.ours is None else spread_text(self.ours)
        return f"{text} [{self.protocol}]" if self.protocol else text


@dataclass(frozen=True)
class Issue:
    """Runs of a cell that do not count, with one state and one reason."""

    cell: str
    state: str
    reason: str
    runs: tuple[CollectedRun, ...]

    @property
    def seeds(self) -> str:
        """The runs' seeds: ``0-2, 4``."""
        return ranges([run.expected.seed for run in self.runs])

    @property
    def text(self) -> str:
        """The issue in one line, with the runs' folders unless they are missing."""
        folders = "" if self.state == "missing" else f" ({', '.join(r.name for r in self.runs)})"
        return f"{_line_of([self.cell], self)}{folders}"


def _line_of(cells: Sequence[str], issue: Issue) -> str:
    plural = "s" if len(issue.runs) > 1 else ""
    seeds = f", seed{plural} {issue.seeds}" if issue.runs else ""
    reason = f": {issue.reason}" if issue.reason else ""
    return f"{', '.join(cells)}{seeds}: {issue.state}{reason}"


def summarise_issues(issues: Sequence[Issue]) -> list[str]:
    """Return issues in lines; cells with the same issue share one, without folders.

    Damaged runs always have their own line with the folder, as somebody has to look there.
    """
    groups: dict[tuple[str, ...], list[Issue]] = {}
    for issue in issues:
        own = issue.cell if issue.state == "damaged" else ""
        groups.setdefault((own, issue.state, issue.reason, issue.seeds), []).append(issue)
    return [
        group[0].text if len(group) == 1 else _line_of([i.cell for i in group], group[0])
        for group in groups.values()
    ]


def issues_of(results: CellResults) -> list[Issue]:
    """Return an issue for each state and reason of a cell's unused runs."""
    groups: dict[tuple[str, str], list[CollectedRun]] = {}
    for run in results.unused:
        groups.setdefault((run.state, run.reason), []).append(run)
    return [
        Issue(results.cell.name, state, reason, tuple(groups[state, reason]))
        for state, reason in sorted(groups, key=lambda key: (STATES.index(key[0]), key[1]))
    ]


@dataclass(frozen=True)
class Report:
    """Everything that the formats of a report show.

    ``compared`` says whether published figures are shown beside ours: only at preset ``paper``.
    """

    table: Table
    preset: str
    title: str
    warning: str
    compared: bool
    about: str
    lines: tuple[Line, ...]
    notes: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...]
    marked: tuple[str, ...]
    environments: tuple[tuple[dict[str, str], int], ...]
    collected: tuple[CellResults, ...]

    @property
    def splits(self) -> bool:
        """Whether the lines have several splits."""
        return len({line.row.split for line in self.lines}) > 1

    @property
    def earlier(self) -> bool:
        """Whether the earlier reproduction has a figure in this table."""
        return self.compared and any(line.row.earlier for line in self.lines)

    @property
    def unused(self) -> list[str]:
        """The issues in lines."""
        return summarise_issues(self.issues)

    @property
    def progress(self) -> str:
        """Number of the table's runs that are done."""
        done = sum(len(results.used) for results in self.collected)
        runs = sum(len(results.cell.runs) for results in self.collected)
        return f"{done:,} of {runs:,} runs done"


def make_report(table: Table, collected: Sequence[CellResults]) -> Report:
    """Return the report on a table's cells.

    Raises:
        ValueError: the cells are of several presets, or there are none.
    """
    presets = {results.cell.preset for results in collected}
    if len(presets) != 1:
        raise ValueError(f"a table is of one preset, not of {', '.join(sorted(presets)) or 'none'}")
    (preset,) = presets
    paper = preset == "paper"
    rows = [row for row in table.rows if paper or row.cell is not None]
    notes = dict.fromkeys(row.note for row in rows if row.note)
    marks = {note: str(number) for number, note in enumerate(notes, 1)}
    by_name = {results.cell.name: results for results in collected}
    present = [by_name[name] for name in table.cells if name in by_name]
    title = f"Table {table.name}. {table.title}"
    return Report(
        table,
        preset,
        title if paper else f"{title} (preset {preset}: {SHORTENED})",
        _warning(preset, present),
        paper,
        _about(table, present),
        tuple(_line(row, by_name.get(row.cell or ""), table, marks, preset) for row in rows),
        tuple((mark, NOTES[note]) for note, mark in marks.items()),
        tuple(_issues(table, by_name)),
        tuple(run.name for results in present for run in results.used if run.dirty),
        tuple(_environments(present)),
        tuple(present),
    )


def _warning(preset: str, collected: Sequence[CellResults]) -> str:
    parts = []
    if preset != "paper":
        parts.append(
            f"Preset {preset}: a shortened protocol, not the paper's. "
            "Nothing here is compared with the paper."
        )
    stand_ins = dict.fromkeys(stand_in(results) for results in collected if results.stands_for)
    if stand_ins:
        parts.append(f"Other data stand in: {'; '.join(stand_ins)}.")
    if len({results.code for results in collected if results.code}) > 1:
        parts.append("The cells' runs are not all of one code: see the environment.")
    return " ".join(parts)


def _about(table: Table, collected: Sequence[CellResults]) -> str:
    metric = next((results.metric for results in collected if results.metric), "accuracy")
    unit = ", percent" if metric == "accuracy" else ""
    return (
        f"{metric.capitalize()}{unit}, {SELECTION[table.selection]}. Ours: mean ± population "
        "standard deviation over n runs, as the paper prints it; the 95 % interval is Student's, "
        "of the mean."
    )


VERDICTS = (
    "Verdicts are Welch's test at 5 %, the published spread turned into a sample's. “Agrees” means "
    "that no difference was found, which with few runs leaves room for one; “differs” is said only "
    "where no rounding of the published digits would undo it."
)


def stand_in(results: CellResults) -> str:
    """Return a phrase that names the data used and the data set they stand in for."""
    data = results.used[0].result["dataset"]
    name = data if data != results.stands_for else "other data"
    return f"{name} stand in for {results.stands_for}"


def _line(
    row: TableRow, results: CellResults | None, table: Table, marks: dict[str, str], preset: str
) -> Line:
    values = tuple(
        (run, value)
        for run in (results.used if results else ())
        if (value := run.value(table.selection, row.split, row.prediction)) is not None
    )
    ours = summarise([value for _, value in values]) if values else None
    protocol = [] if preset == "paper" else [f"{preset}, {SHORTENED}"]

    if results and results.stands_for:
        protocol.append(stand_in(results))
    verdict = None
    if row.paper and row.cell and not protocol:
        verdict = compare(ours, row.paper)
    mark = marks[row.note] if row.note else ""
    return Line(row, results, ours, values, verdict, mark, "; ".join(protocol))


def _issues(table: Table, by_name: dict[str, CellResults]) -> list[Issue]:
    issues = []
    for name in table.cells:
        if name not in by_name:
            issues.append(Issue(name, "missing", "the cell was not collected", ()))
            continue
        issues += issues_of(by_name[name])
        incomplete = [run for run in by_name[name].used if _lacks(table, name, run)]
        if incomplete:
            reason = "lacks some of the table's figures (evaluated with other settings?)"
            issues.append(Issue(name, "incomplete", reason, tuple(incomplete)))
    return issues


def _lacks(table: Table, cell: str, run: CollectedRun) -> bool:
    rows = [row for row in table.rows if row.cell == cell]
    return any(run.value(table.selection, row.split, row.prediction) is None for row in rows)


def _environments(collected: Sequence[CellResults]) -> list[tuple[dict[str, str], int]]:
    """Return each environment of the used runs, with its number of runs."""
    runs = [run for results in collected for run in results.used]
    counts = Counter(tuple(environment(run).items()) for run in runs)
    return [(dict(items), count) for items, count in counts.most_common()]


def environment(run: CollectedRun) -> dict[str, str]:
    """Return hardware, versions and commit of a run, in words."""
    record = run.environment
    versions: Any = record.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    git: Any = record.get("git")
    commit = str(git.get("commit"))[:10] if isinstance(git, dict) else "unknown"
    return {
        "device": str(run.result.get("device")),
        "processor": str(record.get("gpu") or record.get("cpu") or "unknown"),
        "platform": str(record.get("platform") or "unknown"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items() if v) or "unknown",
        "commit": f"{commit}{' with uncommitted changes' if run.dirty else ''}",
        "code": run.code,
    }


def spread_text(stats: Stats) -> str:
    """Return mean ± population standard deviation; for one run, the mean alone."""
    text = f"{stats.mean:.2f}"
    return text if stats.sample_std is None else f"{text} ± {stats.population_std:.2f}"


def quoted_text(figure: Quoted | None) -> str:
    """Return a published figure with its printed digits."""
    if figure is None:
        return DASH
    text = f"{figure.mean:.{figure.digits}f}"
    return text if figure.std is None else f"{text} ± {figure.std:.{figure.digits}f}"


def ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers in short: ``0-2, 4``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def relative(run: CollectedRun, folder: Path) -> str:
    """Return the path of a run's folder relative to a report's, with forward slashes."""
    return Path(os.path.relpath(run.expected.folder.path, folder)).as_posix()


def header(report: Report, *, short: bool = False) -> list[str]:
    """Return the table's columns; ``short`` leaves out some to fit a terminal."""
    columns = ["", *(["Split"] if report.splits else [])]
    columns += ["Paper"] if report.compared else []
    columns += ["Earlier reproduction"] if report.earlier and not short else []
    columns += ["Ours", "n"]
    columns += [] if short else ["Sample std", "95 % interval"]
    return columns + (["Difference", "Verdict"] if report.compared else [])


def row_texts(report: Report, line: Line, *, short: bool = False) -> list[str]:
    """Return a line's columns as plain text."""
    row, ours, verdict = line.row, line.ours, line.verdict
    mark = f" [{line.mark}]" if line.mark else ""
    values = [f"{row.label}{mark}", *([row.split] if report.splits else [])]
    values += [quoted_text(row.paper)] if report.compared else []
    values += [quoted_text(row.earlier)] if report.earlier and not short else []
    values += [line.ours_text, _count(line)]
    if not short:
        std = ours.sample_std if ours else None
        interval = ours.interval if ours else None
        values += [DASH if std is None else f"{std:.2f}"]
        values += [DASH if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"]
    if report.compared:
        difference = verdict.difference if verdict else None
        values += [DASH if difference is None else f"{round(difference, 2) + 0.0:+.2f}"]
        values += [verdict.text if verdict else DASH]
    return values


def _count(line: Line) -> str:
    return DASH if line.row.cell is None else f"{len(line.values)} of {line.expected}"


def groups(report: Report) -> list[tuple[str, list[Line]]]:
    """Return the lines under their headings, in order."""
    by_heading: dict[str, list[Line]] = {}
    for line in report.lines:
        by_heading.setdefault(line.row.group, []).append(line)
    return list(by_heading.items())
