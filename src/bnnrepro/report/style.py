"""What the figures share: style, colours that all can tell apart, files.

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

from bnnrepro.report.collect import Collected
from bnnrepro.report.curves import Band, Columns
from bnnrepro.report.tables import DATASETS
from bnnrepro.runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#333333"
SHORTENED = "not the paper's protocol"
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
_ORDER = ("bayesbinn", "ste", "bop", "pmf", "full_precision")
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
    """Draw in the style of all figures, without a display."""
    import matplotlib
    from matplotlib import rc_context

    matplotlib.use("agg")
    with rc_context(_STYLE):
        yield


def label(method: str) -> str:
    """Return a method's name as figures print it."""
    return _NAMES.get(method, method)


def look(method: str, known: Sequence[str] = _ORDER) -> dict[str, Any]:
    """Return colour and dashes of a method, the same in every figure."""
    names = list(known)
    place = names.index(method) if method in names else len(names)
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": DASHES[place % len(DASHES)]}


def named(split: str, metric: str) -> str:
    """Return an axis's label; an accuracy is in percent."""
    return f"{split} {metric} (%)" if metric == "accuracy" else f"{split} {metric}"


def by_dataset(collected: Sequence[Collected]) -> dict[str, list[Collected]]:
    """Return the cells by the name of their data set as tables print it, in order."""
    found: dict[str, list[Collected]] = {}
    for each in collected:
        found.setdefault(DATASETS.get(each.cell.dataset, each.cell.dataset), []).append(each)
    return found


def columns_of(collected: Collected) -> list[Columns]:
    """Return the metrics of a cell's finished runs."""
    return [run.metrics for run in collected.used if run.metrics]


def draw_band(axes: Axes, found: Band, name: str, look: Mapping[str, Any]) -> None:
    """Draw a line and the band of one standard deviation over seeds."""
    axes.plot(found.x, found.mean, label=name, **look)
    axes.fill_between(found.x, found.low, found.high, color=look["color"], alpha=0.18, linewidth=0)


def settle(axes: Axes, bands: Sequence[Band]) -> None:
    """Leave out the lowest values of the first epochs; say so where there is nothing to see."""
    if not bands:
        axes.text(0.5, 0.5, "no run done", transform=axes.transAxes, ha="center", color=INK)
        axes.set(xticks=[], yticks=[])
        return
    low = min(float(np.quantile(each.low, 0.1)) for each in bands)
    high = max(float(each.high.max()) for each in bands)
    if len(bands[0].x) > 20 and low < high:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))


def heading(title: str, collected: Sequence[Collected]) -> str:
    """Return a figure's title, with its remarks below."""
    return "\n".join([title, *remarks(collected)])


def remarks(collected: Sequence[Collected]) -> list[str]:
    """Return what a reader must know: a shortened protocol, stand-ins, runs that are missing."""
    lines = []
    preset = collected[0].cell.preset if collected else "paper"
    if preset != "paper":
        lines.append(f"preset {preset}: {SHORTENED}")
    stood_for = dict.fromkeys(each.stands_for for each in collected if each.stands_for)
    if stood_for:
        lines.append(f"other data stand in for {', '.join(map(str, stood_for))}")
    done, runs = (sum(map(len, s)) for s in _counts(collected))
    if done < runs:
        lines.append(f"{done} of {runs} runs done")
    return lines


def evaluated_otherwise(collected: Sequence[Collected]) -> list[str]:
    """Return a remark on runs whose mean is not of the draws that their cell asks for; or none."""
    runs = [run for each in collected for run in each.used]
    other = [run for run in runs if "mean" in _tested(run.result) and not run.evaluation("mean")]
    left_out = f"mean of {len(other)} of {len(runs)} runs left out: evaluated otherwise"
    return [left_out] if other else []


def _tested(result: Mapping[str, Any]) -> Mapping[str, Any]:
    return result["final"].get("test", {})


def _counts(collected: Sequence[Collected]) -> tuple[list[Any], list[Any]]:
    return [each.used for each in collected], [each.runs for each in collected]


def key_below(figure: Figure, columns: int = 5) -> None:
    """Put one key for all axes below them."""
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


def save(figure: Figure, rows: Sequence[Mapping[str, Any]], folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, its data as CSV, each atomically; return the files."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=metadata)
        files.append(folder / f"{name}.{kind}")
        atomic.write_bytes(files[-1], content.getvalue())
    plt.close(figure)
    files.append(folder / f"{name}.csv")
    atomic.write_text(files[-1], _csv(rows))
    return files


def band_rows(found: Band, about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a band as rows of a figure's CSV."""
    return [
        {**about, "epoch": int(x), "mean": mean, "population_std": std, "n": n}
        for x, mean, std, n in zip(
            *(each.tolist() for each in (found.x, found.mean, found.std, found.n)), strict=True
        )
    ]


def about(collected: Collected) -> dict[str, Any]:
    """Return the columns with which every row of a figure's CSV begins."""
    cell = collected.cell
    return {
        "cell": cell.name,
        "preset": cell.preset,
        "stands_for": collected.stands_for,
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
