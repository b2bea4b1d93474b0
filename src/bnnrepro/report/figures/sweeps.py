"""Tables 6 and 7 as plots: accuracy against the swept value, with the paper's points."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bnnrepro.report import style
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.published import SPLITS
from bnnrepro.report.render.layout import Line, make_report
from bnnrepro.report.tables import TABLES

_SHIFT = 1.09  # between the two series, so that neither hides the other
_TITLES = {
    "6": "BayesBiNN on MNIST by learning rate (temperature 1e-10)",
    "7": "BayesBiNN on MNIST by temperature (learning rate 1e-4)",
}


def plot(number: str, axis: str, collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Plot one panel per split, with error bars of one population standard deviation."""
    with style.style():
        import matplotlib.pyplot as plt

        report = make_report(TABLES[number], collected)
        figure, grid = plt.subplots(1, len(SPLITS), figsize=(7.2, 2.7), squeeze=False)
        for axes, split in zip(grid[0], SPLITS, strict=True):
            lines = [line for line in report.lines if line.row.split == split]
            _panel(axes, lines, compared=report.compared)
            axes.set_title(split)
            axes.set_xlabel(axis)
        grid[0, 0].set_ylabel("accuracy (%)")
        rows = [_csv_row(line, compared=report.compared) for line in report.lines]
        return style.finish(figure, _TITLES[number], collected, rows, folder, f"table{number}")


def _panel(axes: Any, lines: Sequence[Line], *, compared: bool) -> None:
    ours = [
        (float(line.row.label), line.ours.mean, line.ours.population_std)
        for line in lines
        if line.ours is not None
    ]
    paper = [
        (float(line.row.label), line.row.paper.mean, line.row.paper.std or 0.0)
        for line in lines
        if compared and line.row.paper is not None
    ]
    for index, (label, series) in enumerate({"ours": ours, "paper": paper}.items()):
        if not series:
            continue
        x, mean, std = zip(*sorted(series), strict=True)
        shift, colour = _SHIFT if index else 1 / _SHIFT, style.COLOURS[index]
        axes.errorbar(
            [value * shift for value in x],
            mean,
            std,
            label=label,
            marker=style.MARKERS[index],
            markersize=4,
            markerfacecolor="white" if index else colour,
            capsize=2,
            elinewidth=0.8,
            color=colour,
            linestyle=style.DASHES[index],
        )
    if ours or paper:
        axes.set_xscale("log")
    else:
        style.fit_y_axis(axes, [])


def _csv_row(line: Line, *, compared: bool) -> dict[str, Any]:
    ours, paper = line.ours, line.row.paper
    first = style.id_columns(line.results) if line.results else {"cell": line.row.cell}
    row = first | {
        "value": line.row.label,
        "split": line.row.split,
        "mean": ours.mean if ours else None,
        "population_std": ours.population_std if ours and ours.n > 1 else None,
        "n": len(line.values),
    }
    if compared:
        row |= {"paper_mean": paper and paper.mean, "paper_population_std": paper and paper.std}
    return row


LEARNING_RATE, TEMPERATURE = (
    Figure(f"table{number}", title, TABLES[number].cells, partial(plot, number, axis))
    for (number, title), axis in zip(_TITLES.items(), ("learning rate", "temperature"), strict=True)
)
