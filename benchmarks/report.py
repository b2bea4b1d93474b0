"""Time a report over thousands of runs, some running, failed, interrupted or damaged.

Makes synthetic run folders of table 2's cells, a tenth in each state other than done, then reads
them and writes the report in all formats.

    python benchmarks/report.py [--runs 3000] [--epochs 100]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report import synthetic

from bnnrepro.report.collect import collect
from bnnrepro.report.render.document import write
from bnnrepro.report.table_report import document
from bnnrepro.report.tables import tables


def make(out: Path, runs: int, epochs: int) -> list[synthetic.Cell]:
    """Make the folders and return their cells."""
    table = tables()["2"]
    cells = synthetic.cells(table.sweep, out, seeds=max(1, runs // len(table.cells)))
    hows = list(synthetic.DAMAGES)
    for place, cell in enumerate(cells):
        for run in cell.runs:
            kind = (run.seed + place) % 10
            if kind == 0:
                synthetic.damaged(run, hows[run.seed // 10 % len(hows)])
            elif kind == 1:
                synthetic.running(run)
            elif kind == 2:
                synthetic.failed(run)
            elif kind == 3:
                synthetic.interrupted(run)
            else:
                synthetic.done(run, 80 + run.seed % 7 / 10, epochs=epochs)
    return cells


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as out:
        cells = make(Path(out), arguments.runs, arguments.epochs)
        started = time.perf_counter()
        collected = collect(cells)
        read = time.perf_counter()
        files = write(document(tables()["2"], collected), Path(out) / "reports")
        written = time.perf_counter()
        size = sum(file.stat().st_size for file in files)
        runs = sum(len(cell.runs) for cell in cells)
        done = sum(len(results.used) for results in collected)
        damaged = sum(run.state == "damaged" for results in collected for run in results.runs)
    print(
        f"{runs:,} run folders ({done:,} done of {arguments.epochs} epochs each, {damaged:,} "
        f"damaged): collected in {read - started:.2f} s, report written in {written - read:.2f} s, "
        f"{written - started:.2f} s in total, {size / 2**20:.1f} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
