"""Figure 5's and segmentation's settings, as published, not from conf/.

The others' are in test_compose.py (image classification) and test_toys.py.
"""

import pytest
from tests.composing import composed

from bnnrepro.config import instantiate

FIGURE_5 = ("figure5_prior", "figure5_no_prior", "figure5_ste")
SEGMENTATION = ("bayesbinn", "ste", "full_precision")


def config_of(name: str):
    """The config of an experiment, or of a method on the micrographs; nothing is read."""
    isbi = ("dataset=isbi_em", f"method={name}")
    words = isbi if name in SEGMENTATION else (f"experiment={name}",)
    return composed(*words, "dataset.root=anywhere")


def values(part, *keys: str) -> dict:
    return {key: getattr(part, key) for key in keys}


@pytest.mark.parametrize("experiment", FIGURE_5)
def test_five_permuted_tasks_of_100_epochs(experiment: str) -> None:
    config = config_of(experiment)
    assert (config.dataset.name, config.dataset.tasks, config.dataset.shape) == (
        "permuted_mnist", 5, [1, 28, 28],
    )  # fmt: skip
    assert (config.epochs, config.effective_epochs, config.batch_size) == (100, 500, 100)
    assert (config.preset.train_limit, config.preset.test_limit) == (None, None)
    assert not hasattr(config.dataset, "validation_split")
    assert (config.evaluate.samples, config.dataset.norm_statistics) == (100, "shared")


@pytest.mark.parametrize("experiment", FIGURE_5)
def test_the_network_of_the_permuted_tasks(experiment: str) -> None:
    model = config_of(experiment).effective_model
    assert model.hidden == [100, 100]
    assert values(model, "dropout", "norm_eps", "norm_momentum", "norm_position") == {
        "dropout": 0,
        "norm_eps": 1e-4,
        "norm_momentum": 0.15,
        "norm_position": "before_activation",
    }


@pytest.mark.parametrize(
    ("experiment", "prior"), [*zip(FIGURE_5, ("posterior", "fixed"), strict=False)]
)
def test_bayesbinn_on_the_permuted_tasks(experiment: str, prior: str) -> None:
    config = config_of(experiment)
    assert config.dataset.prior == prior
    wanted = {"lr": 1e-3, "temperature": 1e-2, "momentum": 0, "train_samples": 1}
    wanted |= {"train_set_scale": 1, "prior": 0, "init": 10}
    assert values(config.method, *wanted) == wanted


def test_ste_on_the_permuted_tasks_is_mnist_s() -> None:
    method = config_of("figure5_ste").method
    assert values(method, "lr", "grad_clip", "weight_clip") == {
        "lr": 1e-2, "grad_clip": 1, "weight_clip": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("experiment", "epochs"),
    [*((each, 100) for each in FIGURE_5), *((each, 500) for each in SEGMENTATION)],
)
def test_the_cosine_ends_at_nearly_nothing(experiment: str, epochs: int) -> None:
    """Of each task in continual learning, of the whole run in segmentation."""
    config = config_of(experiment)
    assert (config.scheduler.name, config.scheduler.final) == ("cosine", 1e-16)
    lr, scheduler = config.method.lr, instantiate(config.scheduler)
    assert scheduler.value(lr, 0, epochs) == lr
    assert scheduler.value(lr, epochs // 2, epochs) == pytest.approx(lr / 2)
    assert scheduler.value(lr, epochs, epochs) == pytest.approx(1e-16)


METHODS = [
    {"name": "bayesbinn", "lr": 1e-4, "temperature": 1e-8, "momentum": 0, "train_samples": 1}
    | {"train_set_scale": 1, "prior": 0},
    {"name": "ste", "lr": 1e-3, "grad_clip": 1, "weight_clip": 1},
    {"name": "full_precision", "lr": 1e-3, "weight_decay": 0},
]


@pytest.mark.parametrize(("experiment", "wanted"), [*zip(SEGMENTATION, METHODS, strict=True)])
def test_methods_on_the_micrographs(experiment: str, wanted: dict) -> None:
    assert values(config_of(experiment).method, *wanted) == wanted


@pytest.mark.parametrize("experiment", SEGMENTATION)
def test_the_micrographs_and_their_network(experiment: str) -> None:
    config = config_of(experiment)
    assert (config.epochs, config.effective_epochs, config.batch_size) == (500, 500, 6)
    data = {"name": "isbi_em", "shape": [1, 512, 512], "crop": 388, "crops": 1}
    data |= {"validation_split": 0, "classes": 2}
    assert values(config.dataset, *data) == data
    model = {"channels": [64, 128, 256, 512, 1024], "dropout": 0.05}
    assert values(config.effective_model, *model) == model


def test_the_u_net_sees_572_pixels_for_388_and_has_neither_biases_nor_scales() -> None:
    part = config_of(SEGMENTATION[0]).effective_model
    network = instantiate(part, shape=(1, 512, 512), classes=2)
    assert 388 + 2 * network.margin == 572
    assert {each.ndim for each in network.parameters()} == {4}
