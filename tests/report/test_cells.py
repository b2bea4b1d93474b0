"""The cells: published settings, one set of runs for a shared cell, runs found by signature."""

from functools import cache
from pathlib import Path

import pytest

from bnnrepro.config.compose import compose, conf_dir
from bnnrepro.errors import UserError
from bnnrepro.launch.dry_run import plan_of
from bnnrepro.report.cells import Cell, cells
from bnnrepro.report.figures import FIGURES
from bnnrepro.report.tables import TABLES

DATA_SETS = ("mnist", "cifar10", "cifar100")
METHODS = ("bayesbinn", "ste", "bop", "pmf", "full_precision")
RATES = (1e-1, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
TEMPERATURES = tuple(float(f"1e-{digit}") for digit in range(3, 13))


@cache
def of(table: str) -> list[Cell]:
    return cells(TABLES[table].cells, preset="paper", seeds=1, out="multirun")


def folders(composed: list[Cell]) -> set[Path]:
    return {run.folder.path for cell in composed for run in cell.runs}


def test_table_2_is_every_method_on_every_data_set_with_its_published_settings() -> None:
    composed = of("2")
    assert {cell.name for cell in composed} == {
        f"table2_{d}_{m}" for d in DATA_SETS for m in METHODS
    }
    for cell in composed:
        # tests/config/test_compose.py holds this composition to the paper's table 9
        published = compose(f"dataset={cell.dataset}", f"method={cell.method}")
        assert cell.runs[0].config == published
        assert cell.name == f"table2_{cell.dataset}_{cell.method}"


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


@pytest.mark.parametrize(
    ("table", "search"), [("6", "table6_learning_rate"), ("7", "table7_temperature")]
)
def test_the_searches_and_the_cells_are_the_same_runs(table: str, search: str) -> None:
    swept = {planned.run.folder.path for planned in plan_of([f"hparams_search={search}", "seed=0"])}
    assert swept == folders(of(table))


def test_a_cell_that_tables_share_is_one_set_of_runs() -> None:
    second = folders(of("2"))
    assert folders(of("10")) == second
    shared = folders(cells(["table2_mnist_bayesbinn"], preset="paper", seeds=1, out="multirun"))
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


def test_every_cell_of_a_table_or_figure_is_an_experiment() -> None:
    files = {file.stem for file in (conf_dir() / "experiment").glob("*.yaml")}
    named = {cell for item in [*TABLES.values(), *FIGURES.values()] for cell in item.cells}
    assert named <= files


def test_runs_of_presets_and_seeds_never_share_a_folder() -> None:
    names = ["table2_mnist_ste", "table2_cifar10_ste", "table11_mnist_bayesbinn"]
    every = [
        folders(cells(names, preset=preset, seeds=3, out="multirun"))
        for preset in ("paper", "quick", "smoke")
    ]
    assert [len(paths) for paths in every] == [9, 9, 9]
    assert len(set.union(*every)) == 27


def test_what_changes_no_number_leaves_the_runs_where_they_are() -> None:
    names = ["table2_mnist_ste", "table2_cifar10_ste"]
    plain = cells(names, preset="quick", seeds=2, out="multirun")
    words = ["dataset.root=elsewhere", "threads=1", "device=cpu", "evaluate.samples=3"]
    words += ["hydra/launcher=local", "hydra.launcher.processes=2"]
    changed = cells(names, preset="quick", seeds=2, out="multirun", overrides=words)
    assert folders(changed) == folders(plain)
    assert {run.config.dataset.root for cell in changed for run in cell.runs} == {"elsewhere"}
    moved = cells(names, preset="quick", seeds=2, out="multirun", overrides=["out=there"])
    assert {path.parts[0] for path in folders(moved)} == {"there"}


@pytest.mark.parametrize(
    "override",
    ["epochs=3", "seed=7", "preset=smoke", "precision=bf16", "method=bop", "preset.width=0.5"],
)
def test_what_changes_numbers_is_refused(override: str) -> None:
    words = ["threads=1", override, "device=cpu"]
    with pytest.raises(UserError, match=f"^{override}: would make other runs"):
        cells(["table2_mnist_ste"], preset="quick", seeds=1, out="multirun", overrides=words)


def test_quick_narrows_the_vgg_alone_and_says_so_in_the_signature() -> None:
    names = ["table2_mnist_ste", "table2_cifar10_ste"]
    composed = {
        cell.name: cell.runs[0].config
        for cell in cells(names, preset="quick", seeds=1, out="multirun")
    }
    vgg, mlp = composed["table2_cifar10_ste"], composed["table2_mnist_ste"]
    assert vgg.effective_model.channels == [32, 32, 64, 64, 128, 128]
    assert vgg.effective_model.hidden == [256, 256]
    assert mlp.effective_model == mlp.model
    assert {config.preset.stand_in for config in composed.values()} == {None}
