"""Tables 6 and 7 as plots: accuracy against the swept value, with the paper's points."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from bnnrepro.report.charts import logarithmic, panels
from bnnrepro.report.collect import CellResults
from bnnrepro.report.figures import Figure
from bnnrepro.report.figures.common import IDS, finish, identity, over_seeds, remarks
from bnnrepro.report.published import SPLITS, published
from bnnrepro.report.style import MARKERS, STD, axis_label, looks, style

_PAPER = {"mean": "paper_mean", "std": "paper_population_std"}
_SERIES = {"ours": f"ours: mean and {STD}", "paper": "paper: mean and one population std"}


@style()
def plot(
    number: str, key: str, title: str, collected: Sequence[CellResults], folder: Path
) -> list[Path]:
    """Plot one panel per split, ours and the paper's.

    Args:
        number: the table's.
        key: the method's hyperparameter that is swept.
        title: the line above.
        collected: the sweep's cells, each with its value of it.
        folder: the target.
    """
    table = _table(number, key, collected)
    parts = [table.assign(series="ours")]
    if "paper_mean" in table:
        paper = table.drop(columns=["mean", "std"])
        parts += [paper.rename(columns={b: a for a, b in _PAPER.items()}).assign(series="paper")]
    lines = pd.concat(parts).dropna(subset=["mean"])
    styles = looks(_SERIES)
    for look, marker in zip(styles.values(), MARKERS, strict=False):
        look["marker"] = marker
    tables = {split: lines[lines["split"] == split] for split in SPLITS}
    figure, (row,) = panels(tables, "series", styles, key)
    for axes in row:
        axes.set_xlabel({"lr": "learning rate"}.get(key, key))
        if axes.lines:
            logarithmic(axes, "x")
    row[0].set_ylabel(axis_label("accuracy"))
    return finish(figure, title, remarks(collected), table, folder, f"table{number}")


def _table(number: str, key: str, collected: Sequence[CellResults]) -> pd.DataFrame:
    """Return a row per cell and split; the paper's figures only at its own protocol."""
    rows = [identity(each) | {"split": split} for each, split in product(collected, SPLITS)]
    values = [
        identity(each) | {"split": split, "value": run.value("best", split)}
        for each, split in product(collected, SPLITS)
        for run in each.used
    ]
    table = over_seeds(pd.DataFrame(rows), values, "split")
    swept = {r.cell.name: float(getattr(r.cell.runs[0].config.method, key)) for r in collected}
    table.insert(len(IDS), key, table["cell"].map(swept))
    if (table["preset"] == "paper").all():
        figures = published().figures[f"table{number}"].items()
        paper = [(float(value), split, f.mean, f.std) for (value, split), f in figures]
        table = table.merge(pd.DataFrame(paper, columns=[key, "split", *_PAPER.values()]))
    return table.sort_values(key, kind="stable")


def _figure(number: str, key: str, title: str) -> Figure:
    return Figure(f"table{number}", title, f"table{number}", partial(plot, number, key, title))


LEARNING_RATE = _figure("6", "lr", "BayesBiNN on MNIST by learning rate (temperature 1e-10)")
TEMPERATURE = _figure("7", "temperature", "BayesBiNN on MNIST by temperature (learning rate 1e-4)")
