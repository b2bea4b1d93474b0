"""What every method promises of parameter groups, and how it refuses misuse."""

import inspect
import math

import pytest
import torch
from torch import nn

from bnnrepro.optim import FullPrecision, param_groups

from .methods_under_test import (
    SHAPES,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    same,
    targets_for,
    train,
    weights,
)

# -- groups --------------------------------------------------------------------------------------


@every_method
def test_a_real_group_follows_torchs_adam(method):
    binary, real = weights((4, 4), (7,))
    settings = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.01}
    twin = nn.Parameter(real.detach().clone())
    own = {"params": [binary]} if method.cls.binarizes else {"params": [binary], "binary": False}
    optimizer = method.seeded([own, {"params": [real], "binary": False, **settings}])
    adam = torch.optim.Adam([twin], **settings)
    for step in range(30):
        (g,) = targets_for([real], step)
        with optimizer.sampled_params(train=True):
            ((real * g).sum() + (binary * 0.1).sum()).backward()
        optimizer.step()
        twin.grad = g
        adam.step()
        torch.testing.assert_close(real, twin, rtol=1e-6, atol=1e-7)
    assert not are_signs([real])


@every_binary_method
def test_a_real_group_has_adams_defaults_unless_it_says(method):
    (p,) = weights((3,))
    optimizer = method([{"params": [p], "binary": False}])
    expected = torch.optim.Adam([nn.Parameter(torch.ones(1))]).defaults
    for name in ("lr", "betas", "eps", "weight_decay"):
        assert optimizer.param_groups[0][name] == expected[name]


@every_binary_method
def test_a_vector_must_say_whether_it_is_binary(method):
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match=r"1\.weight.*param_groups"):
        method(model.named_parameters())
    with pytest.raises(ValueError, match=r"shape \(4,\).*param_groups"):
        method(model.parameters())
    bias = nn.Parameter(torch.zeros(4))
    method([{"params": [bias], "binary": True}])
    assert are_signs([bias])


@every_binary_method
@pytest.mark.parametrize(
    "shape", [(), (1,), (6,), (2, 3), (2, 3, 4), (2, 1, 3, 3), (1, 2, 2, 2, 2)]
)
def test_a_binary_group_takes_any_shape(method, shape):
    params = weights(shape)
    optimizer = method.seeded([{"params": params, "binary": True}])
    train(optimizer, params, 3)
    assert are_signs(params)
    assert params[0].shape == shape


@every_method
def test_a_parameter_in_two_groups_is_named(method):
    (p,) = weights((3, 4))
    with pytest.raises(ValueError, match=r"body\.weight is in two groups"):
        method([{"params": [("body.weight", p)]}, {"params": [("body.weight", p)]}])
    with pytest.raises(ValueError, match=r"parameter 0, shape \(3, 4\) is in two groups"):
        method([{"params": [p]}, {"params": p}])


@every_method
def test_a_groups_parameters_may_come_from_a_generator(method):
    model = nn.Linear(3, 4, bias=False)
    optimizer = method([{"params": model.parameters()}])
    assert [p is model.weight for p in optimizer.param_groups[0]["params"]] == [True]


@every_method
def test_a_refused_group_leaves_nothing_behind(method):
    (p, q) = weights((3, 4), (2, 2))
    optimizer = method([p])
    value = q.detach().clone()
    with pytest.raises(ValueError, match="lr=-1"):
        optimizer.add_param_group({"params": [q], "binary": False, "lr": -1})
    assert len(optimizer.param_groups) == 1
    assert torch.equal(q, value)
    optimizer.add_param_group({"params": [q]})
    train(optimizer, [p, q], 2)


@every_method
def test_a_module_with_biases_and_batch_norm_trains(method):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
    )
    groups = param_groups(model, lr=0.02)
    optimizer = method.seeded(groups)
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 2, 4, 4, generator=source)
    labels = (inputs.mean((1, 2, 3)) > 0).long() + (inputs[:, 0].mean((1, 2)) > 0.3).long()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(15):
        with optimizer.sampled_params(train=True):
            nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.isfinite(p).all()
        assert are_signs([p]) == (p.dim() >= 2 and method.cls.binarizes), name
        if p.dim() < 2 and "0.bias" not in name:  # BatchNorm takes away what that bias adds
            assert not torch.equal(p, start[name]), name


