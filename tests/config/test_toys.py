"""The toys' settings: tables 3 and 4 of arXiv 2002.10778v4, from the paper, not from conf/."""

import pytest
from tests.composing import composed

from bnnrepro.config import instantiate
from bnnrepro.errors import UserError

MOONS = {"lr": 1e-3, "temperature": 1, "momentum": 0.99, "train_samples": 5, "init": 15}
CURVE = {"lr": 1e-4, "temperature": 1, "momentum": 0.99, "train_samples": 1, "init": 10}
REGRESSION = ("snelson", "toy_regression")


def rate(config, epoch: int) -> float:
    """The learning rate of an epoch, from 1."""
    scheduler = instantiate(config.scheduler)
    position = epoch if getattr(config.scheduler, "stepped", "") == "before" else epoch - 1
    return scheduler.value(config.method.lr, position, config.epochs)


@pytest.mark.parametrize(
    ("dataset", "epochs", "settings"),
    [("two_moons", 3000, MOONS), ("snelson", 5000, CURVE), ("toy_regression", 5000, CURVE)],
)
def test_bayesbinn_on_the_toys(dataset: str, epochs: int, settings: dict) -> None:
    config = composed(f"dataset={dataset}", "method=bayesbinn")
    assert {key: getattr(config.method, key) for key in settings} == settings
    assert (config.epochs, config.batch_size, config.model.hidden) == (epochs, 200, [64, 64])
    assert config.model.binary_biases
    assert (config.method.train_set_scale, config.method.prior) == (1, 0)


@pytest.mark.parametrize("dataset", ["two_moons", *REGRESSION])
def test_ste_on_the_toys(dataset: str) -> None:
    config = composed(f"dataset={dataset}", "method=ste")
    assert (config.method.lr, config.method.weight_clip) == (1e-1, 1)
    assert config.method.grad_clip is None  # as in the authors' program; the paper's table: 1
    model = config.model
    assert (model.binary_biases, model.bias_lr, model.bias_clip) == (False, 1e-1, 1)
    assert composed(f"dataset={dataset}", "method=ste", "method.lr=0.5").model.bias_lr == 0.5


@pytest.mark.parametrize("method", ["bayesbinn", "ste"])
def test_two_moons_drops_twice(method: str) -> None:
    config = composed("dataset=two_moons", f"method={method}")
    lr = config.method.lr
    rates = [rate(config, epoch) for epoch in (1, 1500, 1501, 2500, 2501, 3000)]
    assert rates == pytest.approx([lr, lr, lr / 10, lr / 10, lr / 100, lr / 100])


@pytest.mark.parametrize("dataset", REGRESSION)
def test_regression_decays_geometrically_under_bayesbinn_and_not_under_ste(dataset: str) -> None:
    config = composed(f"dataset={dataset}", "method=bayesbinn")
    assert rate(config, 5000) == pytest.approx(1e-5)
    assert rate(config, 2500) == pytest.approx((1e-4 * 1e-5) ** 0.5)
    config = composed(f"dataset={dataset}", "method=ste")
    assert rate(config, 1) == rate(config, 5000) == 1e-1


@pytest.mark.parametrize("dataset", REGRESSION)
def test_regression_normalises_the_output(dataset: str) -> None:
    model = composed(f"dataset={dataset}").model
    assert (model.output_norm, model.norm_eps, model.norm_momentum) == (True, 1e-4, 0.15)
    assert not composed("dataset=two_moons").model.output_norm


@pytest.mark.parametrize("method", ["bayesbinn", "ste", "bop", "pmf", "full_precision"])
@pytest.mark.parametrize("dataset", ["two_moons", *REGRESSION])
def test_every_method_has_settings_on_every_toy(dataset: str, method: str) -> None:
    assert composed(f"dataset={dataset}", f"method={method}").model.name == "toy_mlp"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset=two_moons", "model=mlp"], "model=mlp: takes images; .*two_moons has points"),
        (["model=toy_mlp"], "model=toy_mlp: takes points; dataset=digits has images"),
        (["dataset=snelson", "model=mlp"], "model=mlp: is for classification"),
        (
            ["evaluate.ood=mnst"],
            "evaluate.ood=mnst: must be null or a data set of .*'mnist'",
        ),
        (["evaluate.ood=digits"], "evaluate.ood=digits: must be another data set"),
        (["evaluate.ood=cifar10"], "evaluate.ood=cifar10: has 3 channels, dataset=digits 1"),
        (
            ["evaluate.ood=two_moons"],
            "must be null or a data set of images: cifar10, cifar100, digits, mnist",
        ),
        (["evaluate.ood=image_folder"], "its root needs a value"),
        (["dataset=two_moons", "evaluate.ood=mnist"], "which dataset=two_moons is not"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        composed(*overrides)
