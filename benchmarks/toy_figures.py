"""Draw figure 2, 3 or ``uncertainty`` from finished runs, found by their settings.

python benchmarks/toy_figures.py 3 --out multirun
"""

import argparse
import sys
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.paper.cells import cells
from bnnrepro.paper.collect import collect
from bnnrepro.paper.figures import figure2, figure3, uncertainty

FIGURES = {"2": figure2, "3": figure3, "uncertainty": uncertainty}


def main() -> int:
    """Read the runs and draw the figure."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--out", default="multirun", help="folder of all runs")
    parser.add_argument("--to", type=Path, default=Path("figures"), help="folder of the pictures")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    figure = FIGURES[given.figure]
    try:
        there = cells(figure.CELLS, preset=given.preset, seeds=given.seeds, out=given.out)
        for path in figure.draw(collect(there), given.to):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
