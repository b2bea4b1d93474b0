"""Compare BayesBiNN's learning curve on MNIST with the authors' five runs, epoch by epoch.

    python benchmarks/published_curve.py multirun/mnist/mlp/bayesbinn --write results/fidelity/curve

The runs, finished or not, are those of table 2's cell in the folder. At each epoch the difference
of their mean from the authors' is compared with the 95 % interval that the spread of both leaves a
difference of zero: the authors' sample standard deviation for ours too, as ours may be one run.
Epochs of one run are not independent, so the share of them outside is no test.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

import bnnrepro
from bnnrepro.errors import UserError
from bnnrepro.report import charts
from bnnrepro.report.style import axis_label, style

PUBLISHED = Path(__file__).parents[1] / "results/fidelity/published_bayesbinn_mnist.csv"
RUNS = 5  # of the authors
FIGURES = ("train_loss", "train_accuracy", "validation_accuracy", "test_accuracy")
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)
CELL = "dataset=mnist model=mlp method=bayesbinn preset=paper"
LOOKS = {
    "authors": {"label": f"the authors' {RUNS} runs", "color": "#555555"},
    "ours": {"label": "ours", "color": "#0072B2"},
}


def published() -> pd.DataFrame:
    """Return the authors' curve: ``epoch``, ``figure``, ``mean`` and ``std`` (n - 1)."""
    return pd.read_csv(PUBLISHED)


def compared(curves: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Return ours beside theirs: a row per figure and epoch that a run has reached.

    Args:
        curves: a row per run and epoch, with the columns ``epoch`` and ``FIGURES``.
        theirs: as ``published`` returns it.

    Returns:
        ``figure``, ``epoch``, ``ours``, ``n``, ``mean`` and ``std`` (theirs), ``difference``, and
        ``margin``: half the 95 % interval around a difference of zero.
    """
    long = curves.melt("epoch", list(FIGURES), "figure", "ours").dropna()
    ours = long.groupby(["figure", "epoch"])["ours"].agg(ours="mean", n="count").reset_index()
    table = ours.merge(theirs, on=["figure", "epoch"])
    quantile = stats.t.ppf(0.975, RUNS - 1)
    return table.assign(
        difference=table["ours"] - table["mean"],
        margin=quantile * table["std"] * np.sqrt(1 / RUNS + 1 / table["n"]),
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per figure: epochs, mean difference and margin, and epochs outside."""
    rows = []
    for figure, part in table.groupby("figure", sort=False):
        outside = (part["difference"].abs() > part["margin"]).sum()
        means = part[["difference", "margin"]].mean()
        rows.append([figure, len(part), *means, outside])
    return pd.DataFrame(rows, columns=["figure", "epochs", "difference", "margin", "outside"])


def text(table: pd.DataFrame) -> str:
    """Return the comparison at some epochs, and its summary, as Markdown tables."""
    last = table["epoch"].max()
    rows = []
    for epoch in sorted({*SHOWN, last}):
        at = table[table["epoch"] == epoch].set_index("figure")
        if len(at):
            cells = (_cell(at.loc[name]) for name in FIGURES if name in at.index)
            rows.append([epoch, at["n"].iloc[0], *cells])
    header = ["epoch", "runs", *(name.replace("_", " ") for name in FIGURES)]
    parts = [tabulate(rows, header, "github")]
    parts.append(tabulate(summary(table).values.tolist(), list(summary(table)), "github"))
    return "\n\n".join(parts)


def _cell(row: pd.Series) -> str:
    digits = 4 if row["mean"] < 1 else 2
    values = (f"{row[name]:.{digits}f}" for name in ("ours", "mean", "std"))
    return "{} ({} ± {})".format(*values)


@style()
def plot(curves: pd.DataFrame, theirs: pd.DataFrame, file: Path) -> list[Path]:
    """Write a panel per figure: our mean and band over theirs; return the files."""
    tables = {}
    reached = theirs[theirs["epoch"] <= curves["epoch"].max()]
    for name in FIGURES:
        own = charts.bands(curves.assign(line="ours"), name, ["line"])
        their = reached[reached["figure"] == name].assign(line="authors", n=RUNS)
        tables[axis_label(name)] = pd.concat([their, own])[["line", "epoch", "mean", "std", "n"]]
    figure, _ = charts.panels(tables, "line", LOOKS, rows=2, size=(7.2, 5.0))
    figure.suptitle("BayesBiNN on MNIST, table 2: mean and sample standard deviation")
    charts.legend_below(figure)
    data = pd.concat([part.assign(figure=name) for name, part in tables.items()])
    return charts.save(figure, file.parent, file.name, data)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the comparison; exit code 2 if the folder has no run of the cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder")
    parser.add_argument("--write", type=Path, help="also write FILE.png, .pdf and .csv")
    options = parser.parse_args(argv)
    try:
        curves = bnnrepro.curves(options.folder, CELL)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not {"epoch", *FIGURES} <= {*curves}:
        print(f"error: folder={options.folder}: has no run of {CELL}", file=sys.stderr)
        return 2
    curves = curves[["epoch", *FIGURES]].dropna(subset=["epoch"])
    print(text(compared(curves, published())))
    if options.write:
        for file in plot(curves, published(), options.write):
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
