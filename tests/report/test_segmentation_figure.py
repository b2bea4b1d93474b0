"""The segmentation figure is drawn from run folders alone."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bnnrepro.config.compose import compose
from bnnrepro.experiment import run
from bnnrepro.report.cells import Cell, Expected
from bnnrepro.report.collect import collect
from bnnrepro.report.figures import FIGURES, common, segmentation_results

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


def cell_of(method, dataset, runs):
    choices = {"dataset": dataset, "method": method}
    return Cell("segmentation", choices, "paper", dataset, "unet", method, tuple(runs))


def nll(results):
    """The NLL of a cell of one run, by prediction."""
    table = segmentation_results.values([results])
    return dict(table[table["metric"] == "nll"][["prediction", "value"]].values.tolist())


@pytest.fixture
def collected(results):
    """The cells with their runs; STE has a third run, not started."""
    cells = []
    for method, finished in results.items():
        runs = [Expected(config.seed, done.folder, config) for config, done in finished]
        if method == "ste":
            folder = replace(runs[0].folder, path=runs[0].folder.path.parent / "nowhere")
            runs.append(replace(runs[0], seed=2, folder=folder))
        cells.append(cell_of(method, "shapes", runs))
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
        spread = float(row["std"] or "nan")
        assert spread == pytest.approx(
            np.std(figures, ddof=1) if len(figures) > 1 else np.nan, nan_ok=True
        )
        assert float(row["best_constant"]) == best[0]["constant"][row["metric"]]


def test_a_mean_counts_only_of_the_draws_that_the_cell_asks_for(results, tmp_path):
    """The run was evaluated with two draws; the cell asks for three."""
    ((config, done),) = results["bayesbinn"]
    three = replace(config, evaluate=replace(config.evaluate, samples=3))
    runs = (Expected(0, done.folder, three),)
    cell = cell_of("bayesbinn", "shapes", runs)
    (before,) = collect([cell])
    assert nll(before) == {
        "mode": done.values["best"]["test"]["mode"]["nll"],
        "constant": done.values["best"]["constant"]["nll"],
    }
    assert common.other_settings([before]) == [
        "mean of 1 of 1 runs left out: evaluated with other settings"
    ]
    (again,) = run(three).values["evaluations"]
    (after,) = collect([cell])
    assert nll(after)["mean"] == again["best"]["test"]["mean"]["nll"]
    assert common.other_settings([after]) == []


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
    cell = cell_of("ste", "isbi_em", ())
    assert segmentation_results.published_iou(replace(collected[0], cell=cell), "final") == 0.689
    assert segmentation_results.published_iou(collected[0], "final") is None
    shortened = replace(collected[0], cell=replace(cell, preset="quick"))
    assert segmentation_results.published_iou(shortened, "final") is None
    assert FIGURES["segmentation"].sweep == cell.sweep
