"""Plot the README's picture from committed results: accuracy against bits a weight, by rule.

    python benchmarks/readme_figure.py

Writes docs/images/mnist_quick.png from results/successors_mnist_quick.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from bnnrepro.report.style import COLOURS, INK, method_label, style

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "successors_mnist_quick"
PICTURE = ROOT / "docs" / "images" / "mnist_quick.png"
LEFT = 95.9  # percent; values below it are printed at the edge


def accuracies() -> dict[str, list[float]]:
    """Return each method's test accuracies at the best validation epoch, the best method first."""
    found: dict[str, list[float]] = {}
    for path in sorted(RESULTS.glob("mnist_*_seed*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["preset"] == "quick"
        found.setdefault(result["method"], []).append(result["best"]["test"]["mode"]["accuracy"])
    return dict(sorted(found.items(), key=lambda item: -mean(item[1])))


def plot(values: Mapping[str, Sequence[float]]) -> Figure:
    """Return the picture: a row a method, a dot a seed, a bar at their mean."""
    figure = Figure(figsize=(6.4, 3.3))
    axes = figure.subplots()
    for row, (method, points) in enumerate(values.items()):
        bits = 32 if method == "full_precision" else 1
        colour = COLOURS[0] if bits == 1 else COLOURS[1]
        if mean(points) < LEFT:
            axes.text(LEFT + 0.03, row, f"◂ {mean(points):.1f}", va="center", c=colour)
        else:
            axes.plot(points, [row] * len(points), "o", c=colour, ms=4.5, alpha=0.8)
            axes.plot([mean(points)] * 2, [row - 0.3, row + 0.3], "-", c=colour, lw=1.6)
        size = "32 bits, 40.06 MB" if bits == 32 else "1 bit, 1.25 MB"
        axes.text(98.28, row, size, va="center", c=colour)
    axes.set(xlim=(LEFT, 98.2), ylim=(len(values) - 0.5, -0.5))
    axes.set(yticks=range(len(values)), yticklabels=[method_label(name) for name in values])
    axes.set_xlabel("test accuracy on MNIST (%); a dot a seed, a bar at the mean of two")
    figure.suptitle("MNIST at preset quick: 8 of 500 epochs, 20,000 of 60,000 images", c=INK)
    return figure


if __name__ == "__main__":
    values = accuracies()
    with style():  # the values go along, for the test that the picture shows the present ones
        about = {"Software": None, "Description": json.dumps(values)}
        plot(values).savefig(PICTURE, metadata=about)
    print(PICTURE.relative_to(ROOT))
