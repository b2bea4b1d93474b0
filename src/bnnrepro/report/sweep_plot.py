"""A table's sweep as a plot: ours against the swept value, the paper's points beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnrepro.report import style
from bnnrepro.report.collect import Collected
from bnnrepro.report.published import SPLITS
from bnnrepro.report.render.layout import Line, content
from bnnrepro.report.tables import Table

_APART = 1.09  # the two series stand a little to either side, so that neither hides the other


def draw(
    table: Table, collected: Sequence[Collected], folder: Path, *, title: str, axis: str, name: str
) -> list[Path]:
    """Draw one panel a split, with error bars of one population standard deviation."""
    with style.style():
        import matplotlib.pyplot as plt

        report = content(table, collected)
        figure, grid = plt.subplots(1, len(SPLITS), figsize=(7.2, 2.7), squeeze=False)
        for axes, split in zip(grid[0], SPLITS, strict=True):
            lines = [line for line in report.lines if line.row.split == split]
            _panel(axes, lines, compared=report.compared)
            axes.set_title(split)
            axes.set_xlabel(axis)
        grid[0, 0].set_ylabel("accuracy (%)")
        figure.suptitle(style.heading(title, collected), fontsize=9)
        style.key_below(figure)
        rows = [_row(line, compared=report.compared) for line in report.lines]
        return style.save(figure, rows, folder, name)


def _panel(axes: Any, lines: Sequence[Line], *, compared: bool) -> None:
    ours = [
        (float(line.row.label), line.ours.mean, line.ours.population_std)
        for line in lines
        if line.ours is not None
    ]
    theirs = [
        (float(line.row.label), line.row.paper.mean, line.row.paper.std or 0.0)
        for line in lines
        if compared and line.row.paper is not None
    ]
    for series, word, place in ((ours, "ours", 0), (theirs, "paper", 1)):
        if not series:
            continue
        x, mean, std = zip(*sorted(series), strict=True)
        apart = _APART if place else 1 / _APART
        look = {"color": style.COLOURS[place], "linestyle": style.DASHES[place]}
        face = "white" if place else look["color"]
        axes.errorbar(
            [value * apart for value in x],
            mean,
            std,
            label=word,
            marker=style.MARKERS[place],
            markersize=4,
            markerfacecolor=face,
            capsize=2,
            elinewidth=0.8,
            **look,
        )
    if not ours and not theirs:
        style.settle(axes, [])
        return
    axes.set_xscale("log")


def _row(line: Line, *, compared: bool) -> dict[str, Any]:
    ours, paper = line.ours, line.row.paper
    assert line.collected is not None or ours is None
    about = style.about(line.collected) if line.collected else {"cell": line.row.cell}
    row = about | {
        "value": line.row.label,
        "split": line.row.split,
        "mean": ours.mean if ours else None,
        "population_std": ours.population_std if ours and ours.n > 1 else None,
        "n": len(line.values),
    }
    if compared:
        row |= {"paper_mean": paper and paper.mean, "paper_population_std": paper and paper.std}
    return row
