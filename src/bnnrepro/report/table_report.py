"""A table of the paper as a document: ours beside the published figures, from collected runs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from bnnrepro.report import charts
from bnnrepro.report.collect import CellResults, CollectedRun, Issue, issue_lines, issues
from bnnrepro.report.compare import warning
from bnnrepro.report.published import SELECTIONS, SPLITS, Quoted
from bnnrepro.report.render.document import DASH, Document, Section
from bnnrepro.report.statistics import Stats, Verdict, compare, mean_and_std, summarise
from bnnrepro.report.style import STD
from bnnrepro.report.tables import DATASETS, NOTES, SHORTENED, Entry, Table
from bnnrepro.screen import printable

VERDICTS = (
    "Welch's test at 5 %, the published spread turned into a sample's. “Agrees” means that no "
    "difference was found, which with few runs leaves room for one; “differs” is said only where "
    "no rounding of the published digits would undo it."
)
_DDOF = {0: "population std", 1: "sample std"}
_UNFINISHED = ("running", "interrupted", "stale", "failed", "queued")


@dataclass(frozen=True)
class Line:
    """An entry of a table with its runs' values; the verdict is None where nothing is compared."""

    entry: Entry
    results: CellResults | None
    values: tuple[tuple[CollectedRun, float], ...]
    ours: Stats | None
    verdict: Verdict | None


def document(table: Table, collected: Sequence[CellResults]) -> Document:
    """Return a table of the paper in its shape: rows and columns as printed, ours beside them.

    Published figures are shown only at the preset ``paper``. Columns of which no run is done are
    left out, and named.

    Args:
        table: the layout.
        collected: its cells, all of one preset; an absent one is reported as missing.

    Raises:
        ValueError: the cells are of several presets, or there are none.
    """
    presets = {results.cell.preset for results in collected}
    if len(presets) != 1:
        raise ValueError(f"a table is of one preset, not of {', '.join(sorted(presets)) or 'none'}")
    (preset,) = presets
    compared = preset == "paper" and any(entry.paper for entry in table.entries)
    by_name = {results.cell.name: results for results in collected}
    present = [by_name[name] for name in table.cells if name in by_name]
    entries = [entry for entry in table.entries if compared or entry.cell is not None]
    lines = [_line(entry, by_name.get(entry.cell or ""), table, compared) for entry in entries]
    sections, empty = _sections(lines, compared)
    found = _issues(table, by_name)
    runs = [run for results in present for run in results.used]
    counts = Counter(tuple(_environment(run).items()) for run in runs)
    environments = [(count, dict(items)) for items, count in counts.most_common()]
    done, planned = len(runs), sum(len(results.cell.runs) for results in present)
    progress = f"{done:,} of {planned:,} runs done"
    shortened = "" if compared else f" (preset {preset}: {SHORTENED})"
    curves = _curves(table, present)
    return Document(
        title=f"{f'Table {table.name}. ' if table.name.isdigit() else ''}{table.title}{shortened}",
        warning=_warning(preset, present),
        about=_about(table, present, compared, progress, empty),
        sections=sections,
        notes=[(mark, NOTES[note]) for note, mark in _marks(entries).items()],
        lists=[
            (heading, texts)
            for heading, texts in {
                "Verdicts": [VERDICTS, *_untested(lines)] if compared else [],
                "Earlier reproduction": [*_earlier(lines)] if compared else [],
                "Not in the table": issue_lines(found),
                "Diagnostics at the last epoch": [*_last(curves)],
                "Run with uncommitted changes": [run.name for run in runs if run.dirty],
                "Environment": [
                    f"{count} run{'s' * (count > 1)}: "
                    + ", ".join(f"{key} {value}" for key, value in where.items())
                    for count, where in environments
                ],
            }.items()
            if texts
        ],
        charts=[*_intervals(lines, compared), *_curve_charts(curves)],
        data=pd.DataFrame([_flat(line, table, preset, compared) for line in lines]),
        extra={
            "table": table.name,
            "preset": preset,
            "compared_with_paper": compared,
            "selection": table.selection,
            "progress": progress,
            "values": [
                {"entry": line.entry.name, "seed": run.expected.seed, "run": run.name, "value": x}
                for line in lines
                for run, x in line.values
            ],
            "not_in_the_table": [
                {"cell": issue.cell, "state": issue.state, "reason": issue.reason}
                | {"runs": [run.name for run in issue.runs]}
                for issue in found
            ],
            "environments": [{"runs": count, **where} for count, where in environments],
        },
        runs=[(run.name, run.expected.folder.path) for run in runs],
    )


