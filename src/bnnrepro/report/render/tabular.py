"""A report as data: CSV with a row per line of the table, and JSON with all of its runs."""

import csv
import io
from pathlib import Path
from typing import Any

from bnnrepro.report.published import Quoted
from bnnrepro.report.render.layout import Line, Report, relative
from bnnrepro.screen import printable


def as_csv(report: Report) -> str:
    """Return a row per line of the table; unknown values are empty."""
    rows = [_flat(report, line) for line in report.lines]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return printable(text.getvalue(), lines=True)


def as_json(report: Report, folder: Path) -> dict[str, Any]:
    """Return the whole report; folders of runs are relative to ``folder``."""
    return {
        "table": report.table.name,
        "title": report.title,
        "preset": report.preset,
        "protocol": report.warning or None,
        "compared_with_paper": report.compared,
        "selection": report.table.selection,
        "progress": report.progress,
        "lines": [
            _flat(report, line)
            | {
                "runs": [
                    {"seed": run.expected.seed, "folder": relative(run, folder), "value": value}
                    for run, value in line.values
                ]
            }
            for line in report.lines
        ],
        "notes": dict(report.notes),
        "not_in_the_table": [
            {
                "cell": issue.cell,
                "state": issue.state,
                "reason": issue.reason,
                "runs": [
                    {"seed": run.expected.seed, "folder": relative(run, folder)}
                    for run in issue.runs
                ],
            }
            for issue in report.issues
        ],
        "uncommitted_changes": list(report.marked),
        "environments": [{"runs": count, **record} for record, count in report.environments],
    }


def _flat(report: Report, line: Line) -> dict[str, Any]:
    row, ours, verdict = line.row, line.ours, line.verdict
    interval = ours.interval if ours else None
    values: dict[str, Any] = {
        "group": row.group,
        "label": row.label,
        "cell": row.cell,
        "prediction": row.prediction,
        "split": row.split,
        "metric": line.results.metric if line.results else None,
        "selection": report.table.selection,
        "preset": report.preset,
        "protocol": line.protocol or ("the paper's" if report.compared else None),
        "n": len(line.values),
        "expected": line.expected,
        "mean": ours.mean if ours else None,
        "population_std": ours.population_std if ours and ours.n > 1 else None,
        "sample_std": ours.sample_std if ours else None,
        "interval_low": interval[0] if interval else None,
        "interval_high": interval[1] if interval else None,
    }
    if report.compared:
        values |= _quoted("paper", row.paper) | _quoted("earlier", row.earlier)
        values |= {
            "difference": verdict.difference if verdict else None,
            "p": verdict.p if verdict else None,
            "p_low": verdict.p_range[0] if verdict and verdict.p_range else None,
            "p_high": verdict.p_range[1] if verdict and verdict.p_range else None,
            "verdict": verdict.text if verdict else None,
        }
    return values


def _quoted(name: str, figure: Quoted | None) -> dict[str, Any]:
    keys = ("mean", "std", "ddof", "runs", "selection", "source")
    return {f"{name}_{key}": getattr(figure, key, None) for key in keys}
