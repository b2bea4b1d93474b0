"""A report as one self-contained HTML page: table, curves, diagnostics, runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.curves import Columns, band, diagnostics, metrics
from bnnrepro.report.published import SPLITS
from bnnrepro.report.render.layout import (
    DASH,
    VERDICTS,
    Report,
    groups,
    header,
    relative,
    row_texts,
    spread_text,
    stand_in,
)
from bnnrepro.report.render.svg import Curve, plot
from bnnrepro.report.statistics import summarise
from bnnrepro.report.tables import SHORTENED
from bnnrepro.screen import printable

_UNFINISHED = ("running", "interrupted", "stale", "failed", "queued")


@dataclass(frozen=True)
class Plot:
    """A picture with its caption; ``splits`` are the curves in its legend."""

    caption: str
    picture: Markup
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """A cell's part of the page."""

    name: str
    summary: str
    status: str
    plots: tuple[Plot, ...]
    diagnostics: tuple[Plot, ...]
    last: tuple[tuple[str, str], ...]
    runs: tuple[tuple[CollectedRun, str], ...]


def page(report: Report, folder: Path) -> str:
    """Return the page; links to runs are relative to ``folder``, where it will be written."""
    environment = Environment(
        loader=PackageLoader("bnnrepro.report.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        header=header(report),
        verdicts=VERDICTS,
        groups=[
            (heading, [row_texts(report, line) for line in lines])
            for heading, lines in groups(report)
        ],
        cards=[_card(report, results, folder) for results in report.collected],
    )


def _shown(value: object) -> object:
    """Return a value without control characters; a picture is safe as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _card(report: Report, results: CellResults, folder: Path) -> Card:
    unfinished = [run for run in results.unused if run.state in _UNFINISHED]
    runs = [run.metrics for run in results.used or unfinished if run.metrics]
    cell = results.cell
    summary = f"{cell.method} on {cell.dataset}, {cell.model}"
    if not report.compared:
        summary += f" [{report.preset}, {SHORTENED}]"
    if results.stands_for:
        summary += f" ({stand_in(results)})"
    status = f"{len(results.used)} of {len(cell.runs)} runs done"
    if runs and not results.used:
        status += "; the curves are of unfinished runs"
    own = diagnostics(runs)
    return Card(
        cell.name,
        summary,
        status,
        tuple(_curves(cell.name, runs)),
        tuple(_diagnostic(cell.name, runs, name) for name in own),
        tuple((name, _last(runs, name)) for name in own),
        tuple((run, quote(relative(run, folder))) for run in results.used),
    )


def _curves(cell: str, runs: Sequence[Columns]) -> list[Plot]:
    plots = []
    for metric in metrics(runs):
        bands = {split: band(runs, f"{split}_{metric}") for split in SPLITS}
        curves = [Curve(split, split, b) for split, b in bands.items() if b is not None]
        if curves:
            picture = Markup(plot(f"{cell}: {metric} by epoch", curves, zoom=True))
            caption = f"{metric}, mean and one standard deviation over seeds"
            plots.append(Plot(caption, picture, tuple(curve.label for curve in curves)))
    return plots


def _diagnostic(cell: str, runs: Sequence[Columns], name: str) -> Plot:
    curve = band(runs, name)
    if curve is None:
        return Plot(f"{name}: no finite value", Markup(""))
    return Plot(name, Markup(plot(f"{cell}: {name} by epoch", [Curve(name, "own", curve)])))


def _last(runs: Sequence[Columns], name: str) -> str:
    values = [float(columns[name][-1]) for columns in runs if name in columns]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return DASH
    stats = summarise(finite)
    if abs(stats.mean) >= 0.1:
        return spread_text(stats)
    spread = "" if stats.sample_std is None else f" ± {stats.population_std:.1e}"
    return f"{stats.mean:.3e}{spread}"
