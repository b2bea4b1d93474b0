"""Figures 4 and 5 from the files that runs leave."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnrepro.paper.figures.figure4 import draw_histograms
from bnnrepro.paper.figures.figure5 import curves, draw_curves, write_summary
from bnnrepro.running import Result
from bnnrepro.store.metrics import read_metrics

SMALL = (
    "dataset=permuted_digits",
    "dataset.tasks=2",
    "model.hidden=[16]",
    "method.init=1",
    "evaluate.samples=2",
    "preset=smoke",
    "device=cpu",
    "threads=1",
)


@pytest.fixture
def runs(run_small: Callable[..., Result]) -> dict[str, list[Result]]:
    """Two seeds of each cell, in miniature."""
    cells = {
        "figure5_prior": ("dataset.prior=posterior",),
        "figure5_no_prior": ("dataset.prior=fixed",),
    }
    return {
        cell: [run_small(*SMALL, *choice, f"seed={seed}") for seed in (0, 1)]
        for cell, choice in cells.items()
    }


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_curves_are_means_over_seeds_and_tasks_seen() -> None:
    first = [{"epoch": 1, "task_1": 80.0}, {"epoch": 2, "task_1": 60.0, "task_2": 90.0}]
    second = [{"epoch": 1, "task_1": 90.0}, {"epoch": 2, "task_1": 50.0, "task_2": 70.0}]
    found = curves([first, second], tasks=2)
    assert found["task_1"] == [(1, (2, 85.0, 5.0)), (2, (2, 55.0, 5.0))]
    assert found["task_2"] == [(2, (2, 80.0, 10.0))]
    assert found["average"] == [(1, (2, 85.0, 5.0)), (2, (2, 67.5, 7.5))]


def test_figure_5_shows_what_the_runs_found(runs: dict[str, list[Result]], tmp_path: Path) -> None:
    rows = {cell: [read_metrics(run.folder.metrics) for run in of] for cell, of in runs.items()}
    files = draw_curves(rows, 2, "smoke", tmp_path)
    assert [file.name for file in files] == ["figure5.png", "figure5.pdf", "figure5.csv"]
    assert all(file.stat().st_size for file in files)
    lines = read(files[-1])
    assert len(lines) == 2 * (2 + 1 + 2)  # of each cell: task 1 twice, task 2 once, the average
    last = [row[-1]["task_2"] for row in rows["figure5_prior"]]
    (line,) = (
        each
        for each in lines
        if (each["cell"], each["accuracy_on"], each["epoch"]) == ("figure5_prior", "task_2", "2")
    )
    assert float(line["mean"]) == pytest.approx(sum(last) / 2)
    elsewhere = tmp_path / "again"
    elsewhere.mkdir()
    again = draw_curves(rows, 2, "smoke", elsewhere)
    assert again[0].read_bytes() == files[0].read_bytes()
    assert again[1].read_bytes() == files[1].read_bytes()


def test_the_summary_has_every_figure_of_mode_and_mean(
    runs: dict[str, list[Result]], tmp_path: Path
) -> None:
    values = {cell: [run.values for run in of] for cell, of in runs.items()}
    lines = read(write_summary(values, tmp_path))
    assert len(lines) == 2 * 2 * 5
    wanted = [run.values["final"]["test"]["mean"]["forgetting"] for run in runs["figure5_no_prior"]]
    key = ("figure5_no_prior", "mean", "forgetting")
    (line,) = (e for e in lines if (e["cell"], e["prediction"], e["figure"]) == key)
    assert float(line["mean"]) == pytest.approx(sum(wanted) / 2)
    assert line["n"] == "2"


def test_figure_4_has_the_shares_and_the_entropy_of_each_task(
    runs: dict[str, list[Result]], tmp_path: Path
) -> None:
    posteriors = {
        cell: [json.loads((run.folder.path / "posterior.json").read_text()) for run in of]
        for cell, of in runs.items()
    }
    files = draw_histograms(posteriors, "smoke", tmp_path)
    assert [file.name for file in files] == ["figure4.png", "figure4.pdf", "figure4.csv"]
    lines = read(files[-1])
    shares: dict[tuple[str, str], float] = {}
    for line in lines:
        if line["place"] != "entropy_bits":
            key = line["cell"], line["after_task"]
            shares[key] = shares.get(key, 0) + float(line["mean"])
    assert shares == pytest.approx(dict.fromkeys(shares, 1.0))
    entropies = [float(line["mean"]) for line in lines if line["place"] == "entropy_bits"]
    assert len(entropies) == 4
    assert all(0 < each < 1 for each in entropies)
