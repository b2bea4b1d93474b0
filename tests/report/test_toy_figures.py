"""Figures 2 and 3 and the uncertainty figure, from runs alone; their numbers from given maps."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from bnnrepro.cli.report import main
from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.report.cells import Cell, Expected, cells
from bnnrepro.report.collect import CellResults, collect
from bnnrepro.report.figures import toys, uncertainty
from bnnrepro.report.figures.toys import REGRESSION, TWO_MOONS, GridRun
from bnnrepro.runs.layout import MAP
from bnnrepro.tasks import prediction_grid as written

TOY = ("model.hidden=[4]", "epochs=3", "device=cpu", "threads=1")


def collected(
    out: Path, method: str, *overrides: str, seeds: tuple[int, ...] = (0,)
) -> CellResults:
    """Run a method on a toy with some seeds and collect it as a cell's runs."""
    words = (*TOY, f"out={out}", f"method={method}", *overrides)
    configs = [compose(*words, f"seed={seed}") for seed in seeds]
    runs = tuple(Expected(config.seed, run(config).folder, config) for config in configs)
    name = configs[0].dataset.name
    model, preset = configs[0].model.name, configs[0].preset.name
    (results,) = collect([Cell("mine", {"method": method}, preset, name, model, method, runs)])
    return results


def grid_run(
    mode: float, mean: float | None = None, spread: float = 0.0, metric: str = "accuracy"
) -> GridRun:
    """A map in one dimension: the data at 0, the same prediction everywhere."""
    grid = np.linspace(-4, 4, 81, dtype=np.float32)[:, None]
    everywhere = np.ones(81, dtype=np.float32)
    arrays = {"inputs": np.zeros((5, 1), np.float32), "targets": np.zeros(5), "grid": grid}
    arrays["mode"] = mode * everywhere
    figures = {metric: 0.9, "nll": 0.5, "ece": 0.1}
    if mean is None:
        return GridRun(0, {"mode": figures}, arrays)
    arrays |= {"mean": mean * everywhere, "spread": spread * everywhere}
    return GridRun(0, {"mode": figures, "mean": figures}, arrays)


def test_far_is_at_least_the_distance_from_every_point() -> None:
    arrays = grid_run(0.5).arrays
    place = np.abs(arrays["grid"][:, 0])
    assert toys.far(arrays)[place > toys.FAR[1] + 0.01].all()
    assert not toys.far(arrays)[place < toys.FAR[1] - 0.01].any()
    moved = {**arrays, "inputs": np.array([[-3.5], [3.5]], np.float32)}
    far = moved["grid"][toys.far(moved), 0]
    assert np.abs(far).max() <= 2.51
    assert 0 in far


def test_entropy_and_confidence_far_from_the_data() -> None:
    numbers = toys.numbers(grid_run(0.5), "mode")
    assert numbers["far_entropy"] == pytest.approx(math.log(2))
    assert numbers["far_confidence"] == 0.5
    numbers = toys.numbers(grid_run(1.0), "mode")
    assert numbers["far_entropy"] == pytest.approx(0)
    assert numbers["far_confidence"] == 1


def test_a_regression_s_entropy_grows_with_the_spread_of_its_draws() -> None:
    run = grid_run(0.0, mean=0.0, spread=1.5, metric="rmse")
    mode, mean = (toys.numbers(run, kind) for kind in ("mode", "mean"))
    assert mode["far_spread"] == 0
    assert mean["far_spread"] == mean["near_spread"] == pytest.approx(1.5)
    for numbers, variance in ((mode, 0.5), (mean, 0.5 + 1.5**2)):
        expected = math.log(2 * math.pi * math.e * variance) / 2
        assert numbers["far_entropy"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ste", "words"),
    [(0.99, "in 1 of 1 seeds"), (0.5, "in 0 of 1 seeds"), (None, "cannot be tested")],
)
def test_the_verdict_says_whether_the_claim_holds(ste: float | None, words: str) -> None:
    runs = {"ste": [grid_run(ste)] if ste else [], "bayesbinn": [grid_run(0.9, mean=0.8)]}
    assert words in toys.verdict(toys.table_of(runs))


