"""The segmentation figure is drawn from run folders alone."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bnnrepro.config.compose import compose
from bnnrepro.experiment import run
from bnnrepro.report import style
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.collect import collect
from bnnrepro.report.figures import FIGURES, segmentation_results

SMALL = ("dataset=shapes", "dataset.size=45", "dataset.images=8", "dataset.test_images=2")
SMALL += ("epochs=2", "model.channels=[3,4,4]", "device=cpu", "threads=1", "evaluate.samples=2")
SEEDS = {"ste": (0, 1), "bayesbinn": (0,)}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    finished = {}
    for method, seeds in SEEDS.items():
        configs = [compose(*SMALL, f"method={method}", f"seed={s}", f"out={out}") for s in seeds]
        finished[method] = [(config, run(config)) for config in configs]
    return finished


@pytest.fixture
def collected(results):
    """The cells with their runs; STE has a third run, not started."""
    cells = []
    for method, finished in results.items():
        runs = [Expected(config.seed, done.folder, config) for config, done in finished]
        if method == "ste":
            folder = replace(runs[0].folder, path=runs[0].folder.path.parent / "nowhere")
            runs.append(replace(runs[0], seed=2, folder=folder))
        cells.append(Cell(f"cell_{method}", "paper", "shapes", "unet", method, tuple(runs)))
    return collect(cells)


def test_the_data_are_the_results(collected, results, tmp_path):
    *_, data = segmentation_results.plot(collected, tmp_path)
    with data.open() as handle:
        rows = list(csv.DictReader(handle))
    kinds = {(row["method"], row["prediction"]) for row in rows}
    assert kinds == {("ste", "mode"), ("bayesbinn", "mode"), ("bayesbinn", "mean")}
    assert len(rows) == 3 * len(segmentation_results.METRICS)
    for row in rows:
        best = [done.values["best"] for _, done in results[row["method"]]]
        figures = [epoch["test"][row["prediction"]][row["metric"]] for epoch in best]
        assert int(row["n"]) == len(SEEDS[row["method"]])
        assert float(row["mean"]) == pytest.approx(np.mean(figures))
        assert float(row["population_std"]) == pytest.approx(np.std(figures))
        assert float(row["best_constant"]) == best[0]["constant"][row["metric"]]


def test_a_mean_counts_only_of_the_draws_that_the_cell_asks_for(results, tmp_path):
    """The run was evaluated with two draws; the cell asks for three."""
    ((config, done),) = results["bayesbinn"]
    three = replace(config, evaluate=replace(config.evaluate, samples=3))
    runs = (Expected(0, done.folder, three),)
    cell = Cell("cell_bayesbinn", "paper", "shapes", "unet", "bayesbinn", runs)
    (before,) = collect([cell])
    assert segmentation_results.values(before, "mean", "nll") == []
    assert segmentation_results.values(before, "mode", "nll") == [
        done.values["best"]["test"]["mode"]["nll"]
    ]
    assert style.other_settings([before]) == [
        "mean of 1 of 1 runs left out: evaluated with other settings"
    ]
    (again,) = run(three).values["evaluations"]
    (after,) = collect([cell])
    assert segmentation_results.values(after, "mean", "nll") == [
        again["best"]["test"]["mean"]["nll"]
    ]
    assert style.other_settings([after]) == []


def test_the_same_runs_give_the_same_files(collected, tmp_path):
    first, again = (segmentation_results.plot(collected, tmp_path / name) for name in ("a", "b"))
    for ours, theirs in zip(first, again, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()


def test_panels_are_the_corners_of_the_picture(results):
    _, done = results["ste"][0]
    path = next((done.folder.path / "pictures").glob("*.png"))
    with Image.open(path) as image:
        whole = image.convert("RGB").copy()
    parts = segmentation_results.panels(path)
    assert [part.shape for part in parts] == [(45, 45, 3)] * 4
    assert all(
        tuple(part[44, 44]) == whole.getpixel((k * 49 + 44, 44)) for k, part in enumerate(parts)
    )


def test_the_earlier_reproductions_iou_stands_beside_its_own_cells_alone(collected):
    cell = Cell("cell", "paper", "isbi_em", "unet", "ste", ())
    assert segmentation_results.published_iou(replace(collected[0], cell=cell), "final") == 0.689
    assert segmentation_results.published_iou(collected[0], "final") is None
    shortened = replace(collected[0], cell=replace(cell, preset="quick"))
    assert segmentation_results.published_iou(shortened, "final") is None
    assert FIGURES["segmentation"].cells[1] == "segmentation_ste"
