"""Composition: every file in conf/ composes, Table 9 exactly, and who wins over whom.

Every experiment and every pair of a data set and a method is composed in test_golden.py.
"""

import itertools
from pathlib import Path

import pytest
from tests.composing import composed

from bnnrepro.cli.run import main
from bnnrepro.config.compose import compose, conf_dir
from bnnrepro.config.schema import Config

CONF = conf_dir()
IMAGES = ("digits", "mnist", "cifar10")
NEEDED = {
    "model=toy_mlp": ["dataset=two_moons"],
    "model=unet": ["dataset=shapes"],
    "model=vgg16": ["dataset=cifar10"],
}

# Table 9 and the shared protocol of arXiv 2002.10778v4, from the paper, not from conf/.
SHARED = {
    "mnist": {"epochs": 500, "batch_size": 100, "pad": 0, "flip": False, "model": "mlp"},
    "cifar10": {"epochs": 500, "batch_size": 50, "pad": 4, "flip": True, "model": "vgg"},
    "cifar100": {"epochs": 500, "batch_size": 50, "pad": 4, "flip": True, "model": "vgg"},
}
TOYS = ("two_moons", "toy_regression", "snelson")
SEGMENTED = ("shapes", "isbi_em")
PROTOCOLS = (*IMAGES, "cifar100", "permuted_digits", "permuted_mnist", *TOYS, *SEGMENTED)
COSINE = {
    "name": "cosine",
    "final": 1e-16,
    "span": None,
    "per": "epoch",
    "stepped": "before",
    "warmup": 0,
}


def step(step_size: int, factor: float, per: str) -> dict[str, object]:
    return {"name": "step", "step_size": step_size, "factor": factor, "per": per}


def bayesbinn(lr: float, temperature: float, scale: float) -> dict[str, object]:
    return {
        "lr": lr,
        "temperature": temperature,
        "train_set_scale": scale,
        "momentum": 0,
        "train_samples": 1,
        "prior": 0,
        "init": 10,
    }


STE = {"lr": 1e-2, "grad_clip": 1, "weight_clip": 1}
TABLE9 = [
    ("mnist", "bayesbinn", bayesbinn(1e-4, 1e-10, 1), COSINE),
    ("cifar10", "bayesbinn", bayesbinn(3e-4, 1e-10, 10), COSINE),
    ("cifar100", "bayesbinn", bayesbinn(3e-4, 1e-8, 10), COSINE),
    ("mnist", "ste", STE, COSINE),
    ("cifar10", "ste", STE, COSINE),
    ("cifar100", "ste", STE, COSINE),
    ("mnist", "full_precision", {"lr": 3e-4}, COSINE),
    ("cifar10", "full_precision", {"lr": 1e-2}, COSINE),
    ("cifar100", "full_precision", {"lr": 3e-3}, COSINE),
    (
        "mnist",
        "bop",
        {"threshold": 1e-8, "adaptivity_rate": 1e-5},
        step(1, pytest.approx(10 ** (-3 / 500), rel=1e-12), "epoch"),
    ),
    ("cifar10", "bop", {"threshold": 1e-8, "adaptivity_rate": 1e-4}, step(100, 0.1, "epoch")),
    ("cifar100", "bop", {"threshold": 1e-9, "adaptivity_rate": 1e-4}, step(100, 0.1, "epoch")),
    (
        "mnist",
        "pmf",
        {"lr": 1e-3, "rho": 1.2, "beta_interval": 100, "beta_max": 1e4, "weight_decay": 0},
        step(7000, 0.2, "iteration"),
    ),
    *(
        (
            dataset,
            "pmf",
            {"lr": 1e-2, "rho": 1.05, "beta_interval": 100, "beta_max": 1e4, "weight_decay": 1e-4},
            step(30_000, 0.2, "iteration"),
        )
        for dataset in ("cifar10", "cifar100")
    ),
]


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def values(part: object, names: dict[str, object]) -> dict[str, object]:
    return {name: getattr(part, name) for name in names}


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={option}"
        for group in ("model", "scheduler", "preset", "logger")
        for option in options(group)
    ],
)
def test_every_file_composes(choice: str) -> None:
    config = composed(choice, *NEEDED.get(choice, []))
    group, _, option = choice.partition("=")
    assert getattr(config, group).name == option


@pytest.mark.parametrize(
    ("dataset", "method"),
    list(itertools.product(PROTOCOLS, options("method"))),
)
def test_every_pair_has_a_protocol(dataset: str, method: str) -> None:
    assert (CONF / "protocol" / f"{dataset}.yaml").is_file()


@pytest.mark.parametrize(
    ("dataset", "model"), [*itertools.product(IMAGES, ("mlp", "vgg", "lrnet_small", "lrnet_big"))]
)
def test_every_image_model_goes_with_every_set_of_images(dataset: str, model: str) -> None:
    assert composed(f"dataset={dataset}", f"model={model}").model.name == model


