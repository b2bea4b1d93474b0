"""Time the results table and the curves of thousands of run folders, a tenth of them unfinished.

The folders are copies of a real one with other seeds and learning rates.

    python benchmarks/results.py [--runs 10000]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bnnrepro

TEMPLATE = Path(__file__).parents[1] / "tests/old_runs/multirun/digits/mlp/bayesbinn/b65051d397"
FILES = ("config.yaml", "env.json", "metrics.csv", "status.json", "result.json")


def make(out: Path, runs: int) -> None:
    """Make the folders: five seeds at each learning rate."""
    texts = {name: (TEMPLATE / name).read_text(encoding="utf-8") for name in FILES}
    for number in range(runs):
        folder = out / "digits" / "mlp" / "bayesbinn" / f"{number:010x}"
        folder.mkdir(parents=True)
        for name in FILES[:-1] if number % 10 == 0 else FILES:
            text = texts[name].replace(TEMPLATE.name, folder.name)
            text = text.replace("lr: 0.0001", f"lr: {1e-4 * (1 + number // 5)}")
            text = text.replace("seed: 1", f"seed: {number % 5}")
            text = text.replace('"seed": 1', f'"seed": {number % 5}')
            (folder / name).write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as out:
        make(Path(out), arguments.runs)
        started = time.perf_counter()
        results = bnnrepro.results(out)
        middle = time.perf_counter()
        curves = bnnrepro.curves(out)
        ended = time.perf_counter()
    print(
        f"{arguments.runs:,} run folders: results ({len(results):,} rows) in "
        f"{middle - started:.1f} s, curves ({len(curves):,} rows) in {ended - middle:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
