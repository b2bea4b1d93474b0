"""What a report says, whatever its form: lines, notes, what is missing, environments."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnrepro.report.collect import STATES, Collected, CollectedRun
from bnnrepro.report.published import Quoted
from bnnrepro.report.statistics import Summary, Verdict, compare, summary
from bnnrepro.report.tables import NOTES, Row, Table

DASH = "—"
SELECTION = {
    "best": "at the first epoch of the best validation value",
    "final": "at the last epoch",
}


@dataclass(frozen=True)
class Line:
    """A row of the table with what was found for it; ``mark`` is its note's number or empty."""

    row: Row
    collected: Collected | None
    ours: Summary | None
    values: tuple[tuple[CollectedRun, float], ...]
    verdict: Verdict | None
    mark: str
    protocol: str
    """what every cell of ours says where it is not the paper's protocol; else empty"""

    @property
    def expected(self) -> int:
        """How many runs the cell should have."""
        return len(self.collected.cell.runs) if self.collected else 0

    @property
    def ours_text(self) -> str:
        """Mean and population standard deviation, or that there is none; with the protocol."""
        if self.row.cell is None:
            return DASH
        text = "no run done" if self.ours is None else spread_text(self.ours)
        return f"{text} [{self.protocol}]" if self.protocol else text


@dataclass(frozen=True)
class Issue:
    """Runs of a cell that are in no figure, with one state and one reason."""

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
        """All of it in a line; the folders too, where there are any."""
        where = "" if self.state == "missing" else f" ({', '.join(r.name for r in self.runs)})"
        return f"{_told([self.cell], self)}{where}"


def _told(cells: Sequence[str], issue: Issue) -> str:
    plural = "s" if len(issue.runs) > 1 else ""
    which = f", seed{plural} {issue.seeds}" if issue.runs else ""
    reason = f": {issue.reason}" if issue.reason else ""
    return f"{', '.join(cells)}{which}: {issue.state}{reason}"


def told(issues: Sequence[Issue]) -> list[str]:
    """Return issues in lines: cells of which the same is to be said share one, without folders.

    What is damaged has a line and its folder always: somebody will have to look there.
    """
    alike: dict[tuple[str, ...], list[Issue]] = {}
    for issue in issues:
        own = issue.cell if issue.state == "damaged" else ""
        alike.setdefault((own, issue.state, issue.reason, issue.seeds), []).append(issue)
    return [
        each[0].text if len(each) == 1 else _told([issue.cell for issue in each], each[0])
        for each in alike.values()
    ]


def unused_of(collected: Collected) -> list[Issue]:
    """Return a cell's runs that are in no figure, those of one state and reason together."""
    groups: dict[tuple[str, str], list[CollectedRun]] = {}
    for run in collected.unused:
        groups.setdefault((run.state, run.reason), []).append(run)
    return [
        Issue(collected.cell.name, state, reason, tuple(runs))
        for (state, reason), runs in sorted(
            groups.items(), key=lambda each: (STATES.index(each[0][0]), each[0][1])
        )
    ]


@dataclass(frozen=True)
class Content:
    """A report: everything that its forms show.

    ``compared`` is whether published figures stand beside ours: at the preset ``paper`` alone.
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
    collected: tuple[Collected, ...]

    @property
    def splits(self) -> bool:
        """Whether the lines are of several splits."""
        return len({line.row.split for line in self.lines}) > 1

    @property
    def earlier(self) -> bool:
        """Whether the earlier reproduction has a figure in this table."""
        return self.compared and any(line.row.earlier for line in self.lines)

    @property
    def unused(self) -> list[str]:
        """The issues in lines."""
        return told(self.issues)

    @property
    def progress(self) -> str:
        """How many of the table's runs are done."""
        done = sum(len(each.used) for each in self.collected)
        runs = sum(len(each.cell.runs) for each in self.collected)
        return f"{done:,} of {runs:,} runs done"


def content(table: Table, collected: Sequence[Collected]) -> Content:
    """Put together what a report says.

    Raises:
        ValueError: the cells are of several presets, or there are none.
    """
    presets = {each.cell.preset for each in collected}
    if len(presets) != 1:
        raise ValueError(f"a table is of one preset, not of {', '.join(sorted(presets)) or 'none'}")
    (preset,) = presets
    faithful = preset == "paper"
    rows = [row for row in table.rows if faithful or row.cell is not None]
    marks = {
        note: str(1 + i) for i, note in enumerate(dict.fromkeys(r.note for r in rows if r.note))
    }
    found = {each.cell.name: each for each in collected}
    present = [found[name] for name in table.cells if name in found]
    warning = "" if faithful else f"preset {preset}: not the paper's protocol"
    title = f"Table {table.name}. {table.title}"
    return Content(
        table,
        preset,
        title if faithful else f"{title} ({warning})",
        _warning(preset, present, warning),
        faithful,
        _about(table, present),
        tuple(_line(row, found.get(row.cell or ""), table, marks, faithful) for row in rows),
        tuple((mark, NOTES[note]) for note, mark in marks.items()),
        tuple(_issues(table, found)),
        tuple(run.name for each in present for run in each.used if run.dirty),
        tuple(_environments(present)),
        tuple(present),
    )