def test_a_regression_s_verdict_says_whether_the_spread_grows() -> None:
    bayesbinn = grid_run(0.0, mean=0.0, spread=1.0, metric="rmse")
    table = toys.table_of({"ste": [grid_run(0.0, metric="rmse")], "bayesbinn": [bayesbinn]})
    assert "in 0 of 1 seeds" in toys.verdict(table)
    table["far_spread"] += 0.1
    assert "near it in 1 of 1 seeds" in toys.verdict(table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "dataset"), [(TWO_MOONS, "two_moons"), (REGRESSION, "toy_regression")]
)
def test_a_toy_s_figure_from_runs(figure, dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    cells = [
        collected(out, method, f"dataset={dataset}", seeds=(0, 1))
        for method in ("ste", "bayesbinn")
    ]
    files = figure.plot(cells, tmp_path / "to")
    assert [path.suffix for path in files] == [".png", ".pdf", ".csv", ".md"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"%PDF")
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6  # two seeds of STE's mode, BayesBiNN's mode and mean
    assert float(rows[0]["nll"]) == toys.grid_runs(cells[0])[0].figures["mode"]["nll"]
    text = files[3].read_text()
    assert "of 2 seeds" in text
    assert ("ECE of 1,000 test points;" in text) == (figure is TWO_MOONS)
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in figure.plot(cells, tmp_path / "to")] == before


@pytest.mark.slow
def test_the_figure_of_its_cells_runs(tmp_path: Path) -> None:
    planned = cells("figure3", preset="smoke", seeds=2, out=str(tmp_path / "runs"))
    for cell in planned:
        run(compose(*cell.words, "preset=smoke", f"out={tmp_path / 'runs'}"))
    files = TWO_MOONS.plot(collect(planned), tmp_path / "to")
    text = files[-1].read_text()
    first = "preset smoke: not the paper's protocol; 2 of 4 runs done; commit "
    assert text.startswith(f"**{first}")
    assert "ECE of 100 test points;" in text  # the paper's protocol has 1,000
    assert "seeds." not in text  # a shortened protocol says nothing of the claim
    nothing = cells("figure3", preset="smoke", seeds=2, out=str(tmp_path / "none"))
    with pytest.raises(UserError, match="no run of these is finished"):
        TWO_MOONS.plot(collect(nothing), tmp_path / "to")


def test_unfinished_runs_are_passed_over_and_damaged_maps_named(tmp_path: Path) -> None:
    words = ("dataset=two_moons", "stop_after=1")
    assert toys.grid_runs(collected(tmp_path, "ste", *words)) == []
    done = collected(tmp_path, "ste", "dataset=two_moons")
    assert len(toys.grid_runs(done)) == 1
    (done.used[0].expected.folder.path / MAP).write_bytes(b"no map")
    with pytest.raises(UserError, match=r"map=.*map\.npz: cannot be read \(damaged or cut short\)"):
        toys.grid_runs(done)


@pytest.mark.parametrize(
    ("figure", "dataset", "override"),
    [
        (TWO_MOONS, "two_moons", "evaluate.samples=1"),
        (TWO_MOONS, "two_moons", "evaluate.average=logits"),
        (REGRESSION, "toy_regression", "evaluate.samples=1"),
    ],
)
def test_a_mean_of_other_draws_is_refused_until_the_line_is_run_that_the_error_says(
    figure, dataset: str, override: str, tmp_path: Path
) -> None:
    """The same network is evaluated with the figure's settings, with others, and again."""
    words = ("bayesbinn", f"dataset={dataset}")
    expected = collected(tmp_path, *words)
    before = toys.grid_runs(expected)[0]
    collected(tmp_path, *words, override)  # the map is of these draws now
    with pytest.raises(UserError) as caught:
        figure.plot([expected], tmp_path / "to")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "its mean is not that of 10 draws, probabilities averaged" in lines[0]
    assert lines[1].startswith("python run.py sweep=mine method=bayesbinn preset=paper seed=0 out=")
    assert lines[1].endswith("evaluate.samples=10 evaluate.average=probabilities")
    again = toys.grid_runs(collected(tmp_path, *words))[0]
    assert again.figures == before.figures
    assert all(np.array_equal(again.arrays[key], before.arrays[key]) for key in before.arrays)


def test_the_numbers_are_those_of_the_draws_that_the_cell_asks_for(tmp_path: Path) -> None:
    """Trained with one draw, evaluated again with ten: the row of the mean is that of ten."""
    words = ("bayesbinn", "dataset=two_moons", "method.init=0.5")
    first = (
        collected(tmp_path, *words, "evaluate.samples=1").used[0].result["final"]["test"]["mean"]
    )
    cell = collected(tmp_path, *words)
    (again,) = cell.used[0].result["evaluations"]
    ten = again["final"]["test"]["mean"]
    assert ten["nll"] != first["nll"]
    *_, rows, _ = TWO_MOONS.plot([cell], tmp_path / "to")
    with rows.open() as file:
        (mean,) = [row for row in csv.DictReader(file) if row["prediction"] == "mean"]
    assert float(mean["nll"]) == ten["nll"]


