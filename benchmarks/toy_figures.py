"""Draw figure 2 or 3 from finished runs: ``python benchmarks/toy_figures.py 3 --out multirun``.

Which runs belong to it is known from their settings: nothing else in the folder is looked at.
"""

import argparse
from pathlib import Path

from bnnrepro.config.compose import compose
from bnnrepro.paper.figures import figure2, figure3
from bnnrepro.paper.maps import mapped
from bnnrepro.store.folder import RunFolder, run_folder
from bnnrepro.store.signature import signature

FIGURES = {"2": figure2, "3": figure3}


def folder_of(*overrides: str) -> RunFolder:
    """Return the folder of the run that a command line starts."""
    cfg = compose(*overrides)
    key = signature(cfg.to_dict())
    return run_folder(cfg.out, cfg.dataset.name, cfg.model.name, cfg.method.name, key)


def main() -> None:
    """Read the runs and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--out", default="multirun", help="folder of all runs")
    parser.add_argument("--to", type=Path, help="folder of the pictures; results/figure<n>")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="key=value, as the runs were started with")
    arguments = parser.parse_args()
    module = FIGURES[arguments.figure]
    runs = {}
    for cell in module.CELLS:
        words = (f"experiment={cell}", f"out={arguments.out}", *arguments.overrides)
        found = mapped([folder_of(*words, f"seed={seed}") for seed in range(arguments.seeds)])
        runs[cell.partition("_")[2]] = found
    if not any(runs.values()):
        parser.error(f"no finished run of {', '.join(module.CELLS)} in {arguments.out}")
    to = arguments.to or Path("results") / f"figure{arguments.figure}"
    for path in module.draw(runs, to):
        print(path)


if __name__ == "__main__":
    main()
