"""Charts of any runs by matplotlib, and their files: inline SVG, PNG, PDF, CSV.

A line over seeds is the mean, its band one sample standard deviation (n - 1) to either side. The
names and colours are those of ``bnnrepro.report.style``.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pandas as pd

from bnnrepro.report.published import SPLITS
from bnnrepro.report.style import (
    COLOURS,
    DARK,
    INK,
    STD,
    axis_label,
    looks,
    method_label,
    methods,
)
from bnnrepro.report.style import style as charts_style
from bnnrepro.runs import atomic
from bnnrepro.screen import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE, _FONT = (3.6, 2.5), 9  # inches and points: legible at a phone's width
_MAX_POINTS = 160  # of a line at this size


def bands(curves: pd.DataFrame, value: str, by: Sequence[str], x: str = "epoch") -> pd.DataFrame:
    """Return a column over seeds: its mean, sample standard deviation and number at each x.

    Each x averages the runs that reached it: a run that stopped early counts up to there. Values
    that are missing or not finite are left out.

    Args:
        curves: a row per run and x.
        value: the column.
        by: columns whose values name a line; their order of appearance stays.
        x: the column of the horizontal axis.

    Returns:
        The columns ``by``, ``x``, ``mean``, ``std`` (NaN where n is 1) and ``n``, sorted by x.
    """
    names = list(by)
    if value not in curves:
        return pd.DataFrame(columns=[*names, x, "mean", "std", "n"])
    finite = curves[[*names, x, value]].astype({value: float}).replace([np.inf, -np.inf], np.nan)
    groups = finite.dropna(subset=[x, value]).groupby([*names, x], sort=False, dropna=False)[value]
    table = groups.agg(mean="mean", std="std", n="count").reset_index()
    order = table.groupby(names, sort=False, dropna=False).ngroup()
    return table.iloc[np.lexsort((table[x], order))].reset_index(drop=True)


def panels(
    tables: Mapping[str, pd.DataFrame],
    by: str,
    styles: Mapping[str, Mapping[str, Any]],
    x: str = "epoch",
    *,
    rows: int = 1,
    log: bool = False,
    shared: bool = False,
    size: tuple[float, float] | None = None,
) -> tuple[Figure, Any]:
    """Return a figure with a panel per table, and its axes as an array of rows.

    Args:
        tables: tables of ``bands``, by the panels' titles; an empty one is a panel that says so.
        by: the column whose values name the lines.
        styles: label, colour and more of each line, by its name.
        x: the column of the horizontal axis.
        rows: of panels.
        log: make the vertical axis logarithmic where a value is positive.
        shared: give all panels the same axes, which then show all values.
        size: width and height in inches.
    """
    from matplotlib.figure import Figure

    columns = math.ceil(len(tables) / rows)
    figure = Figure(figsize=size or (2.4 * max(columns, 2), 0.8 + 1.8 * rows))
    grid = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
    for axes in grid.flat[len(tables) :]:
        axes.set_visible(False)
    for axes, (title, table) in zip(grid.flat, tables.items(), strict=False):
        axes.set_title(title)
        if log and (table["mean"] > 0).any():
            logarithmic(axes, "y")
        for name, look in styles.items():
            _plot_band(axes, table[table[by] == name], x, look)
        if not shared or table.empty:
            fit_y_axis(axes, table)
    for axes in grid[-1]:
        axes.set_xlabel(x)
    return figure, grid


def _plot_band(axes: Axes, band: pd.DataFrame, x: str, look: Mapping[str, Any]) -> None:
    """Plot a line of ``bands`` and its band; a single point is a dot.

    On a logarithmic axis zeros are left out, and the band ends at a tenth of the mean.
    """
    if band.empty:
        return
    mean, std = (band[name].to_numpy(float) for name in ("mean", "std"))
    low, high = mean - np.nan_to_num(std), mean + np.nan_to_num(std)
    if axes.get_yscale() == "log":
        mean = np.where(mean > 0, mean, np.nan)
        low = np.maximum(low, mean / 10)
    axes.plot(band[x], mean, **{"marker": "o" if len(band) == 1 else None, "ms": 4, **look})
    if np.nansum(std):
        axes.fill_between(band[x], low, high, color=look["color"], alpha=0.18, linewidth=0)


def fit_y_axis(axes: Axes, table: pd.DataFrame) -> None:
    """Leave out the lowest values of the first epochs; without values, write ``no run done``."""
    if table.empty:
        axes.text(0.5, 0.5, "no run done", transform=axes.transAxes, ha="center", color=INK)
        axes.set(xticks=[], yticks=[])
        return
    std = table["std"].fillna(0)
    low = float((table["mean"] - std).quantile(0.1))
    high = float((table["mean"] + std).max())
    if len(table) > 20 and low < high and axes.get_yscale() == "linear":
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


def logarithmic(axes: Axes, name: str) -> None:
    """Make the axis ``x`` or ``y`` logarithmic, with plain numbers: ``0.01``."""
    from matplotlib.ticker import LogFormatter

    axes.set(**{f"{name}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[name]
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))


def legend_below(figure: Figure, columns: int = 5, **options: Any) -> None:
    """Put one legend for all axes below them; ``options`` are those of ``Figure.legend``."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        handles, names = list(entries.values()), list(entries)
        columns = min(columns, len(entries))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, **options)