def _line(entry: Entry, results: CellResults | None, table: Table, compared: bool) -> Line:
    values = tuple(
        (run, value)
        for run in (results.used if results else ())
        if (value := run.value(table.selection, entry.split, entry.prediction)) is not None
    )
    ours = summarise([value for _, value in values]) if values else None
    tested = compared and entry.paper is not None and entry.cell is not None
    verdict = compare(ours, entry.paper) if tested and entry.paper else None
    return Line(entry, results, values, ours, verdict)


def _marks(entries: Sequence[Entry]) -> dict[str, str]:
    notes = dict.fromkeys(entry.note for entry in entries if entry.note)
    return {note: str(number) for number, note in enumerate(notes, 1)}


def _sections(lines: Sequence[Line], compared: bool) -> tuple[list[Section], list[str]]:
    """Return the table's sections, and the names of columns and sections without a run."""
    marks = _marks([line.entry for line in lines])
    sections, empty = [], []
    for heading in dict.fromkeys(line.entry.section for line in lines):
        own = [line for line in lines if line.entry.section == heading]
        columns = [name for name, part in _grouped(own) if any(line.values for line in part)]
        left_out = [name for name, _ in _grouped(own) if name not in columns]
        if not columns:
            empty.append(heading or ", ".join(left_out))
            continue
        empty += [f"{heading} {name}".strip() for name in left_out]
        rows: dict[str, list[str]] = {}
        for line in (line for line in own if line.entry.column in columns):
            mark = f" [{marks[line.entry.note]}]" if line.entry.note else ""
            name = f"{line.entry.row}{mark}"
            rows.setdefault(name, [name]).extend(_texts(line, compared))
        parts = ("paper", "ours", "verdict")
        header = [f"{name}: {part}" for name in columns for part in parts] if compared else columns
        sections.append(Section(heading, ["", *header], list(rows.values())))
    return sections, empty


