"""Compare BayesBiNN's learning curve on MNIST with the authors' five runs, epoch by epoch.

    python benchmarks/published_curve.py multirun --write results/fidelity

The runs, finished or not, are those of table 2's BayesBiNN on MNIST in the folder, of any version.
Printed are ours and, in brackets, the authors' mean ± sample standard deviation. At each epoch the
difference of the means is compared with a margin: half its 95 % interval if both had the authors'
spread, as ours may be one run. Epochs of one run are not independent, so the number of those
outside the margin is no test.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tabulate import tabulate

from bnnrepro.cli.exit_code import command_parser, exits, refuse_in_a_line
from bnnrepro.report import charts
from bnnrepro.report.cells import cells
from bnnrepro.report.collect import CollectedRun, collect
from bnnrepro.report.found import found_in
from bnnrepro.report.style import axis_label, style
from bnnrepro.runs.layout import make_writable

PUBLISHED = Path(__file__).parents[1] / "results/fidelity/published_bayesbinn_mnist.csv"
RUNS = 5  # of the authors
FIGURES = ("train_loss", "train_accuracy", "validation_accuracy", "test_accuracy")
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)
SEEDS = 20  # that are looked for


def published() -> pd.DataFrame:
    """Return the authors' curve: ``epoch``, ``figure``, ``mean`` and ``std`` (n - 1)."""
    return pd.read_csv(PUBLISHED)


def runs_in(folder: Path) -> list[CollectedRun]:
    """Return the runs of table 2's BayesBiNN on MNIST that have a curve.

    Raises:
        UserError: the folder cannot be read, or has no such run; or two of one seed.
    """
    where = {"dataset": ("mnist",), "method": ("bayesbinn",)}
    wanted = cells("table2", preset="paper", seeds=SEEDS, out="multirun", where=where)
    (results,) = collect(found_in(folder, wanted).cells)
    return [run for run in results.runs if run.metrics]


def curves_of(runs: Sequence[CollectedRun]) -> pd.DataFrame:
    """Return the runs' curves: a row per run and epoch."""
    parts = [pd.DataFrame(run.metrics).reindex(columns=["epoch", *FIGURES]) for run in runs]
    return pd.concat([pd.DataFrame(columns=["epoch", *FIGURES], dtype=float), *parts])


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
        rows.append([figure, len(part), *part[["difference", "margin"]].mean(), outside])
    names = ["figure", "epochs", "mean difference", "mean margin", "epochs outside"]
    return pd.DataFrame(rows, columns=names)


def text(table: pd.DataFrame) -> str:
    """Return the comparison at some epochs, and its summary, as Markdown tables."""
    rows = []
    for epoch in sorted({*SHOWN, *table["epoch"].nlargest(1)}):
        at = table[table["epoch"] == epoch].set_index("figure")
        if len(at):
            cells = (_cell(at.loc[name]) for name in FIGURES if name in at.index)
            rows.append([epoch, at["n"].iloc[0], *cells])
    header = ["epoch", "runs", *(name.replace("_", " ") for name in FIGURES)]
    totals = summary(table)
    below = tabulate(totals.values.tolist(), list(totals), "github", floatfmt=".2g", intfmt="d")
    return f"{tabulate(rows, header, 'github')}\n\n{below}"


def _cell(row: pd.Series) -> str:
    digits = 4 if row["mean"] < 1 else 2
    values = (f"{row[name]:.{digits}f}" for name in ("ours", "mean", "std"))
    return "{} ({} ± {})".format(*values)


@style()
def plot(curves: pd.DataFrame, theirs: pd.DataFrame, remark: str, folder: Path) -> list[Path]:
    """Write a panel per figure: our mean and band over theirs; return the files."""
    tables = {}
    ours = int(curves.groupby("epoch").size().max())
    looks = {
        "authors": {"label": f"the authors' {RUNS} runs", "color": "#555555"},
        "ours": {"label": f"ours, {ours} run{'s' * (ours > 1)}", "color": "#0072B2"},
    }
    reached = theirs[theirs["epoch"] <= curves["epoch"].max()]
    for name in FIGURES:
        own = charts.bands(curves.assign(line="ours"), name, ["line"])
        their = reached[reached["figure"] == name].assign(line="authors", n=RUNS)
        tables[axis_label(name)] = pd.concat([their, own])[["line", "epoch", "mean", "std", "n"]]
    figure, _ = charts.panels(tables, "line", looks, rows=2, size=(7.2, 5.0))
    figure.suptitle(f"BayesBiNN on MNIST, table 2: mean and sample standard deviation\n{remark}")
    charts.legend_below(figure)
    data = pd.concat([part.assign(figure=name) for name, part in tables.items()])
    return charts.save(figure, folder, "curve", data)


@exits
def main(argv: Sequence[str]) -> int:
    """Print the comparison; exit code 2 if the folder has no run of the cell."""
    parser = command_parser("published_curve", __doc__ or "")
    parser.prog = "published_curve.py"
    refuse_in_a_line(parser, argv)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", metavar="DIR", help="also write curve.png, .pdf and .csv")
    options = parser.parse_args(argv)
    runs = runs_in(options.folder)
    if options.write is not None:
        make_writable(Path(options.write), "--write", options.write)
    made = ", ".join(dict.fromkeys(f"commit {run.commit}, code {run.code}" for run in runs))
    seeds = ", ".join(f"{run.expected.seed} ({run.state})" for run in runs)
    print(f"seeds {seeds}; {made}\n")
    curves = curves_of(runs)
    print(text(compared(curves, published())))
    if options.write is not None:
        for file in plot(curves, published(), made, Path(options.write)):
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
