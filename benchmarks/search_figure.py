"""Plot test accuracy against a swept hyperparameter, from run folders alone.

    python benchmarks/search_figure.py multirun method.temperature figure.png

Every finished run under the folder is a point; a line joins the means over runs of equal value.
A figure of a shortened preset says so in its title.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import yaml

from bnnrepro.runs.result import read_result

mpl.use("Agg")
from matplotlib import pyplot as plt

BLUE, ORANGE = "#0072B2", "#D55E00"  # colour-blind safe (Okabe and Ito)


def points(folder: Path, key: str) -> tuple[dict[float, list[float]], set[str]]:
    """Return {value of the key: test accuracies at best validation}, and the runs' presets."""
    accuracies: dict[float, list[float]] = {}
    presets = set()
    for path in sorted(folder.glob("*/*/*/*/result.json")):
        result = read_result(path)
        value = yaml.safe_load(path.with_name("config.yaml").read_text())
        for part in key.split("."):
            value = value[part]
        figures = result.get("best", result["final"])
        accuracies.setdefault(float(value), []).append(figures["test"]["mode"]["accuracy"])
        presets.add(result["preset"])
    return accuracies, presets


def plot(accuracies: dict[float, list[float]], presets: set[str], key: str, target: Path) -> None:
    """Write the figure."""
    figure, axes = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
    values = sorted(accuracies)
    for value in values:
        axes.plot([value] * len(accuracies[value]), accuracies[value], "o", color=BLUE, alpha=0.5)
    means = [statistics.mean(accuracies[value]) for value in values]
    axes.plot(values, means, "-", color=ORANGE, label="mean")
    axes.set_xscale("log")
    axes.set_xlabel(key)
    axes.set_ylabel("test accuracy at the mode (%)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    if presets != {"paper"}:
        names = ", ".join(sorted(presets))
        axes.set_title(f"preset {names}: not the paper's protocol", fontsize=10)
    figure.savefig(target, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Read and plot the runs; exit code 2 if there are none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("key")
    parser.add_argument("target", type=Path)
    options = parser.parse_args(argv)
    accuracies, presets = points(options.folder, options.key)
    if not accuracies:
        print(f"error: folder={options.folder}: has no finished runs", file=sys.stderr)
        return 2
    plot(accuracies, presets, options.key, options.target)
    for value in sorted(accuracies):
        print(f"{options.key}={value:g}: {', '.join(f'{a:.2f}' for a in accuracies[value])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