def test_param_groups_sorts_by_what_a_parameter_is():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 4, 3),
            "norm": nn.BatchNorm2d(4),
            "layer": nn.LayerNorm([4, 5]),
            "rms": nn.RMSNorm([4, 5]),
            "out": nn.Linear(4, 2),
        }
    )
    binary, real = param_groups(model, lr=0.5)
    assert [name for name, _ in binary["params"]] == ["conv.weight", "out.weight"]
    assert len(real["params"]) == len(list(model.parameters())) - 2
    assert (binary["binary"], real["binary"], real["lr"]) == (True, False, 0.5)
    assert [g["binary"] for g in param_groups(nn.Linear(2, 2, bias=False))] == [True]
    assert [g["binary"] for g in param_groups(nn.BatchNorm1d(2))] == [False]


def residual():
    block = nn.ModuleDict(
        {
            "conv": nn.Conv2d(4, 4, 3),
            "downsample": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
        }
    )
    stem = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict({"stem": stem, "layer": block, "head": nn.Linear(4, 2)})


@pytest.mark.parametrize(
    ("real", "binary"),
    [
        ([], ["stem.0", "layer.conv", "layer.downsample.0", "head"]),
        (["first"], ["layer.conv", "layer.downsample.0", "head"]),
        (["last", "first"], ["layer.conv", "layer.downsample.0"]),
        (["*.downsample.*"], ["stem.0", "layer.conv", "head"]),
        (["layer.conv", "head.weight"], ["stem.0", "layer.downsample.0"]),
        (["*"], []),
    ],
)
def test_named_layers_stay_real(real, binary):
    model = residual()
    groups = {g["binary"]: g for g in param_groups(model, real=real, lr=0.5)}
    assert [n for n, _ in groups.get(True, {"params": []})["params"]] == [
        f"{name}.weight" for name in binary
    ]
    assert groups[False]["lr"] == 0.5
    assert sum(len(g["params"]) for g in groups.values()) == len(list(model.parameters()))


def test_a_real_layers_bias_is_real_where_biases_are_binary():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model.binary_biases = True
    binary, real = param_groups(model, real=["last"])
    assert [name for name, _ in binary["params"]] == ["0.weight", "0.bias"]
    assert [name for name, _ in real["params"]] == ["1.weight", "1.bias"]


def test_a_layer_that_shares_a_real_weight_is_real():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert [g["binary"] for g in param_groups(model, real=["1"])] == [False]


@pytest.mark.parametrize(
    ("real", "words"),
    [
        (["layer.conf"], r"real=layer\.conf: matches no layer; the nearest are layer\.conv"),
        (["stem"], r"real=stem: matches no layer; the nearest are stem\.1, stem\.0"),
        (["first", "*.shortcut.*"], r"real=\*\.shortcut\.\*: matches no layer"),
        ("first", r"real=first: must be a list"),
    ],
)
def test_a_name_that_matches_no_layer_is_an_error(real, words):
    with pytest.raises(ValueError, match=words):
        param_groups(residual(), real=real)


