"""The segmentation figure is drawn from run folders alone."""

import csv

import pytest
from PIL import Image

from bnnrepro.config.compose import compose
from bnnrepro.paper.figures import segmentation
from bnnrepro.running import run
from bnnrepro.store.folder import RunFolder

SMALL = (
    "dataset=shapes",
    "dataset.size=45",
    "dataset.images=8",
    "dataset.test_images=2",
    "epochs=2",
)
SMALL += ("model.channels=[3,4,4]", "device=cpu", "threads=1", "evaluate.samples=2")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {
        method: [
            run(compose(*SMALL, f"method={method}", f"seed={seed}", f"out={out}")) for seed in seeds
        ]
        for method, seeds in (("ste", (0, 1)), ("bayesbinn", (0,)))
    }


@pytest.fixture
def runs(results):
    return {
        method: segmentation.segmented([each.folder for each in found])
        for method, found in results.items()
    }


def test_the_numbers_are_the_results(runs, results, tmp_path):
    files = segmentation.draw({**runs, "full_precision": []}, tmp_path / "figure")
    assert sorted(path.suffix for path in files) == [".csv", ".md", ".pdf", ".png"]
    assert all(path.stat().st_size for path in files)
    with (tmp_path / "figure/segmentation.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    for method, found in results.items():
        for each in found:
            figures = each.values["best"]
            wanted = {**figures["test"], "constant": figures["constant"]}
            ours = [
                row for row in rows
                if (row["method"], int(row["seed"])) == (method, each.values["seed"])
            ]  # fmt: skip
            assert len(ours) == sum(map(len, wanted.values()))
            for row in ours:
                assert float(row["value"]) == wanted[row["prediction"]][row["metric"]]
                assert int(row["epoch"]) == figures["epoch"]
    lines = (tmp_path / "figure/segmentation.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "STE", "BayesBiNN", "BayesBiNN", "best constant, metric by metric",
    ]  # fmt: skip


def test_the_same_runs_give_the_same_files(runs, tmp_path):
    first, again = (segmentation.draw(runs, tmp_path / name) for name in ("a", "b"))
    for ours, theirs in zip(first, again, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()


def test_runs_that_are_not_finished_are_left_out(results, tmp_path):
    folder = results["ste"][0].folder
    assert len(segmentation.segmented([folder, RunFolder(tmp_path / "nowhere")])) == 1


def test_panels_are_the_corners_of_the_picture(results):
    path = next((results["ste"][0].folder.path / "pictures").glob("*.png"))
    with Image.open(path) as image:
        whole = image.convert("RGB").copy()
    parts = segmentation.panels(path)
    assert [part.shape for part in parts] == [(45, 45, 3)] * 4
    assert all(
        tuple(part[44, 44]) == whole.getpixel((k * 49 + 44, 44)) for k, part in enumerate(parts)
    )


def test_published_figures_are_found():
    assert segmentation.published().find(
        "reproduction_segmentation_final", "isbi_em", "ste", "test"
    ).mean == pytest.approx(68.9)