@charts_style(_FONT)
def learning_curves(
    curves: pd.DataFrame, metric: str, by: str, *, title: str = f"mean and {STD}"
) -> Figure:
    """Plot a metric by epoch: a line and a band for each group of runs.

    Other values than accuracies that span more than two decades get a logarithmic axis; else the
    axis leaves out the lowest values of the first epochs.

    Args:
        curves: a row per run and epoch, with the columns ``epoch``, ``metric`` and ``by``.
        metric: a column of ``metrics.csv``, such as ``test_accuracy``.
        by: the column whose values name a group; methods have the colours of all figures.
        title: the line above.
    """
    table = bands(curves, metric, [by])
    names = [str(name) for name in table[by].unique()]
    labels = {name: method_label(printable(name)) for name in names}
    styles = looks(None if set(names) <= set(methods()) else labels)
    values = table["mean"][table["mean"] > 0]
    wide = len(values) and values.max() > 100 * values.min() and (table["mean"] >= 0).all()
    log = bool(wide) and not metric.endswith("accuracy")
    thin = pd.concat([table[:0], *map(_thinned, table.groupby(by, sort=False, dropna=False))])
    shown = {title: thin.astype({by: str})}
    figure, ((axes,),) = panels(shown, by, styles, log=log, size=_SIZE)
    axes.set_ylabel(axis_label(metric))
    if len(names) > 1:
        legend_below(figure, 3)
    return figure


def _thinned(group: tuple[Any, pd.DataFrame]) -> pd.DataFrame:
    _, band = group
    places = np.linspace(0, len(band) - 1, min(len(band), _MAX_POINTS))
    return band.iloc[places.round().astype(int)]


def diagnostics(columns: Iterable[str]) -> list[str]:
    """Return the names of the method's or the task's own columns, in order."""
    general = ("epoch", "lr", "seconds")
    return [n for n in columns if n not in general and n.partition("_")[0] not in SPLITS]


def metrics(columns: Iterable[str]) -> list[str]:
    """Return the splits' metrics other than the loss: ``accuracy``."""
    parts = (name.partition("_") for name in columns)
    names = dict.fromkeys(metric for split, _, metric in parts if split in SPLITS and metric)
    return [name for name in names if name != "loss"]


