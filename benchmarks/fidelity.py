"""Compare the first two epochs on MNIST with published runs: `make fidelity`.

Trains the MLP at full size for the first two epochs of the 500-epoch protocol (Table 9 of the
BayesBiNN paper) and compares training loss, training accuracy and test accuracy with the published
learning curves: the authors' five runs for bayesbinn, the reproduction's logs for ste and
full_precision (mean and sample standard deviation). Bop and PMF have no published curves and are
only shown. Exit code 1 if a figure is off by more than 4 of its spreads or 0.35 points of accuracy
or 0.01 of loss, whichever is larger.

    python benchmarks/fidelity.py [--root DATA] [--seeds 2] [--write FILE.json]
    python benchmarks/fidelity.py --methods bayesbinn,pmf compile.optimizer=on
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from published_curve import published

from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.runs import atomic, provenance
from bnnrepro.runs.metrics import read_metrics

FIGURES = ("train_loss", "train_accuracy", "test_accuracy")
TOLERANCE = {"train_loss": 0.01, "train_accuracy": 0.35, "test_accuracy": 0.35}
SPREADS = 4
EPOCHS = 2
COMMITS: set[str] = set()  # of the code that trained the compared runs
METHODS = ("bayesbinn", "ste", "full_precision", "bop", "pmf")

# Mean and sample standard deviation of each figure, (method, epoch): {figure: (mean, spread)}.
PUBLISHED: dict[tuple[str, int], dict[str, tuple[float, float]]] = {
    ("ste", 1): {
        "train_loss": (0.528, 0.001),
        "train_accuracy": (92.72, 0.09),
        "test_accuracy": (96.56, 0.04),
    },
    ("ste", 2): {
        "train_loss": (0.455, 0.002),
        "train_accuracy": (95.29, 0.07),
        "test_accuracy": (97.02, 0.05),
    },
    ("full_precision", 1): {"train_accuracy": (92.73, 0.10), "test_accuracy": (96.99, 0.03)},
    ("full_precision", 2): {"train_accuracy": (96.10, 0.09), "test_accuracy": (97.68, 0.10)},
}
for row in published().itertuples():
    if row.epoch <= EPOCHS and row.figure in FIGURES:
        PUBLISHED.setdefault(("bayesbinn", row.epoch), {})[row.figure] = (row.mean, row.std)

EpochRow = Mapping[str, float]


def compare(method: str, epoch: int, rows: Sequence[EpochRow]) -> list[dict[str, object]]:
    """Return a record per figure: ours (mean over seeds), theirs, and if ours is within tolerance.

    The tolerance is 4 spreads or the fixed one, whichever is larger.
    """
    records = []
    for figure in FIGURES:
        ours = mean(row[figure] for row in rows)
        record: dict[str, object] = {
            "method": method,
            "epoch": epoch,
            "figure": figure,
            "ours": ours,
            "n": len(rows),
        }
        published = PUBLISHED.get((method, epoch), {}).get(figure)
        if published:
            theirs, spread = published
            record |= {
                "published": theirs,
                "spread": spread,
                "spreads_off": (ours - theirs) / spread,
                "within": abs(ours - theirs) <= max(SPREADS * spread, TOLERANCE[figure]),
            }
        records.append(record)
    return records


def first_epochs(method: str, seed: int, overrides: Sequence[str]) -> list[EpochRow]:
    """Train the first epochs of a cell of Table 9, or read them from an earlier run."""
    result = run(
        compose(
            f"method={method}",
            "dataset=mnist",
            f"seed={seed}",
            f"stop_after={EPOCHS}",
            *overrides,
        )
    )
    environment = json.loads(result.folder.env.read_text())
    first = next(iter(environment["earlier"]), environment)
    COMMITS.add(json.dumps(first["git"]))
    return [row for row in read_metrics(result.folder.metrics) if row["epoch"] <= EPOCHS]


def table(records: Sequence[Mapping[str, object]]) -> str:
    """Return the records as a Markdown table, a row per method and epoch."""
    lines = [
        "| method, epoch | n | train loss | train accuracy | test accuracy |",
        "|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((r["method"], r["epoch"]) for r in records)
    for method, epoch in keys:
        group = [r for r in records if (r["method"], r["epoch"]) == (method, epoch)]
        texts = " | ".join(figure_text(r) for r in group)
        lines.append(f"| {method}, {epoch} | {group[0]['n']} | {texts} |")
    return "\n".join(lines)


def figure_text(record: Mapping[str, object]) -> str:
    """Return ours, theirs and the number of spreads between them."""
    digits = 3 if record["figure"] == "train_loss" else 2
    ours = f"{record['ours']:.{digits}f}"
    if "published" not in record:
        return ours
    verdict = "" if record["within"] else " **off**"
    return (
        f"{ours} (published {record['published']:.{digits}f} ± {record['spread']:.{digits}f}, "
        f"{record['spreads_off']:+.1f} spreads{verdict})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; return 1 if a figure is off."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", help="folder of MNIST; default: that of run.py")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of the compared methods")
    parser.add_argument(
        "--out", help="folder of the runs, to resume them; default: a temporary one"
    )
    parser.add_argument("--write", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--methods", default=",".join(METHODS), help="methods, with commas")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, as for run.py")
    options = parser.parse_args(argv)
    methods = options.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"--methods {','.join(sorted(unknown))}: must be some of {', '.join(METHODS)}")
    with tempfile.TemporaryDirectory() as scratch:
        overrides = [f"out={options.out or scratch}", *options.overrides]
        overrides += [f"dataset.root={options.root}"] if options.root else []
        try:
            records = [
                record for method in methods for record in measure(method, options.seeds, overrides)
            ]
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(table(records))
    off = [r for r in records if r.get("within") is False]
    print(f"{len(off)} figures off" if off else "all figures within the tolerance")
    if options.write:
        content = {
            "environment": provenance.describe(["benchmarks/fidelity.py"]),
            "overrides": options.overrides,
            "trained_at": [json.loads(commit) for commit in sorted(COMMITS)],
            "figures": records,
        }
        atomic.write_json(options.write, content)
    return 1 if off else 0


def measure(method: str, seeds: int, overrides: Sequence[str]) -> list[dict[str, object]]:
    """Return the records of a method's first epochs; one seed for a method not compared."""
    compared = any(name == method for name, _ in PUBLISHED)
    runs = [first_epochs(method, seed, overrides) for seed in range(seeds if compared else 1)]
    return [
        record
        for epoch in range(EPOCHS)
        for record in compare(method, epoch + 1, [rows[epoch] for rows in runs])
    ]


if __name__ == "__main__":
    sys.exit(main())
