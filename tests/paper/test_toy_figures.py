"""Figures 2 and 3 and the uncertainty figure, from runs alone; their numbers from known maps."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.paper import maps
from bnnrepro.paper.cells import cells
from bnnrepro.paper.collect import collect
from bnnrepro.paper.figures import figure2, figure3, uncertainty
from bnnrepro.paper.maps import Mapped
from bnnrepro.running import run
from bnnrepro.tasks import maps as written

TOY = ("model.hidden=[4]", "epochs=3", "device=cpu", "threads=1")


def finished(out: Path, *overrides: str):
    return run(compose(*TOY, f"out={out}", *overrides)).folder


def known(mode: float, mean: float | None = None, spread: float = 0.0, seed: int = 0) -> Mapped:
    """A map in one dimension: the data at 0, the same prediction everywhere."""
    grid = np.linspace(-4, 4, 81, dtype=np.float32)[:, None]
    everywhere = np.ones(81, dtype=np.float32)
    arrays = {"inputs": np.zeros((5, 1), np.float32), "targets": np.zeros(5), "grid": grid}
    arrays["mode"] = mode * everywhere
    figures = {"accuracy": 90.0, "rmse": 1.0, "nll": 0.5, "ece": 0.1}
    if mean is not None:
        arrays |= {"mean": mean * everywhere, "spread": spread * everywhere}
    result = {"final": {"test": {"mode": figures, "mean": figures}, "train": {}}}
    return Mapped(seed, result, arrays)


def test_far_is_at_least_the_distance_from_every_point() -> None:
    arrays = known(0.5).arrays
    place = np.abs(arrays["grid"][:, 0])
    assert maps.far(arrays)[place > maps.FAR[1] + 0.01].all()
    assert not maps.far(arrays)[place < maps.FAR[1] - 0.01].any()
    moved = {**arrays, "inputs": np.array([[-3.5], [3.5]], np.float32)}
    far = moved["grid"][maps.far(moved), 0]
    assert np.abs(far).max() <= 2.51
    assert 0 in far


def test_entropy_and_confidence_far_from_the_data() -> None:
    numbers = maps.class_numbers(known(0.5), "mode")
    assert numbers["far_entropy"] == pytest.approx(math.log(2))
    assert numbers["far_confidence"] == 0.5
    numbers = maps.class_numbers(known(1.0), "mode")
    assert numbers["far_entropy"] == pytest.approx(0)
    assert numbers["far_confidence"] == 1


def test_a_regression_s_entropy_grows_with_the_spread_of_its_draws() -> None:
    run = known(0.0, mean=0.0, spread=1.5)
    mode, mean = (maps.value_numbers(run, kind) for kind in ("mode", "mean"))
    assert mode["far_spread"] == 0
    assert mean["far_spread"] == mean["near_spread"] == pytest.approx(1.5)
    for numbers, variance in ((mode, 0.5), (mean, 0.5 + 1.5**2)):
        wanted = math.log(2 * math.pi * math.e * variance) / 2
        assert numbers["far_entropy"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("ste", "words"), [(0.99, "in 1 of 1 seeds"), (0.5, "in 0 of 1 seeds"), (None, "nothing can")]
)
def test_the_verdict_says_whether_the_claim_holds(ste: float | None, words: str) -> None:
    runs = {"ste": [known(ste)] if ste else [], "bayesbinn": [known(0.9, mean=0.8)]}
    assert words in maps.verdict(figure3.rows_of(runs, maps.class_numbers))


def test_a_regression_s_verdict_says_whether_the_spread_grows() -> None:
    runs = {"ste": [known(0.0)], "bayesbinn": [known(0.0, mean=0.0, spread=1.0)]}
    rows = figure2.rows_of(runs, maps.value_numbers)
    assert "in 0 of 1 seeds" in maps.verdict(rows)
    rows[-1][3]["far_spread"] += 0.1
    assert "near it in 1 of 1 seeds" in maps.verdict(rows)


@pytest.mark.parametrize(
    ("figure", "dataset"), [(figure3, "two_moons"), (figure2, "toy_regression")]
)
def test_a_toy_s_figure_from_runs(figure, dataset: str, tmp_path: Path) -> None:
    runs = {
        method: maps.mapped(
            [
                finished(
                    tmp_path / "runs", f"dataset={dataset}", f"method={method}", f"seed={seed}"
                )
                for seed in (1, 0)
            ]
        )
        for method in ("ste", "bayesbinn")
    }
    assert [each.seed for each in runs["ste"]] == [0, 1]
    files = figure.draw_runs(runs, tmp_path / "to")
    assert [path.suffix for path in files] == [".png", ".pdf", ".csv", ".md"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"%PDF")
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6  # two seeds of STE's mode, BayesBiNN's mode and mean
    figures = runs["ste"][0].result["final"]["test"]["mode"]
    assert float(rows[0]["nll"]) == figures["nll"]
    assert "of 2 seeds" in files[3].read_text()
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in figure.draw_runs(runs, tmp_path / "to")] == before


def test_the_figure_of_its_cells_runs(tmp_path: Path) -> None:
    there = cells(figure3.CELLS, preset="smoke", seeds=2, out=str(tmp_path / "runs"))
    for cell in there:
        run(compose(f"experiment={cell.name}", "preset=smoke", f"out={tmp_path / 'runs'}"))
    files = figure3.draw(collect(there), tmp_path / "to")
    told = files[-1].read_text()
    assert told.startswith("**preset smoke: not the paper's protocol; 2 of 4 runs done**")
    assert "seeds." not in told  # a shortened protocol says nothing of the claim
    nothing = cells(figure3.CELLS, preset="smoke", seeds=2, out=str(tmp_path / "none"))
    with pytest.raises(UserError, match="no run of these is finished"):
        figure3.draw(collect(nothing), tmp_path / "to")


def test_unfinished_runs_are_passed_over_and_damaged_maps_named(tmp_path: Path) -> None:
    folder = finished(tmp_path, "dataset=two_moons")
    unfinished = finished(tmp_path, "dataset=two_moons", "seed=1", "stop_after=1")
    assert len(maps.mapped([folder, unfinished])) == 1
    (folder.path / maps.FILE).write_bytes(b"no map")
    with pytest.raises(UserError, match=r"map=.*map\.npz: cannot be read"):
        maps.mapped([folder])


def test_writer_and_reader_agree() -> None:
    assert maps.FILE == written.FILE
    assert set(maps.FAR) == set(written.STEPS)


def test_the_uncertainty_figure_from_results(tmp_path: Path) -> None:
    words = ("model.hidden=[32]", "device=cpu", "threads=1", f"out={tmp_path}", "preset=smoke")
    results = {
        method: [run(compose(*words, f"method={method}", f"seed={s}")).values for s in (0, 1)]
        for method in ("bayesbinn", "ste")
    }
    told = results["bayesbinn"][0]
    again = {**told["best"], "ood": {"n": 1, "mode": {"entropy": 0.75}}}
    told["evaluations"] = [{"evaluate": {}, "best": again, "final": again}]
    files = uncertainty.draw_results(results, tmp_path / "to")
    assert [path.suffix for path in files] == [".png", ".pdf", ".csv", ".md"]
    text = files[3].read_text()
    assert "| bayesbinn | mode | 2 |" in text
    assert "| 0.75 | - |" in text
    assert "| ste | mean |" not in text
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["run"] == "ste" and row["x"] == "0.0")
    accuracy = uncertainty.chosen(results["ste"][0])["test"]["mode"]["accuracy"]
    assert float(first["y"]) == pytest.approx(accuracy)
    assert {row["curve"] for row in rows} == {"rejection", "reliability"}


def test_collected_runs_with_foreign_images_are_whole(tmp_path: Path) -> None:
    (cell,) = cells(
        ["uncertainty_mnist_bayesbinn"],
        preset="smoke",
        seeds=1,
        out=str(tmp_path / "runs"),
        overrides=["device=cpu", "threads=1"],
    )
    run(cell.runs[0].config)
    files = uncertainty.draw(collect([cell]), tmp_path / "to")
    told = files[-1].read_text()
    assert "| uncertainty_mnist_bayesbinn | mean | 1 |" in told
    assert "preset smoke: not the paper's protocol; other data stand in for mnist" in told
    with pytest.raises(UserError, match="no run of these is finished"):
        uncertainty.draw([], tmp_path / "to")
