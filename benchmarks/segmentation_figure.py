"""Draw the segmentation figure from finished runs: ``python benchmarks/segmentation_figure.py``.

Which runs belong to it is known from their settings: nothing else in the folder is looked at.
"""

import argparse
from pathlib import Path

from toy_figures import folder_of

from bnnrepro.paper.figures import segmentation


def main() -> None:
    """Read the runs and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="multirun", help="folder of all runs")
    parser.add_argument("--to", type=Path, default=Path("results/segmentation"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="key=value, as the runs were started with")
    arguments = parser.parse_args()
    runs = {}
    for cell in segmentation.CELLS:
        words = (f"experiment={cell}", f"out={arguments.out}", *arguments.overrides)
        folders = [folder_of(*words, f"seed={seed}") for seed in range(arguments.seeds)]
        runs[cell.partition("_")[2]] = segmentation.segmented(folders)
    if not any(runs.values()):
        parser.error(f"no finished run of {', '.join(segmentation.CELLS)} in {arguments.out}")
    for path in segmentation.draw(runs, arguments.to):
        print(path)


if __name__ == "__main__":
    main()