@charts_style(_FONT)
def intervals(summary: pd.DataFrame, metric: str, *, title: str = "") -> Figure:
    """Plot a line per group: its runs as dots, the mean, the mean's 95 % interval.

    Args:
        summary: a row per group, from above, with the columns ``label``, ``mean``,
            ``interval_low`` and ``interval_high`` (missing where there is one run), ``values``
            (a list of the runs' values), and perhaps ``published`` (missing where there is none).
        metric: the axis's label, such as ``test_accuracy``.
        title: the line above.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], 1.1 + 0.3 * len(summary)))
    axes = figure.subplots()
    place = np.arange(len(summary))
    mean = summary["mean"].to_numpy(float)
    ends = summary[["interval_low", "interval_high"]].to_numpy(float).T
    blue, orange = COLOURS[0], COLOURS[1]
    for y, values in zip(place, summary["values"], strict=True):
        dots = "runs" if y == 0 else None
        axes.plot(values, [y + 0.2] * len(values), ".", color=INK, ms=4, alpha=0.6, label=dots)
    bars = np.nan_to_num(abs(ends - mean))
    name = "mean, 95 % interval"
    axes.errorbar(mean, place, xerr=bars, fmt="o", color=blue, ms=4.5, capsize=3, label=name)
    if "published" in summary and summary["published"].notna().any():
        theirs = summary["published"].to_numpy(float)
        axes.plot(theirs, place, "D", color=orange, mfc="none", ms=6, label="published")
    axes.set_yticks(place, [method_label(printable(str(label))) for label in summary["label"]])
    axes.set(title=title, xlabel=axis_label(metric), ylim=(len(summary) - 0.5, -0.5))
    legend_below(figure, 3, handlelength=1.2, columnspacing=1)
    return figure


@charts_style()
def svg(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element for a page: as wide as its place, in light and dark.

    Text stays text, in the page's font and colour. The same figure gives the same characters.

    Args:
        figure: drawn in the colours of ``style``.
        title: description for screen readers, unique in the page.
    """
    content = io.StringIO()
    hidden = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", transparent=True, metadata=hidden)
    title, text = printable(title), content.getvalue()
    box = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', text)
    assert box is not None
    name = f"chart-{crc32((title + text).encode()):08x}"
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text[text.index(">", box.end()) + 1 :])
    for colour in (c for c in DARK if c in text):
        text = text.replace(colour, f"var(--{colour[1:]},{colour})")
    dark = ";".join(f"--{light[1:]}:{dark}" for light, dark in DARK.items() if light[1:] in text)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r'\b[dxy]="[^"]*"', lambda match: _short(match[0]), text)
    used = set(re.findall(r"#(\w+)[)\"]", text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(?:xlink:)?href=\"#", f'href="#{name}-', text)
    text = re.sub(r">\s+<", "><", text.replace("url(#", f"url(#{name}-"))
    width = f"{float(box[1]) * 1.6:.0f}px"
    look = f"display:block;margin:auto;width:100%;max-width:{width};height:auto"
    return (
        f'<svg id="{name}" class="chart" role="img" aria-label="{escape(title)}" {box[0]} '
        f'style="{look};fill:currentColor;stroke-linejoin:round;stroke-linecap:butt">'
        f"<style>@media (prefers-color-scheme:dark){{#{name}{{{dark}}}}}</style>{text}"
    )


def _short(numbers: str) -> str:
    return re.sub(r"\d+\.\d+", lambda number: f"{round(float(number[0]), 2):g}", numbers)


def save(figure: Figure, folder: Path, stem: str, data: pd.DataFrame) -> list[Path]:
    """Write a figure as PNG and PDF and its data as CSV, each atomically; return the files.

    There are no dates in them: the same runs give the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.{suffix}" for suffix in ("png", "pdf", "csv")]
    for file, metadata in zip(files, ({"Software": None}, {"CreationDate": None}), strict=False):
        content = io.BytesIO()
        with charts_style():
            figure.savefig(content, format=file.suffix[1:], metadata=metadata)
        atomic.write_bytes(file, content.getvalue())
    atomic.write_text(files[-1], data.to_csv(index=False, lineterminator="\n"))
    return files
