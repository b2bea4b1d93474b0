"""Plot figure 2, 3 or uncertainty from finished runs, found by their settings.

python benchmarks/toy_figures.py 3 --out multirun
"""

import argparse
import sys
from pathlib import Path

from bnnrepro.errors import UserError
from bnnrepro.report.cells import cells
from bnnrepro.report.collect import collect
from bnnrepro.report.figures import figure2, figure3, uncertainty

FIGURES = {
    "2": (figure2.plot, figure2.CELLS),
    "3": (figure3.plot, figure3.CELLS),
    "uncertainty": (uncertainty.plot, uncertainty.CELLS),
    "uncertainty_digits": (uncertainty.plot, uncertainty.DIGITS_CELLS),
}


def main() -> int:
    """Read the runs and plot the figure."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--out", default="multirun", help="folder of all runs")
    parser.add_argument("--to", type=Path, default=Path("figures"), help="folder of the pictures")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    plot, names = FIGURES[options.figure]
    try:
        planned = cells(names, preset=options.preset, seeds=options.seeds, out=options.out)
        for path in plot(collect(planned), options.to):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
