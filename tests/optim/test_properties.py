"""What every method promises of its weights and its state."""

import copy
import io

import pytest
import torch
from torch import nn

from bnnrepro.optim import (
    PMF,
    STE,
    AdaSTE,
    BayesBiNN,
    BiMU,
    Bop,
    Bop2,
    FullPrecision,
    MDTanhS,
    Metaplasticity,
    ProxConnect,
)
from bnnrepro.optim.base import sign_

from .methods_under_test import (
    METHODS,
    SHAPES,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    loss_of,
    other_group,
    same,
    targets_for,
    tensors_of_state,
    train,
    weights,
)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_all_eleven_methods_are_found():
    tested = {m.cls for m in METHODS}
    assert tested >= {BayesBiNN, STE, FullPrecision, Bop, PMF}
    assert tested >= {AdaSTE, BiMU, Bop2, MDTanhS, Metaplasticity, ProxConnect}


# -- weights are exactly +-1 ---------------------------------------------------------------------


@every_binary_method
def test_weights_are_signs_at_the_start_and_after_every_step(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    assert are_signs(params)
    for step in range(25):
        before = copies(params)
        with optimizer.sampled_params(train=True):
            loss_of(params, targets_for(params, step)).backward()
        assert same(params, before)
        optimizer.step()
        assert are_signs(params)


@every_method
@pytest.mark.parametrize("train_draw", [True, False])
def test_an_exception_inside_a_draw_leaves_the_weights_and_loses_the_draw(method, train_draw):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    train(optimizer, params, 3)
    before = copies(params)

    def draw():
        with optimizer.sampled_params(train=train_draw):
            loss_of(params, targets_for(params)).backward()
            raise KeyError

    with pytest.raises(KeyError):
        draw()
    assert same(params, before)
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()
    train(optimizer, params, 1)


@every_binary_method
def test_weights_are_signs_after_loading(method):
    params, others = weights(*SHAPES), weights(*SHAPES, seed=5)
    optimizer, other = method.seeded(params), method.seeded(others, seed=5)
    train(optimizer, params, 5)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert are_signs(others)
    if not issubclass(method.cls, Bop):  # its weights are no state of the optimizer's
        assert same(params, others)


def test_the_sign_of_zero_is_plus_one():
    for zero in (0.0, -0.0):
        assert sign_(torch.empty(1), torch.tensor([zero])).item() == 1


def test_a_latent_value_of_zero_stands_for_plus_one():
    for value in (0.0, -0.0):
        p = nn.Parameter(torch.full((2, 2), value))
        STE([p])
        assert (p == 1).all()
        q = nn.Parameter(torch.empty(2, 2))
        optimizer = BayesBiNN([q], lr=0.1, train_set_size=1, init=0.0)
        optimizer.state[q]["natural_parameter"].fill_(value)
        with optimizer.sampled_params():
            pass
        assert (q == 1).all()


# -- state ---------------------------------------------------------------------------------------


@every_method
def test_a_state_may_be_loaded_again_and_into_a_copy(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    saved = through_a_file(optimizer.state_dict())
    others = weights(*SHAPES, seed=5)
    for other in (method.seeded(others), copy.deepcopy(optimizer)):
        for _ in range(2):
            other.load_state_dict(saved)
        assert same(tensors_of_state(other), tensors_of_state(optimizer))


@every_method
@pytest.mark.parametrize(
    "saved_by", [m for m in METHODS if m.label.endswith("defaults")], ids=lambda m: m.label
)
def test_another_methods_state_is_refused_and_nothing_changed(method, saved_by):
    if saved_by.cls is method.cls:
        pytest.skip("the same method")
    ours, theirs = (case.seeded(weights(*SHAPES)) for case in (method, saved_by))
    binary = [optimizer.param_groups[0]["binary"] for optimizer in (ours, theirs)]
    if ours.defaults.keys() <= theirs.defaults.keys() and binary[0] == binary[1]:
        pytest.skip("the other has all its settings: nothing tells them apart")
    refuse(method, theirs, match="binary|has no")


@every_method
def test_a_state_of_other_shapes_is_refused_and_nothing_changed(method):
    if method.cls.binarizes:
        groups = [{"params": weights(*SHAPES), "binary": False}]
        refuse(method, method.seeded(groups), match="group 0 says binary=False")
    others = weights(SHAPES[0], (9, 9))
    refuse(method, method.seeded(others), match="parameter 1.* has the shape")


def refuse(method, other, match):
    train(other, other.param_groups[0]["params"], 1)
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    train(optimizer, params, 3)
    before = copies(params) + copies(tensors_of_state(optimizer))
    settings = dict(optimizer.param_groups[0])
    with pytest.raises(ValueError, match=match):
        optimizer.load_state_dict(other.state_dict())
    assert same(before, params + tensors_of_state(optimizer))
    assert optimizer.param_groups[0] == settings
    train(optimizer, params, 1)


@every_method
@pytest.mark.parametrize("prior", [False, True])
def test_saved_and_loaded_it_continues_bit_for_bit(method, prior):
    def make(seed):
        first, second, third = weights(*SHAPES, (3,), seed=seed)
        groups = [
            {"params": [first]},
            {"params": [second], **other_group(method)},
            {"params": [third], "binary": False, "lr": 0.05},
        ]
        return [first, second, third], method.seeded(groups, seed=seed)

    params, optimizer = make(0)
    train(optimizer, params, 4, draws=2)
    if prior and method.cls.has_posterior:
        optimizer.set_prior_to_posterior()
        train(optimizer, params, 1)
    saved = through_a_file(
        {
            "optimizer": optimizer.state_dict(),
            "weights": copies(params),
            "noise": optimizer.generator.get_state(),
        }
    )
    others, other = make(9)
    train(other, others, 2)
    with torch.no_grad():
        for p, value in zip(others, saved["weights"], strict=True):
            p.copy_(value)
    other.load_state_dict(saved["optimizer"])
    other.generator.set_state(saved["noise"])
    assert same(params, others)
    for opt, ps in ((optimizer, params), (other, others)):
        train(opt, ps, 6, draws=2, seed=3)
    assert same(params, others)
    assert same(tensors_of_state(optimizer), tensors_of_state(other))
    assert optimizer.diagnostics() == other.diagnostics()


@every_method
def test_loading_forgets_draws_that_no_step_used(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    with optimizer.sampled_params(train=True):
        loss_of(params, targets_for(params)).backward()
    optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()


@every_method
def test_a_loaded_state_lies_on_its_parameters_device(method):
    params = weights(*SHAPES)
    optimizer = method(params)
    train(optimizer, params, 2)
    elsewhere = [nn.Parameter(torch.empty(s, device="meta")) for s in SHAPES]
    other = method(elsewhere)
    other.load_state_dict(optimizer.state_dict())
    assert tensors_of_state(other)
    assert all(t.device.type == "meta" for t in tensors_of_state(other))


@every_method
def test_the_state_does_not_grow(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)

    def size():
        tensors = tensors_of_state(optimizer)
        return len(tensors), sum(t.numel() * t.element_size() for t in tensors)

    train(optimizer, params, 2)
    after_two = size()
    train(optimizer, params, 20, draws=2)
    optimizer.diagnostics()
    assert size() == after_two
    assert not optimizer._gradients
    assert all(p.grad is None for p in params)
