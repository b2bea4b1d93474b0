"""A report as one HTML page that needs nothing else: table, curves, diagnostics, runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bnnrepro.report.collect import Collected, CollectedRun
from bnnrepro.report.curves import Columns, band, diagnostics, metrics
from bnnrepro.report.render.layout import (
    DASH,
    VERDICTS,
    Content,
    cells,
    groups,
    header,
    relative,
    spread_text,
    stand_in,
)
from bnnrepro.report.render.svg import Curve, plot
from bnnrepro.report.statistics import summary
from bnnrepro.screen import printable

_UNFINISHED = ("running", "interrupted", "stale", "failed", "queued")
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Plot:
    """A picture with its caption; ``splits`` are the curves that its key names."""

    caption: str
    picture: Markup
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """What the page says of a cell."""

    name: str
    what: str
    status: str
    plots: tuple[Plot, ...]
    diagnostics: tuple[Plot, ...]
    last: tuple[tuple[str, str], ...]
    runs: tuple[tuple[CollectedRun, str], ...]


def page(report: Content, folder: Path) -> str:
    """Return the page; links to runs are relative to ``folder``, where it will lie."""
    environment = Environment(
        loader=PackageLoader("bnnrepro.report.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        header=header(report),
        verdicts=VERDICTS,
        groups=[(name, [cells(report, line) for line in lines]) for name, lines in groups(report)],
        cards=[_card(report, each, folder) for each in report.collected],
    )


def _plain(value: object) -> object:
    """Return what the page shows of a value; a picture is safe as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _card(report: Content, collected: Collected, folder: Path) -> Card:
    runs, unfinished = _drawn(collected)
    columns = [run.metrics for run in runs if run.metrics]
    cell = collected.cell
    what = f"{cell.method} on {cell.dataset}, {cell.model}"
    if not report.compared:
        what += f" [{report.preset}, not the paper's protocol]"
    if collected.stands_for:
        what += f" ({stand_in(collected)})"
    own = diagnostics(columns)
    return Card(
        cell.name,
        what,
        _status(collected, unfinished and bool(columns)),
        tuple(_curves(cell.name, columns)),
        tuple(_diagnostic(cell.name, columns, name) for name in own),
        tuple((name, _last(columns, name)) for name in own),
        tuple((run, quote(relative(run, folder))) for run in collected.used),
    )


def _drawn(collected: Collected) -> tuple[Sequence[CollectedRun], bool]:
    """Return the runs whose curves are shown: the finished, else what the unfinished have."""
    if collected.used:
        return collected.used, False
    return [run for run in collected.unused if run.state in _UNFINISHED], True


def _status(collected: Collected, unfinished: bool) -> str:
    text = f"{len(collected.used)} of {len(collected.cell.runs)} runs done"
    return f"{text}; the curves are of unfinished runs" if unfinished else text


def _curves(cell: str, columns: Sequence[Columns]) -> list[Plot]:
    plots = []
    for metric in metrics(columns):
        found = [(split, band(columns, f"{split}_{metric}")) for split in _SPLITS]
        curves = [Curve(split, split, each) for split, each in found if each is not None]
        if curves:
            title = f"{cell}: {metric} by epoch"
            picture = Markup(plot(title, curves, zoom=True))
            caption = f"{metric}, mean and one standard deviation over seeds"
            plots.append(Plot(caption, picture, tuple(each.label for each in curves)))
    return plots


def _diagnostic(cell: str, columns: Sequence[Columns], name: str) -> Plot:
    found = band(columns, name)
    if found is None:
        return Plot(f"{name}: no finite value", Markup(""))
    curve = Curve(name, "own", found)
    return Plot(name, Markup(plot(f"{cell}: {name} by epoch", [curve])))


def _last(columns: Sequence[Columns], name: str) -> str:
    values = [float(each[name][-1]) for each in columns if name in each]
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return DASH
    one = summary(finite)
    if abs(one.mean) >= 0.1:
        return spread_text(one)
    spread = "" if one.sample_std is None else f" ± {one.population_std:.1e}"
    return f"{one.mean:.3e}{spread}"