def _grouped(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Return the lines of each column, in order."""
    names = dict.fromkeys(line.entry.column for line in lines)
    return [(name, [line for line in lines if line.entry.column == name]) for name in names]


def _texts(line: Line, compared: bool) -> list[str]:
    """Return the cells of an entry: ours, with the paper's and the verdict where compared."""
    ours = "no run done" if line.ours is None else f"{spread_text(line.ours)} ({line.ours.n})"
    ours = DASH if line.entry.cell is None else ours
    if not compared:
        return [ours]
    verdict = line.verdict
    tested = verdict is not None and verdict.p is not None
    return [quoted_text(line.entry.paper), ours, verdict.text if verdict and tested else DASH]


def _untested(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the reasons for which figures were not tested, with their names."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line.ours and line.verdict and line.verdict.p is None:
            reasons.setdefault(line.verdict.text, []).append(line.entry.name)
    yield from (f"{reason}: {'; '.join(names)}" for reason, names in reasons.items())


def _earlier(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if figure := line.entry.earlier:
            spread = "" if figure.std is None else f", {_DDOF[figure.ddof or 0]}"
            yield f"{line.entry.name}: {quoted_text(figure)} (n = {figure.runs}{spread})"


def _warning(preset: str, collected: Sequence[CellResults]) -> str:
    rows = [
        {
            "preset": preset,
            "dataset": run.result["stands_for"] or run.result["dataset"],
            "stand_in": run.result["dataset"] if run.result["stands_for"] else None,
            "code": run.code,
            "group": results.cell.name,
        }
        for results in collected
        for run in results.used
    ]
    parts = [warning(pd.DataFrame(rows))] if rows else []
    parts += ["Nothing here is compared with the paper."] if preset != "paper" else []
    return " ".join(filter(None, parts))


def _about(
    table: Table,
    collected: Sequence[CellResults],
    compared: bool,
    progress: str,
    empty: Sequence[str],
) -> str:
    metric = next((results.metric for results in collected if results.metric), "accuracy")
    unit = ", percent" if metric == "accuracy" else ""
    text = (
        f"{metric.capitalize()}{unit}, {SELECTIONS[table.selection]}. Ours: mean ± sample standard "
        "deviation (n - 1) over the number of runs in brackets. "
    )
    quoted = (entry.paper for entry in table.entries if entry.cell and entry.paper)
    if compared and (figure := next(quoted, None)):
        text += f"Paper: mean ± {_DDOF[figure.ddof or 0]} of {figure.runs} runs, as printed. "
    left_out = f"; no column for {', '.join(empty)}, of which no run is done" if empty else ""
    return f"{text}{progress}{left_out}."


def _issues(table: Table, by_name: Mapping[str, CellResults]) -> list[Issue]:
    found = []
    for name in table.cells:
        if name not in by_name:
            found.append(Issue(name, "missing", "the cell was not collected", ()))
            continue
        found += issues([by_name[name]])
        places = [entry for entry in table.entries if entry.cell == name]
        incomplete = [
            run
            for run in by_name[name].used
            if any(run.value(table.selection, e.split, e.prediction) is None for e in places)
        ]
        if incomplete:
            reason = "lacks some of the table's figures (evaluated with other settings?)"
            found.append(Issue(name, "incomplete", reason, tuple(incomplete)))
    return found


def _environment(run: CollectedRun) -> dict[str, str]:
    """Return hardware, versions and commit of a run, in words."""
    record = run.environment
    versions: Any = record.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    return {
        "device": str(run.result.get("device")),
        "processor": str(record.get("gpu") or record.get("cpu") or "unknown"),
        "platform": str(record.get("platform") or "unknown"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items() if v) or "unknown",
        "commit": run.commit,
        "code": run.code,
    }


def _flat(line: Line, table: Table, preset: str, compared: bool) -> dict[str, Any]:
    """Return an entry as a row of the CSV, unrounded."""
    entry, results, ours, verdict = line.entry, line.results, line.ours, line.verdict
    low, high = (ours.interval if ours else None) or (None, None)
    values: dict[str, Any] = {
        "section": entry.section,
        "row": entry.row,
        "column": entry.column,
        "cell": entry.cell,
        "prediction": entry.prediction,
        "split": entry.split,
        "metric": results.metric if results else None,
        "selection": table.selection,
        "preset": preset,
        "protocol": "the paper's" if compared else SHORTENED,
        "stands_for": results.stands_for if results else None,
        "n": len(line.values),
        "expected": len(results.cell.runs) if results else 0,
        "mean": ours.mean if ours else None,
        "std": ours.std if ours else None,
        "interval_low": low,
        "interval_high": high,
    }
    if compared:
        for name, figure in (("paper", entry.paper), ("earlier", entry.earlier)):
            keys = ("mean", "std", "ddof", "runs", "selection", "source")
            quoted = asdict(figure) if figure else {}
            values |= {f"{name}_{key}": quoted.get(key) for key in keys}
        p_low, p_high = (verdict.p_range if verdict else None) or (None, None)
        values |= {
            "difference": verdict.difference if verdict else None,
            "p": verdict.p if verdict else None,
            "p_low": p_low,
            "p_high": p_high,
            "verdict": verdict.text if verdict else None,
        }
    return values


def spread_text(stats: Stats) -> str:
    """Return mean ± sample standard deviation; for one run, the mean alone."""
    text = f"{stats.mean:.2f}"
    return text if stats.std is None else f"{text} ± {stats.std:.2f}"


def quoted_text(figure: Quoted | None) -> str:
    """Return a published figure with its printed digits."""
    if figure is None:
        return DASH
    text = f"{figure.mean:.{figure.digits}f}"
    return text if figure.std is None else f"{text} ± {figure.std:.{figure.digits}f}"


def _intervals(lines: Sequence[Line], compared: bool) -> Iterator[str]:
    """Yield a chart a column: each row's runs, mean, 95 % interval, and published figure."""
    for section in dict.fromkeys(line.entry.section for line in lines):
        for column, own in _grouped([line for line in lines if line.entry.section == section]):
            rows = [
                {
                    "label": line.entry.row,
                    "mean": line.ours.mean,
                    "interval_low": low,
                    "interval_high": high,
                    "values": [value for _, value in line.values],
                    "published": line.entry.paper.mean if compared and line.entry.paper else None,
                }
                for line in own
                if line.ours
                for low, high in [line.ours.interval or (None, None)]
            ]
            if rows:
                title = ", ".join(filter(None, (section, column)))
                metric = next(str(line.results.metric) for line in own if line.results)
                metric = f"{own[0].entry.split}_{metric}"
                figure = charts.intervals(pd.DataFrame(rows), metric, title=title)
                yield charts.svg(figure, f"{title}: runs, mean, 95 % interval")


def _curves(table: Table, collected: Sequence[CellResults]) -> dict[str, pd.DataFrame]:
    """Return ``metrics.csv`` of the runs of each data set, with the ``line`` that they belong to.

    A line is a method, or a row where the data set has one method. A cell without a finished run
    has the curves of its unfinished ones, which its line says.
    """
    rows = {entry.cell: entry.row for entry in reversed(table.entries)}
    frames: dict[str, list[pd.DataFrame]] = {}
    for results in collected:
        cell = results.cell
        same = [other.cell for other in collected if other.cell.dataset == cell.dataset]
        line = cell.method if len({c.method for c in same}) == len(same) else rows[cell.name]
        unfinished = [run for run in results.unused if run.state in _UNFINISHED]
        for run in results.used or unfinished:
            if run.metrics:
                name = line if results.used else f"{line}, unfinished"
                columns = {printable(key): column for key, column in run.metrics.items()}
                frame = pd.DataFrame(columns)
                frames.setdefault(DATASETS.get(cell.dataset, cell.dataset), []).append(
                    frame.assign(line=name, seed=run.expected.seed)
                )
    return {data: pd.concat(parts, ignore_index=True) for data, parts in frames.items()}


def _curve_charts(curves: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield charts of each data set: its metrics by epoch on each split, then diagnostics."""
    for data, table in curves.items():
        columns = [str(name) for name in table if name not in ("line", "seed")]
        measured = [f"{split}_{name}" for name in charts.metrics(columns) for split in SPLITS]
        for name in [name for name in (*measured, *charts.diagnostics(columns)) if name in table]:
            title = f"{data}: mean and {STD}"
            figure = charts.learning_curves(table, name, "line", title=title)
            yield charts.svg(figure, f"{data}: {name} by epoch")


def _last(curves: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield the diagnostics of each line at its runs' last epochs."""
    for data, table in curves.items():
        last = (
            table.sort_values("epoch", kind="stable").groupby(["line", "seed"], sort=False).last()
        )
        for line, runs in last.groupby("line", sort=False):
            values = {name: runs[name].dropna().tolist() for name in charts.diagnostics(runs)}
            texts = [f"{name} {mean_and_std(own)}" for name, own in values.items() if own]
            if texts:
                yield f"{data}, {line}: {', '.join(texts)}"