@pytest.mark.parametrize(("dataset", "method", "settings", "scheduler"), TABLE9)
def test_table_9(dataset: str, method: str, settings: dict, scheduler: dict) -> None:
    config = composed(f"dataset={dataset}", f"method={method}")
    assert values(config.method, settings) == settings
    assert values(config.scheduler, scheduler) == scheduler
    shared = {
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "pad": config.dataset.augment.pad,
        "flip": config.dataset.augment.flip,
        "model": config.model.name,
    }
    assert shared == SHARED[dataset]
    assert config.dataset.validation_split == 0.1
    assert config.preset.name == "paper"
    assert config.effective_epochs == 500


@pytest.mark.parametrize(
    ("dataset", "mean", "std"),
    [
        ("mnist", [0.1307], [0.3081]),
        ("cifar10", [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
        ("cifar100", [0.507, 0.487, 0.441], [0.267, 0.256, 0.276]),
    ],
)
def test_normalisation_of_the_paper(dataset: str, mean: list, std: list) -> None:
    config = composed(f"dataset={dataset}", "method=bayesbinn")
    assert (config.dataset.mean, config.dataset.std) == (mean, std)


def test_models_of_the_paper() -> None:
    mlp = composed("dataset=mnist", "method=bayesbinn").model
    assert (mlp.hidden, mlp.dropout) == ([2048, 2048, 2048], 0.2)
    assert (mlp.norm_eps, mlp.norm_momentum) == (1e-4, 0.15)
    vgg = composed("dataset=cifar10", "method=bayesbinn").model
    assert (vgg.channels, vgg.hidden) == ([128, 128, 256, 256, 512, 512], [1024, 1024])
    assert (vgg.norm_eps, vgg.conv_norm_momentum, vgg.linear_norm_momentum) == (1e-5, 0.2, 0.1)
    assert mlp.norm_position == vgg.norm_position == "before_activation"
    for name, after_convolutions in (("lrnet_small", 0.15), ("lrnet_big", 0.2)):
        lrnet = composed(f"model={name}", "dataset=cifar10").model
        momenta = (lrnet.conv_norm_momentum, lrnet.linear_norm_momentum)
        assert (lrnet.norm_eps, *momenta) == (1e-5, after_convolutions, 0.1)


@pytest.mark.parametrize("method", options("method"))
def test_the_command_line_beats_the_protocol_beats_the_default(method: str) -> None:
    protocol = composed("dataset=mnist", f"method={method}")
    key = protocol.method.scheduled
    wins = compose("dataset=mnist", f"method={method}", f"method.{key}=0.5", "epochs=7")
    assert getattr(wins.method, key) == 0.5
    assert (wins.epochs, wins.batch_size) == (7, protocol.batch_size)


def test_the_protocol_beats_the_method_file() -> None:
    assert (
        composed("method=full_precision", "dataset=image_folder", "dataset.root=x").method.lr
        == 1e-3
    )
    assert composed("method=full_precision", "dataset=cifar10").method.lr == 1e-2


def test_the_command_line_chooses_model_and_scheduler_over_data_set_and_method() -> None:
    config = composed("dataset=cifar10", "model=mlp", "method=bop", "scheduler=constant")
    assert (config.model.name, config.scheduler.name) == ("mlp", "constant")


def test_another_scheduler_leaves_no_stray_keys() -> None:
    config = composed("dataset=mnist", "method=pmf", "scheduler=cosine")
    assert set(config.to_dict()["scheduler"]) == {"_target_", *COSINE}


def test_an_experiment_changes_only_what_it_names() -> None:
    config = composed("experiment=short_mnist_bayesbinn").to_dict()
    named = (
        "epochs=10",
        "method.lr=3e-4",
        "model.dropout=0",
        "precision=auto",
        "dataset.augment.pad=1",
    )
    cell = composed("dataset=mnist", "method=bayesbinn", *named).to_dict()
    assert config == cell
    assert composed("experiment=short_mnist_bayesbinn", "epochs=3").epochs == 3


@pytest.mark.parametrize(("preset", "epochs"), [("paper", 500), ("quick", 8), ("smoke", 2)])
def test_a_preset_is_an_upper_bound(preset: str, epochs: int) -> None:
    assert composed("dataset=mnist", f"preset={preset}").effective_epochs == epochs
    assert composed("dataset=mnist", f"preset={preset}", "epochs=1").effective_epochs == 1


def test_composing_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: Config = compose("dataset=cifar10")
    monkeypatch.chdir(tmp_path)
    assert compose("dataset=cifar10") == here
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert compose("out='~/runs'").out == "/home/me/runs"
    words = ["dataset=mnist", "dataset.root=~/data", "out=~/runs", "--cfg", "job"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "out: /home/me/runs" in out
    assert "root: /home/me/data" in out


def test_the_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNREPRO_DATA", "/elsewhere")
    assert compose("dataset=mnist").dataset.root == "/elsewhere"
    assert compose("dataset=mnist", "dataset.root=here").dataset.root == "here"