@every_binary_method
def test_a_layer_that_stays_real_is_trained_by_adam(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    start = model[2].weight.detach().clone()
    optimizer = method.seeded(param_groups(model, real=["last"]))
    for _ in range(2):
        with optimizer.sampled_params(train=True):
            model(torch.randn(6, 4)).square().mean().backward()
        optimizer.step()
    assert are_signs([model[0].weight])
    assert not are_signs([model[2].weight])
    assert not torch.equal(model[2].weight, start)
    assert optimizer.binary_parameters() == {model[0].weight}


# -- misuse --------------------------------------------------------------------------------------


@every_method
def test_misuse_is_an_error_and_the_optimizer_goes_on(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()
    with pytest.raises(RuntimeError, match="no gradient"), optimizer.sampled_params(train=True):
        pass
    with (
        pytest.raises(RuntimeError, match="do not nest"),
        optimizer.sampled_params(train=True),
        optimizer.sampled_params(),
    ):
        pass
    with (
        pytest.raises(RuntimeError, match=r"step\(\) inside"),
        optimizer.sampled_params(train=True),
    ):
        optimizer.step()
    assert are_signs(params) == method.cls.binarizes
    train(optimizer, params, 1)
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()


INF, NAN = math.inf, math.nan
OUT_OF_RANGE = {
    "lr": [-1e-3, INF, NAN],
    "train_set_size": [0, -1, 0.5, INF, NAN],
    "temperature": [0, -1, INF, NAN],
    "momentum": [-0.1, 1.0, NAN],
    "train_samples": [0, -1, 1.5, INF, NAN],
    "prior": [INF, NAN],
    "init": [-1, INF, NAN],
    "train_set_scale": [0, -1, INF, NAN],
    "betas": [(1.0, 0.9), (0.9, -0.1), (0.9,), (NAN, 0.9)],
    "eps": [-1e-8, INF, NAN],
    "weight_decay": [-1, INF, NAN],
    "grad_clip": [0, -1, INF, NAN],
    "weight_clip": [0, -1, INF, NAN],
    "threshold": [-1e-9, INF, NAN],
    "adaptivity_rate": [0, -1, 1.1, NAN],
    "rho": [0.99, INF, NAN],
    "beta_interval": [0, 1.5, INF, NAN],
    "beta_max": [0.5, INF, NAN],
    "total_steps": [0, 1.5, INF, NAN],
    "beta_final": [0.5, INF, NAN],
    "variant": ["paper", None],
    "alpha": [0, -1, 1.1, NAN],
    "annealing": [0, -1, 1.1, NAN],
    "cut": [0, -1, INF, NAN],
    "boost": [0, -1, INF, NAN],
    "prox": ["soft", None],
    "base": ["rmsprop", None],
    "second_rate": [0, -1, 1.1, NAN],
    "metaplasticity": [-1, INF, NAN],
    "likelihood": [0, -1, INF, NAN],
    "curvature": [0, -1, INF, NAN],
    "max_step": [0, -1, INF, NAN],
    "stale_mean": ["yes", None, 2],
    "memory": [0.5, INF, NAN],
}
NUMBERLESS = {"params", "generator"}


@every_method
def test_a_setting_out_of_range_is_an_error_that_names_it(method):
    arguments = set(inspect.signature(method.cls).parameters) - NUMBERLESS
    assert arguments <= set(OUT_OF_RANGE), "say here what is out of range"
    for name in arguments:
        for value in OUT_OF_RANGE[name]:
            with pytest.raises(ValueError, match=name):
                method(weights((2, 2)), **{name: value})


@every_method
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay", "betas"])
def test_so_is_a_real_groups(method, name):
    for value in OUT_OF_RANGE[name]:
        with pytest.raises(ValueError, match=name):
            method([{"params": weights((2,)), "binary": False, name: value}])


def test_full_precision_takes_any_groups_and_binarises_none():
    binary, real = weights((2, 2), (3,))
    before = copies([binary, real])
    optimizer = FullPrecision(
        [{"params": [binary], "binary": True}, {"params": [real], "binary": False}], lr=0.1
    )
    assert same([binary, real], before)
    train(optimizer, [binary, real], 2)
    assert not same([binary], before[:1])
    assert not are_signs([binary])


@every_method
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (0, 3, 3, 3)])
def test_a_parameter_may_have_no_elements(method, shape):
    params = [nn.Parameter(torch.zeros(shape)), *weights(*SHAPES)]
    optimizer = method.seeded(params)
    train(optimizer, params, 2)
    with optimizer.sampled_params():
        pass
    optimizer.diagnostics()
    optimizer.load_state_dict(optimizer.state_dict())


@every_method
def test_real_valued_parameters_may_be_complex(method):
    number = nn.Parameter(torch.tensor([3 + 4j, -2j]))
    settings = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.01}
    group = {"params": [number], "binary": False, **settings}
    optimizer = method.seeded([{"params": weights(*SHAPES)}, group])
    reference = nn.Parameter(number.detach().clone())
    adam = torch.optim.Adam([reference], **settings)
    for _ in range(3):
        with optimizer.sampled_params(train=True):
            number.abs().square().sum().backward()
        optimizer.step()
        adam.zero_grad()
        reference.abs().square().sum().backward()
        adam.step()
    torch.testing.assert_close(number, reference)


@every_method
def test_a_sparse_gradient_is_refused(method):
    table = nn.Embedding(10, 4, sparse=True)
    optimizer = method.seeded(table.parameters())

    def draw():
        with optimizer.sampled_params(train=True):
            table(torch.tensor([1, 2])).sum().backward()

    with pytest.raises(
        RuntimeError, match=r"must be dense, one is torch.sparse_coo, shape \(10, 4"
    ):
        draw()
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()
