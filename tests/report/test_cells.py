"""The cells: published settings, one set of runs for a shared cell, runs found by signature."""

from functools import cache
from pathlib import Path

import pytest

from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.launch.dry_run import points_of
from bnnrepro.launch.plan import run_folder_of
from bnnrepro.report.cells import Cell, cells
from bnnrepro.report.figures import FIGURES
from bnnrepro.report.reproduce import Request, requested_cells
from bnnrepro.report.tables import table_of_sweep, tables
from bnnrepro.runs.layout import RunFolder

DATA_SETS = ("mnist", "cifar10", "cifar100")
METHODS = ("bayesbinn", "ste", "bop", "pmf", "full_precision")
RATES = (1e-1, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
TEMPERATURES = tuple(float(f"1e-{digit}") for digit in range(3, 13))


@cache
def of(table: str) -> list[Cell]:
    return cells(tables()[table].sweep, preset="paper", seeds=1, out="multirun")


def folders(composed: list[Cell]) -> set[Path]:
    return {run.folder.path for cell in composed for run in cell.runs}


def test_table_2_is_every_method_on_every_data_set_with_its_published_settings() -> None:
    composed = of("2")
    assert {cell.name for cell in composed} >= {
        f"dataset={d} method={m}" for d in DATA_SETS for m in METHODS
    }
    for cell in composed:
        # tests/config/test_compose.py holds this composition to the paper's table 9
        published = compose(f"dataset={cell.dataset}", f"method={cell.method}")
        assert cell.runs[0].config == published
        assert cell.choices == {"dataset": cell.dataset, "method": cell.method}


@pytest.mark.parametrize(
    ("table", "key", "values"), [("6", "lr", RATES), ("7", "temperature", TEMPERATURES)]
)
def test_tables_6_and_7_change_one_key(table: str, key: str, values: tuple[float, ...]) -> None:
    composed = of(table)
    published = compose("dataset=mnist", "method=bayesbinn").to_dict()
    assert sorted(getattr(cell.runs[0].config.method, key) for cell in composed) == sorted(values)
    for cell in composed:
        own = cell.runs[0].config.to_dict()
        own["method"][key] = published["method"][key]
        assert own == published


@pytest.mark.slow
@pytest.mark.parametrize("table", ["2", "6", "7", "10", "11"])
def test_the_sweep_and_the_cells_are_the_same_runs(table: str) -> None:
    sweep = "table2" if table == "10" else f"table{table}"
    swept = points_of([f"sweep={sweep}", "seed=0"])
    assert {run_folder_of(config, {}).path for _, config in swept} == folders(of(table))


def test_a_sweep_of_a_file_may_set_its_points_own_keys_and_keeps_seeds_slowest() -> None:
    """The default data set has no folder, the swept one has."""
    words = [
        "sweep=segmentation",
        "dataset.root=elsewhere",
        "seed=range(2)",
        "method=ste,bayesbinn",
    ]
    points = points_of(words)
    assert {config.dataset.root for _, config in points} == {"elsewhere"}
    order = [(config.seed, config.method.name) for _, config in points]
    assert order == [(0, "ste"), (0, "bayesbinn"), (1, "ste"), (1, "bayesbinn")]


def test_a_cell_that_tables_share_is_one_set_of_runs() -> None:
    second = folders(of("2"))
    assert folders(of("10")) == second
    one = {"dataset": ("mnist",), "method": ("bayesbinn",)}
    shared = folders(cells("table2", preset="paper", seeds=1, out="multirun", where=one))
    assert len(shared) == 1
    assert folders(of("6")) & second == folders(of("7")) & folders(of("6")) == shared


@pytest.mark.parametrize(
    ("dataset", "model", "epochs", "lr"),
    [("mnist", "lrnet_small", 190, 1e-4), ("cifar10", "lrnet_big", 290, 3e-4)],
)
def test_table_11_has_no_split_and_a_cosine_over_its_own_epochs(
    dataset: str, model: str, epochs: int, lr: float
) -> None:
    (cell,) = [cell for cell in of("11") if cell.dataset == dataset]
    config = cell.runs[0].config
    assert (config.model.name, config.effective_epochs, config.method.lr) == (model, epochs, lr)
    assert config.dataset.validation_split == 0
    assert (config.scheduler.name, config.scheduler.span) == ("cosine", None)


@pytest.mark.parametrize("table", tables())
def test_the_cells_of_a_table_are_the_points_of_its_sweep(table: str) -> None:
    assert set(tables()[table].cells) == {cell.name for cell in of(table)}


@pytest.mark.parametrize("sweep", ["search_digits", "figure5", "uncertainty", "no such"])
def test_a_search_and_a_sweep_over_experiments_are_no_table(sweep: str) -> None:
    assert table_of_sweep(sweep) is None
    with pytest.raises(UserError, match=f"table={sweep}: must be one of 2, .*, successors_digits"):
        requested_cells(Request("table", sweep))


@pytest.mark.slow
def test_a_sweep_over_models_is_a_column_for_each_compared_with_nothing() -> None:
    table = table_of_sweep("successors_cifar")
    assert table is not None
    points = cells(table.sweep, preset="smoke", seeds=1, out="multirun")
    assert set(table.cells) == {cell.name for cell in points}
    assert len({run for cell in points for run in folders([cell])}) == len(points) == 48
    assert {entry.column for entry in table.entries} == {
        f"{data} {model}" for data in ("CIFAR-10", "CIFAR-100") for model in ("vgg16", "resnet18")
    }
    assert not any(entry.paper or entry.earlier for entry in table.entries)


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_has_points_in_its_sweep(figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = FIGURES[figure]
    folder = RunFolder(Path("read without data"))
    monkeypatch.setattr("bnnrepro.report.cells.run_folder_of", lambda *_: folder)
    composed = cells(shown.sweep, preset="paper", seeds=1, out="multirun", where=shown.where)
    for key, values in shown.where.items():
        assert {cell.choices[key] for cell in composed} == set(values)
    assert composed


def test_runs_of_presets_and_seeds_never_share_a_folder() -> None:
    every = [
        folders(cells(sweep, preset=preset, seeds=3, out="multirun"))
        for preset in ("paper", "quick", "smoke")
        for sweep in ("table11", "figure3")
    ]
    assert [len(paths) for paths in every] == [6] * 6
    assert len(set.union(*every)) == 36


def test_what_changes_no_number_leaves_the_runs_where_they_are() -> None:
    plain = cells("table11", preset="quick", seeds=2, out="multirun")
    words = ["dataset.root=elsewhere", "threads=1", "device=cpu", "evaluate.samples=3"]
    words += ["hydra/launcher=local", "hydra.launcher.processes=2"]
    changed = cells("table11", preset="quick", seeds=2, out="multirun", overrides=words)
    assert folders(changed) == folders(plain)
    assert {run.config.dataset.root for cell in changed for run in cell.runs} == {"elsewhere"}
    assert [cell.choices for cell in changed] == [cell.choices for cell in plain]
    moved = cells("table11", preset="quick", seeds=2, out="multirun", overrides=["out=there"])
    assert {path.parts[0] for path in folders(moved)} == {"there"}


@pytest.mark.parametrize(
    "override",
    ["epochs=3", "seed=7", "preset=smoke", "precision=bf16", "method=bop", "preset.width=0.5"],
)
def test_what_changes_numbers_is_refused(override: str) -> None:
    words = ["threads=1", override, "device=cpu"]
    with pytest.raises(UserError, match=f"^{override}: would make other runs"):
        cells("figure3", preset="quick", seeds=1, out="multirun", overrides=words)


def test_quick_narrows_the_vgg_alone_and_says_so_in_the_signature() -> None:
    where = {"dataset": ("mnist", "cifar10"), "method": ("ste",)}
    composed = {
        cell.dataset: cell.runs[0].config
        for cell in cells("table2", preset="quick", seeds=1, out="multirun", where=where)
    }
    vgg, mlp = composed["cifar10"], composed["mnist"]
    assert vgg.effective_model.channels == [32, 32, 64, 64, 128, 128]
    assert vgg.effective_model.hidden == [256, 256]
    assert mlp.effective_model == mlp.model
    assert {config.preset.stand_in for config in composed.values()} == {None}