def _warning(preset: str, collected: Sequence[Collected], warning: str) -> str:
    parts = []
    if warning:
        parts.append(
            f"Preset {preset}: a shortened protocol, not the paper's. "
            "Nothing here is compared with the paper."
        )
    stand_ins = dict.fromkeys(stand_in(each) for each in collected if each.stands_for)
    if stand_ins:
        parts.append(f"Other data stand in: {'; '.join(stand_ins)}.")
    if len({each.code for each in collected if each.code}) > 1:
        parts.append("The cells' runs are not all of one code: see the environment.")
    return " ".join(parts)


def _about(table: Table, collected: Sequence[Collected]) -> str:
    metric = next((each.metric for each in collected if each.metric), "accuracy")
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


def stand_in(collected: Collected) -> str:
    """Say which data stand for which."""
    data = collected.used[0].result["dataset"]
    word = data if data != collected.stands_for else "other data"
    return f"{word} stand in for {collected.stands_for}"


def _line(
    row: Row, collected: Collected | None, table: Table, marks: dict[str, str], faithful: bool
) -> Line:
    used = collected.used if collected else ()
    values = tuple(
        (run, value)
        for run in used
        if (value := run.value(table.selection, row.split, row.kind)) is not None
    )
    ours = summary([value for _, value in values]) if values else None
    preset = collected.cell.preset if collected else "paper"
    protocol = [] if faithful else [f"{preset}, not the paper's protocol"]
    if collected and collected.stands_for:
        protocol.append(stand_in(collected))
    verdict = None
    if row.paper and row.cell and not protocol:
        verdict = compare(ours, row.paper)
    mark = marks[row.note] if row.note else ""
    return Line(row, collected, ours, values, verdict, mark, "; ".join(protocol))


def _issues(table: Table, found: dict[str, Collected]) -> list[Issue]:
    issues = []
    for name in table.cells:
        if name not in found:
            issues.append(Issue(name, "missing", "the cell was not collected", ()))
            continue
        issues += unused_of(found[name])
        wanting = [run for run in found[name].used if _lacks(table, name, run)]
        if wanting:
            reason = "has not all of the table's figures (evaluated with other settings?)"
            issues.append(Issue(name, "incomplete", reason, tuple(wanting)))
    return issues


def _lacks(table: Table, cell: str, run: CollectedRun) -> bool:
    rows = [row for row in table.rows if row.cell == cell]
    return any(run.value(table.selection, row.split, row.kind) is None for row in rows)


def _environments(collected: Sequence[Collected]) -> list[tuple[dict[str, str], int]]:
    """Return each environment of the figures' runs, and of how many runs it is."""
    number = Counter(tuple(environment(run).items()) for each in collected for run in each.used)
    return [(dict(items), count) for items, count in number.most_common()]


def environment(run: CollectedRun) -> dict[str, str]:
    """Return hardware, versions and commit of a run, in words."""
    found = run.environment
    versions: Any = found.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    git: Any = found.get("git")
    commit = str(git.get("commit"))[:10] if isinstance(git, dict) else "unknown"
    return {
        "device": str(run.result.get("device")),
        "processor": str(found.get("gpu") or found.get("cpu") or "unknown"),
        "platform": str(found.get("platform") or "unknown"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items() if v) or "unknown",
        "commit": f"{commit}{' with uncommitted changes' if run.dirty else ''}",
        "code": run.code,
    }


def spread_text(one: Summary) -> str:
    """Return mean ± population standard deviation; the mean alone of one run."""
    text = f"{one.mean:.2f}"
    return text if one.sample_std is None else f"{text} ± {one.population_std:.2f}"


def quoted_text(figure: Quoted | None) -> str:
    """Return a published figure with the digits that were printed."""
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
    """Return the way from a report's folder to a run's, with forward slashes."""
    return Path(os.path.relpath(run.expected.folder.path, folder)).as_posix()


def header(report: Content, *, short: bool = False) -> list[str]:
    """Return the table's columns; ``short`` leaves out what a terminal has no room for."""
    columns = ["", *(["Split"] if report.splits else [])]
    columns += ["Paper"] if report.compared else []
    columns += ["Earlier reproduction"] if report.earlier and not short else []
    columns += ["Ours", "n"]
    columns += [] if short else ["Sample std", "95 % interval"]
    return columns + (["Difference", "Verdict"] if report.compared else [])


def cells(report: Content, line: Line, *, short: bool = False) -> list[str]:
    """Return a line's cells, as plain text."""
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


def groups(report: Content) -> list[tuple[str, list[Line]]]:
    """Return the lines under their headings, in order."""
    found: dict[str, list[Line]] = {}
    for line in report.lines:
        found.setdefault(line.row.group, []).append(line)
    return list(found.items())
