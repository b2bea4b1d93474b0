"""Training starts from the weights that the parameters hold, whenever they were written."""

import copy

import pytest
import torch
from torch import nn

from bnnrepro import Trainer
from bnnrepro.optim import PMF, BayesBiNN, Bop

from .methods_under_test import (
    SHAPES,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    same,
    tensors_of_state,
    train,
    weights,
)


def signs(tensors):
    return [t.detach().sign() for t in tensors]


def write(params, values):
    with torch.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)


@every_binary_method
def test_the_first_weights_are_the_signs_of_the_given_ones(method):
    params = weights((40, 30), (7, 3, 3, 3))
    expected = signs(params)
    method.seeded(params)
    assert same(copies(params), expected)


@every_binary_method
def test_weights_without_a_sign_become_plus_or_minus_one(method):
    params = [nn.Parameter(torch.zeros(100, 100))]
    method.seeded(params)
    assert are_signs(params)
    if method.cls in (BayesBiNN, Bop, PMF):  # those with latent weights have sign(0) = +1
        assert abs(float(params[0].detach().mean())) < 0.05  # 5 standard deviations


@every_binary_method
def test_a_weight_that_is_nan_is_refused(method):
    (p,) = weights((3, 3))
    p.data[1, 1] = float("nan")
    with pytest.raises(ValueError, match=r"a weight is NaN, in a parameter of shape \(3, 3\)"):
        method.seeded([p])


@every_binary_method
@pytest.mark.parametrize("steps", [0, 3])
def test_weights_written_after_the_optimizer_are_taken_up(method, steps):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    train(optimizer, params, steps)
    given = weights(*SHAPES, seed=7)
    write(params, given)
    saved = optimizer.state_dict()
    assert are_signs(params)
    assert same(copies(params), signs(given))
    write(params, given)
    optimizer.load_state_dict(saved)  # a state of the weights that were written
    assert same(copies(params), signs(given))


@every_method
@pytest.mark.parametrize("train_draw", [True, False])
def test_weights_written_between_two_draws_are_those_of_the_second(method, train_draw):
    if not method.cls.binarizes:
        pytest.skip("keeps no weights of its own")
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    write(params, weights(*SHAPES, seed=7))
    with optimizer.sampled_params(train=train_draw):
        if train_draw:
            sum(p.sum() for p in params).backward()
    assert same(copies(params), signs(weights(*SHAPES, seed=7)))


@every_binary_method
@pytest.mark.parametrize("model_first", [True, False])
def test_model_and_optimizer_may_be_loaded_in_either_order(method, model_first):
    """The same bits follow as without loading."""

    def fresh():
        model = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False))
        return model, method.seeded(model.parameters())

    torch.manual_seed(0)
    model, optimizer = fresh()
    train(optimizer, list(model.parameters()), 3)
    of_model, of_optimizer = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    chance = optimizer.generator.get_state()
    train(optimizer, list(model.parameters()), 3, seed=2)

    other, loaded = fresh()
    load = [lambda: other.load_state_dict(of_model), lambda: loaded.load_state_dict(of_optimizer)]
    for step in load if model_first else reversed(load):
        step()
    loaded.generator.set_state(chance)
    train(loaded, list(other.parameters()), 3, seed=2)
    assert same(copies(other.parameters()), copies(model.parameters()))
    assert same(tensors_of_state(loaded), tensors_of_state(optimizer))


@every_binary_method
@pytest.mark.parametrize("how", ["copy", "rewritten"])
def test_the_mode_written_back_changes_nothing(method, how):
    """Averaging and swapping of weights end in such a write; a copied optimizer begins with one."""

    def run(disturb):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        train(optimizer, params, 3)
        if disturb and how == "copy":
            params, optimizer = copy.deepcopy((params, optimizer))
        elif disturb:
            mode = copies(params)
            write(params, weights(*SHAPES, seed=7))
            write(params, mode)
        train(optimizer, params, 3, seed=2)
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(disturb=True), run(disturb=False))


@pytest.mark.parametrize("init", [0.5, 10.0])
def test_bayesbinn_starts_from_a_posterior_of_the_strength_init(init):
    (p,) = params = weights((8, 8))
    given = signs(params)[0]
    optimizer = BayesBiNN(params, lr=1e-3, train_set_size=10, init=init)
    assert torch.equal(optimizer.state[p]["natural_parameter"], init * given)


@pytest.mark.parametrize("method", ["bayesbinn", "ste", "bop", "pmf"])
def test_a_trainer_goes_on_from_a_pretrained_model(method):
    torch.manual_seed(0)
    model = nn.Linear(12, 3, bias=False)
    given = model.weight.detach().sign()
    settings = {"lr": 1e-3} if method == "bayesbinn" else {}
    trainer = Trainer(model).compile(method, **settings)
    trainer.build_optimizer(8)
    assert torch.equal(model.weight, given)
