"""Shared parts of the figures: style, colour-blind-safe palette, titles and remarks, files.

The colours are Okabe and Ito's; lines differ in dashes and markers as well, for print in grey.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnrepro.report.collect import CellResults
from bnnrepro.report.curves import Band, Columns
from bnnrepro.report.tables import DATASETS, SHORTENED
from bnnrepro.runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_NAMES = {
    "bayesbinn": "BayesBiNN",
    "ste": "STE",
    "bop": "Bop",
    "pmf": "PMF",
    "full_precision": "Full precision",
}
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,  # text that stays text
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Set the style of all figures, without a display."""
    import matplotlib
    from matplotlib import rc_context

    matplotlib.use("agg")
    with rc_context(_STYLE):
        yield


def method_label(method: str) -> str:
    """Return a method's name as figures print it."""
    return _NAMES.get(method, method)


def line_style(name: str, names: Sequence[str] = tuple(_NAMES)) -> dict[str, Any]:
    """Return colour and dashes of a method, or of another of ``names``, the same everywhere."""
    index = names.index(name) if name in names else len(names)
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}


def axis_label(split: str, metric: str) -> str:
    """Return an axis's label; an accuracy is in percent."""
    return f"{split} {metric} (%)" if metric == "accuracy" else f"{split} {metric}"


def by_dataset(collected: Sequence[CellResults]) -> dict[str, list[CellResults]]:
    """Return the cells by their data set's name as tables print it, in order."""
    groups: dict[str, list[CellResults]] = {}
    for results in collected:
        dataset = results.cell.dataset
        groups.setdefault(DATASETS.get(dataset, dataset), []).append(results)
    return groups


def columns_of(results: CellResults) -> list[Columns]:
    """Return the metrics of a cell's finished runs."""
    return [run.metrics for run in results.used if run.metrics]


def plot_band(axes: Axes, band: Band, label: str, style: Mapping[str, Any]) -> None:
    """Plot a line and the band of one standard deviation over seeds."""
    axes.plot(band.x, band.mean, label=label, **style)
    axes.fill_between(band.x, band.low, band.high, color=style["color"], alpha=0.18, linewidth=0)


def fit_y_axis(axes: Axes, bands: Sequence[Band]) -> None:
    """Leave out the lowest values of the first epochs; without bands, write ``no run done``."""
    if not bands:
        axes.text(0.5, 0.5, "no run done", transform=axes.transAxes, ha="center", color=INK)
        axes.set(xticks=[], yticks=[])
        return
    low = min(float(np.quantile(band.low, 0.1)) for band in bands)
    high = max(float(band.high.max()) for band in bands)
    if len(bands[0].x) > 20 and low < high:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


def heading(title: str, collected: Sequence[CellResults]) -> str:
    """Return a figure's title, with its remarks below."""
    return "\n".join([title, *remarks(collected)])


def remarks(collected: Sequence[CellResults]) -> list[str]:
    """Return remarks on a shortened protocol, on data that stand in, and on missing runs."""
    lines = []
    preset = collected[0].cell.preset if collected else "paper"
    if preset != "paper":
        lines.append(f"preset {preset}: {SHORTENED}")
    replaced = dict.fromkeys(results.stands_for for results in collected if results.stands_for)
    if replaced:
        lines.append(f"other data stand in for {', '.join(map(str, replaced))}")
    done = sum(len(results.used) for results in collected)
    runs = sum(len(results.runs) for results in collected)
    if done < runs:
        lines.append(f"{done} of {runs} runs done")
    return lines


def other_settings(collected: Sequence[CellResults]) -> list[str]:
    """Return a remark on runs whose mean has other draws than their cell asks for; or none."""
    runs = [run for results in collected for run in results.used]
    with_mean = [run for run in runs if "mean" in run.result["final"].get("test", {})]
    left_out = sum(not run.evaluation("mean") for run in with_mean)
    reason = "evaluated with other settings"
    return [f"mean of {left_out} of {len(runs)} runs left out: {reason}"] if left_out else []


def legend_below(figure: Figure, columns: int = 5) -> None:
    """Put one legend for all axes below them."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=min(columns, len(entries)),
            handlelength=3.2,
        )


def finish(
    figure: Figure,
    title: str,
    collected: Sequence[CellResults],
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    name: str,
) -> list[Path]:
    """Add heading and legend to a figure and save it; return the files."""
    figure.suptitle(heading(title, collected), fontsize=9)
    legend_below(figure)
    return save(figure, rows, folder, name)


def save(figure: Figure, rows: Sequence[Mapping[str, Any]], folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, its data as CSV, each atomically; return the files."""
    import matplotlib.pyplot as plt

    files = save_picture(figure, folder, name)
    plt.close(figure)
    files.append(folder / f"{name}.csv")
    atomic.write_text(files[-1], _csv(rows))
    return files


def save_picture(figure: Figure, folder: Path, name: str, **options: Any) -> list[Path]:
    """Write a picture as PNG and PDF, without dates: the same runs give the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        content = io.BytesIO()
        figure.savefig(content, format=suffix, metadata=metadata, **options)
        files.append(folder / f"{name}.{suffix}")
        atomic.write_bytes(files[-1], content.getvalue())
    return files


def band_rows(band: Band, first: Mapping[str, Any], x_name: str = "epoch") -> list[dict[str, Any]]:
    """Return a band as rows of a figure's CSV, with the columns ``first`` before its own."""
    columns = (column.tolist() for column in (band.x, band.mean, band.std, band.n))
    return [
        {**first, x_name: int(x) if x_name == "epoch" else x}
        | {"mean": mean, "population_std": std, "n": n}
        for x, mean, std, n in zip(*columns, strict=True)
    ]


def id_columns(results: CellResults) -> dict[str, Any]:
    """Return the columns with which every row of a figure's CSV begins."""
    cell = results.cell
    return {
        "cell": cell.name,
        "preset": cell.preset,
        "stands_for": results.stands_for,
        "dataset": cell.dataset,
        "method": cell.method,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
