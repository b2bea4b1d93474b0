"""The toys' network: its shape, and which of its parameters are binary."""

import pytest
import torch
from torch import nn

from bnnrepro.config import instantiate
from bnnrepro.config.compose import compose
from bnnrepro.models.toy_mlp import ToyMLP
from bnnrepro.optim import STE, BayesBiNN, param_groups

SMALL = {"shape": (2,), "classes": 1, "hidden": [4, 4]}


def names(group) -> list[str]:
    return [name for name, _ in group["params"]]


@pytest.mark.parametrize("method", ["bayesbinn", "ste", "full_precision"])
@pytest.mark.parametrize(("dataset", "inputs"), [("two_moons", 2), ("snelson", 1)])
def test_the_paper_s_networks(dataset: str, inputs: int, method: str) -> None:
    part = compose(f"dataset={dataset}", f"method={method}").model
    model = instantiate(part, shape=(inputs,), classes=1)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(64, inputs), (64,), (64, 64), (64,), (1, 64), (1,)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert [(n.eps, n.momentum, n.affine) for n in norms] == [(1e-4, 0.15, False)] * (inputs == 1)
    assert sum(isinstance(module, nn.Tanh) for module in model.modules()) == 2
    assert model.binary_biases is (method != "ste")
    assert model.bias_settings["clip"] == (1.0 if method == "ste" else None)


def test_biases_are_binary_where_the_model_says_so() -> None:
    (group,) = param_groups(ToyMLP(**SMALL))
    assert (group["binary"], len(group["params"])) == (True, 6)


def test_real_biases_have_a_group_of_their_own() -> None:
    model = ToyMLP(**SMALL, binary_biases=False, bias_lr=0.1, bias_clip=1.0)
    binary, real = param_groups(model)
    assert all(name.endswith("weight") for name in names(binary))
    assert all(name.endswith("bias") for name in names(real))
    assert (real["binary"], real["lr"], real["clip"]) == (False, 0.1, 1.0)


@pytest.mark.parametrize("binary_biases", [True, False])
def test_normalisation_is_never_binarised_whatever_the_model_says(binary_biases: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LayerNorm((2, 3, 3)), nn.Linear(3, 2)
    )
    model.binary_biases = binary_biases
    groups = {group["binary"]: set(names(group)) for group in param_groups(model)}
    assert groups[False] >= {"1.weight", "1.bias", "2.weight", "2.bias"}
    assert ("0.bias" in groups[True]) == ("3.bias" in groups[True]) == binary_biases


def test_binary_biases_are_signs_and_real_ones_stay_within_their_bound() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(20, 2), torch.randn(20, 1)

    def trained(model: ToyMLP, method) -> list[torch.Tensor]:
        optimizer = method(param_groups(model))
        for _ in range(30):
            with optimizer.sampled_params(train=True):
                (model(inputs) - 50 * targets).square().mean().backward()
            optimizer.step()
        return [p.detach() for name, p in model.named_parameters() if name.endswith("bias")]

    binary = trained(
        ToyMLP(**SMALL), lambda groups: BayesBiNN(groups, 1e-2, train_set_size=20, temperature=1.0)
    )
    assert all(bool((weight.abs() == 1).all()) for weight in binary)
    settings = {"binary_biases": False, "bias_lr": 0.05}
    clipped = torch.cat(trained(ToyMLP(**SMALL, **settings, bias_clip=1.0), STE))
    assert clipped.abs().max() == 1
    assert clipped.abs().min() < 1
    assert torch.cat(trained(ToyMLP(**SMALL, **settings), STE)).abs().max() > 1


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="clip"):
        STE(param_groups(ToyMLP(**SMALL, binary_biases=False, bias_clip=bound)))


def test_images_are_refused() -> None:
    with pytest.raises(ValueError, match="points"):
        ToyMLP((1, 8, 8), 10)