def test_a_run_that_was_never_evaluated_as_the_cell_says_is_refused(tmp_path: Path) -> None:
    words = ("bayesbinn", "dataset=two_moons")
    cell = collected(tmp_path, *words)
    folder = cell.used[0].expected.folder
    collected(tmp_path, *words, "evaluate.ece_bins=7", "on_done=rerun")
    (stale,) = collect([cell.cell])
    with pytest.raises(UserError, match=r"result=.*was not evaluated with .*\npython run.py "):
        toys.grid_runs(stale)
    assert folder.result.exists()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut short", "a flipped byte", "missing"])
def test_a_real_map_that_is_damaged_is_said_in_two_lines(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["dataset=two_moons", "method=bayesbinn", "preset=smoke", "threads=1"]
    path = run(compose(*words, "out=multirun")).folder.path / MAP
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 255
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if fault == "cut short" else changed)
    capsys.readouterr()
    assert main(["figure", "3", "--preset", "smoke", "--seeds", "1"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    reason = "No such file or directory" if fault == "missing" else "damaged or cut short"
    assert first.startswith("error: map=multirun/two_moons/")
    assert f"map.npz: cannot be read ({reason}); to remake it:" in first
    point = "sweep=figure3 dataset=two_moons method=bayesbinn"
    assert second.startswith(f"python run.py {point} preset=smoke seed=0 ")
    run(compose(*second.split()[2:]))
    assert path.read_bytes() == whole
    assert main(["figure", "3", "--preset", "smoke", "--seeds", "1"]) == 0


def test_writer_and_reader_agree() -> None:
    assert set(toys.FAR) == set(written.STEPS)


@pytest.mark.slow
def test_the_uncertainty_figure_from_results(tmp_path: Path) -> None:
    words = ("model.hidden=[32]", "preset=smoke", "dataset=digits")
    cells = [collected(tmp_path, method, *words, seeds=(0, 1)) for method in ("bayesbinn", "ste")]
    cells[0].used[0].result["best"]["ood"] = {"n": 1, "mode": {"entropy": 0.75}}
    files = uncertainty.plot(cells, tmp_path / "to")
    assert [path.suffix for path in files] == [".png", ".pdf", ".csv", ".md"]
    text = files[3].read_text()
    assert "| method=bayesbinn | mode | 2 |" in text
    assert "| 0.75 | - |" in text
    assert "| method=ste | mean |" not in text
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["cell"] == "method=ste" and row["x"] == "0.0")
    accuracy = cells[1].used[0].result["best"]["test"]["mode"]["accuracy"]
    assert float(first["y"]) == pytest.approx(accuracy)
    assert {row["curve"] for row in rows} == {"rejection", "reliability"}


def test_collected_runs_with_foreign_images_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell,) = cells(
        "uncertainty",
        preset="smoke",
        seeds=1,
        out=str(tmp_path / "runs"),
        overrides=["device=cpu", "threads=1"],
        where={"experiment": ("uncertainty_mnist_bayesbinn",)},
    )
    run(cell.runs[0].config)
    out = capsys.readouterr().out.splitlines()
    (place,) = [k for k, line in enumerate(out) if "vs digits" in line and "mean of" in line]
    assert out[place + 1].strip() == "the test set itself, in place of mnist: meaningless"
    files = uncertainty.plot(collect([cell]), tmp_path / "to")
    text = files[-1].read_text()
    assert "| experiment=uncertainty_mnist_bayesbinn | mean | 1 |" in text
    assert "preset smoke: not the paper's protocol; other data stand in for mnist" in text
    assert "the OOD set (digits) is the test set itself: the AUROC is meaningless" in text
    with pytest.raises(UserError, match="no run of these is finished"):
        uncertainty.plot([], tmp_path / "to")


def test_uncertainty_takes_the_evaluation_that_its_cell_asks_for(tmp_path: Path) -> None:
    words = ("model.hidden=[32]", "device=cpu", "threads=1", f"out={tmp_path}", "preset=smoke")
    words += ("method.temperature=1",)
    result = run(compose(*words, "evaluate.samples=1"))
    config = compose(*words)
    runs = (Expected(0, result.folder, config),)
    cell = Cell("mine", {"my": "cell"}, "smoke", "digits", "mlp", "bayesbinn", runs)
    text = uncertainty.plot(collect([cell]), tmp_path / "to")[-1].read_text()
    assert "mean of 1 of 1 runs left out: evaluated with other settings" in text
    assert "| my=cell | mode | 1 |" in text
    assert "| my=cell | mean |" not in text
    expected = run(config).values["evaluations"][0]["best"]["test"]["mean"]["nll"]
    run(compose(*words, "evaluate.samples=2"))  # the newest is not the one that counts
    text = uncertainty.plot(collect([cell]), tmp_path / "to")[-1].read_text()
    assert "other settings" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| my=cell | mean |")]
    assert row.split(" | ")[4] == f"{expected:.4g}"
