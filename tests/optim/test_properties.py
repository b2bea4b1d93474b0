"""What every method promises, asked of every method that bnnrepro.optim exports."""

import copy
import inspect
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import PMF, STE, BayesBiNN, Bop, FullPrecision, param_groups
from bnnrepro.optim.base import sign_

from .methods_under_test import (
    METHODS,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    every_posterior,
    loss_of,
    same,
    targets_for,
    tensors_of_state,
    train,
    weights,
)

SHAPES = (5, 4), (3, 2, 3, 3)


def other_group(method):
    """Settings of a second group, each different from the method's own and in range."""
    changes = {
        "lr": 5e-3,
        "temperature": 2.0,
        "momentum": 0.3,
        "prior": -0.5,
        "betas": (0.5, 0.6),
        "weight_decay": 0.1,
        "grad_clip": 0.3,
        "weight_clip": 0.7,
        "threshold": 1e-2,
        "adaptivity_rate": 0.6,
        "rho": 3.0,
        "beta_interval": 3,
    }
    known = method(weights((2, 2))).param_groups[0]
    return {name: value for name, value in changes.items() if name in known}


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_all_five_methods_are_found():
    found = {m.cls for m in METHODS}
    assert found >= {BayesBiNN, STE, FullPrecision, Bop, PMF}


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
    if method.cls is not Bop:  # its weights are no state of the optimizer's
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


# -- draws and gradients -------------------------------------------------------------------------


@every_method
def test_draws_before_a_step_are_averaged(method):
    """k draws with gradients g_1 ... g_k, against one draw with their mean (the same noise)."""

    def run(gradients_of_draws):
        params = weights(*SHAPES, dtype=torch.float64)
        optimizer = method.seeded(params)
        noise = optimizer.generator.get_state()
        for gradients in gradients_of_draws:
            optimizer.generator.set_state(noise)
            with optimizer.sampled_params(train=True):
                loss = sum((p * g).sum() for p, g in zip(params, gradients, strict=True))
                loss.backward()
        optimizer.step()
        return params, tensors_of_state(optimizer)

    like = weights(*SHAPES, dtype=torch.float64)
    draws = [targets_for(like, seed) for seed in range(3)]
    mean = [torch.stack(parts).mean(0) for parts in zip(*draws, strict=True)]
    for ours, expected in zip(run(draws), run([mean]), strict=True):
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b)


@every_posterior
def test_each_draw_has_noise_and_factors_of_its_own(method):
    params = weights((40, 40))
    optimizer = method.seeded(params, temperature=1.0, init=1.0)
    drawn = []
    for _ in range(2):
        with optimizer.sampled_params(train=True):
            drawn += copies(params)
            loss_of(params, targets_for(params)).backward()
    assert (drawn[0] != drawn[1]).float().mean() > 0.9
    with optimizer.sampled_params():
        first = copies(params)
    with optimizer.sampled_params():
        assert are_signs(params)
        assert not same(first, params)


@every_method
def test_backwards_inside_a_draw_sum_up(method):
    def run(together):
        params = weights(*SHAPES, dtype=torch.float64)
        optimizer = method.seeded(params)
        for step in range(4):
            parts = [targets_for(params, 2 * step), targets_for(params, 2 * step + 1)]
            with optimizer.sampled_params(train=True):
                losses = [loss_of(params, part) for part in parts]
                if together:
                    sum(losses).backward()
                else:
                    for loss in losses:
                        loss.backward()
            optimizer.step()
        return copies(params) + tensors_of_state(optimizer)

    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b)


@every_method
def test_gradients_from_before_a_draw_do_not_count(method):
    def run(stray):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        if stray:
            loss_of(params, targets_for(params, 99)).backward()
        train(optimizer, params, 1)
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(False), run(True))


@every_method
def test_a_closure_makes_the_draws_itself(method):
    def run(closed):
        params = weights(*SHAPES)
        optimizer = method.seeded(params, train_samples=3)
        targets, losses = targets_for(params), []

        def closure():
            loss = loss_of(params, targets)
            loss.backward()
            losses.append(loss.item())
            return loss

        if closed:
            mean = optimizer.step(closure)
            assert float(mean) == pytest.approx(np.mean(losses))
            assert not mean.requires_grad
        else:
            for _ in range(3):
                with optimizer.sampled_params(train=True):
                    closure()
            assert optimizer.step() is None
        assert len(losses) == 3
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(True), run(False))


@every_method
def test_each_group_behaves_as_it_would_alone(method):
    """Two groups in one optimizer, against two optimizers that share the source of noise."""
    second = other_group(method)

    def together():
        a, b = weights(*SHAPES)
        optimizer = method.seeded([{"params": [a]}, {"params": [b], **second}])
        for step in range(12):
            x, y = targets_for([a, b], step)
            with optimizer.sampled_params(train=True):
                loss_of([a, b], [x, y]).backward()
            optimizer.step()
        return [a, b], tensors_of_state(optimizer)

    def alone():
        a, b = weights(*SHAPES)
        source = torch.Generator().manual_seed(0)
        one = method([a], generator=source)
        two = method([{"params": [b], **second}], generator=source)
        for step in range(12):
            x, y = targets_for([a, b], step)
            for optimizer, p, t in ((one, a, x), (two, b, y)):
                with optimizer.sampled_params(train=True):
                    loss_of([p], [t]).backward()
                optimizer.step()
        return [a, b], tensors_of_state(one) + tensors_of_state(two)

    for ours, expected in zip(together(), alone(), strict=True):
        assert same(ours, expected)


@every_method
def test_a_parameter_without_gradient_keeps_its_weights(method):
    used, unused = weights((4, 4), (3, 3))
    optimizer = method.seeded([used, unused])
    before = unused.detach().clone()
    train(optimizer, [used], 5)
    assert torch.equal(unused, before)


@every_method
def test_a_frozen_parameter_stays(method):
    trained, frozen = weights((4, 4), (3, 3))
    frozen.requires_grad_(False)
    value = frozen.detach().clone()
    optimizer = method.seeded([trained, frozen])
    train(optimizer, [trained], 5)
    with optimizer.sampled_params():
        assert torch.equal(frozen, value)
    optimizer.diagnostics()
    assert torch.equal(frozen, value)
    assert optimizer.state.get(frozen, {}) == {}


@every_method
@pytest.mark.parametrize("of_weights", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("of_gradients", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_change_nothing(method, of_weights, of_gradients):
    def run(first, second):
        p = nn.Parameter(weights((4, 3, 2, 5))[0].detach().contiguous(memory_format=first))
        source = torch.Generator().manual_seed(0)
        optimizer = method([p], generator=source)
        start = torch.linspace(-1, 1, 120).view(4, 3, 2, 5)
        with torch.no_grad():  # random fills go by memory: give both the same start
            for name, value in optimizer.state[p].items():
                if name in ("natural_parameter", "latent"):
                    value.copy_(start)
                elif name == "logits":
                    value.copy_(torch.stack([start, -start.flip(0)]))
            p.copy_(start.sign() if method.cls.binarizes else start)
        optimizer.diagnostics()
        for step in range(6):
            source.manual_seed(step)
            (g,) = targets_for([p], step)
            with optimizer.sampled_params(train=True):
                p.grad = g.contiguous(memory_format=second)
            optimizer.step()
        return [p, *tensors_of_state(optimizer)]

    plain = run(torch.contiguous_format, torch.contiguous_format)
    for a, b in zip(run(of_weights, of_gradients), plain, strict=True):
        torch.testing.assert_close(a, b)


@every_method
def test_gradients_may_be_views(method):
    """Transposed, and of the memory of a larger tensor; weights too."""

    def run(view):
        p = nn.Parameter(weights((6, 4))[0].detach())
        optimizer = method.seeded([p])
        for step in range(6):
            (g,) = targets_for([p], step)
            if view:
                wide = torch.zeros(8, 12)
                wide[::2, ::2] = g.t()
                g = wide[::2, ::2].t()
                assert not g.is_contiguous()
            with optimizer.sampled_params(train=True):
                p.grad = g
            optimizer.step()
        return [p, *tensors_of_state(optimizer)]

    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b)


@every_method
def test_a_model_may_change_its_memory_format_later(method):
    def run(change):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, (2, 3), bias=False)
        optimizer = method.seeded(model.parameters())
        for step in range(4):
            if change and step == 2:
                model.to(memory_format=torch.channels_last)
            (g,) = targets_for([model.weight], step)
            with optimizer.sampled_params(train=True):
                (model.weight * g).sum().backward()
            optimizer.step()
        return [model.weight, *tensors_of_state(optimizer)]

    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b)


# -- chance --------------------------------------------------------------------------------------


@every_method
def test_the_generator_decides_and_the_global_one_is_left_alone(method):
    def run(seed, global_seed):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        params = weights((9, 9), (5, 2, 3, 3))
        optimizer = method.seeded(params, seed=seed)
        train(optimizer, params, 5, draws=2)
        with optimizer.sampled_params():
            drawn = copies(params)
        assert torch.equal(torch.get_rng_state(), before)
        return drawn + copies(params) + tensors_of_state(optimizer)

    first = run(0, 0)
    assert same(first, run(0, 1))
    if method.cls in (BayesBiNN, Bop, PMF):
        assert not same(first, run(1, 0))


@every_posterior
def test_posterior_samples_have_the_posteriors_mean(method):
    """2,000 draws of 64 weights: by Bonferroni a false alarm once in 10,000 seeds."""
    (p,) = params = weights((8, 8))
    optimizer = method.seeded(params)
    natural = optimizer.state[p]["natural_parameter"]
    natural.copy_(torch.linspace(-2, 2, 64).view(8, 8))
    expected = 1 / (1 + np.exp(-2 * natural.numpy().astype(np.float64)))
    np.testing.assert_allclose(optimizer.probabilities()[p], expected, rtol=1e-6)
    draws, plus = 2000, torch.zeros(8, 8)
    for _ in range(draws):
        with optimizer.sampled_params():
            assert are_signs(params)
            plus += p.detach() > 0
    z = (plus.numpy() / draws - expected) / np.sqrt(expected * (1 - expected) / draws)
    assert np.abs(z).max() < 4.81  # two-sided 1e-4 / 64
    # And draws of one weight do not follow another's: the sum over weights is as spread as it must.
    total = (plus.numpy().sum() / draws - expected.sum()) / np.sqrt(
        (expected * (1 - expected)).sum() / draws
    )
    assert abs(total) < 3.9


@every_binary_method
def test_without_a_posterior_a_draw_for_prediction_is_the_mode(method):
    if method.cls.has_posterior:
        pytest.skip("has a posterior")
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    train(optimizer, params, 3)
    before = copies(params)
    with optimizer.sampled_params():
        assert same(params, before)
    assert not hasattr(optimizer, "probabilities")


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


# -- schedulers, prior, diagnostics --------------------------------------------------------------


@every_method
def test_torchs_schedulers_move_the_group(method):
    if "lr" not in method([*weights((2, 2))]).defaults:
        pytest.skip("moves another key")

    def run(by_hand):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        base = optimizer.param_groups[0]["lr"]
        scheduler = None if by_hand else torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
        for step in range(6):
            if by_hand:
                optimizer.param_groups[0]["lr"] = base * 0.1 ** (step // 2)
            train(optimizer, params, 1, seed=step)
            if scheduler:
                scheduler.step()
        return copies(params) + tensors_of_state(optimizer)

    for a, b in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(a, b)


@every_method
def test_the_scheduled_key_is_one_that_the_update_reads(method):
    def run(value):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        group = optimizer.param_groups[0]
        key = optimizer.scheduled_key(group)
        group[key] = value or group[key]
        train(optimizer, params, 2)
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(None), run(None))
    assert not same(run(None), run(7e-5))


@every_posterior
def test_the_prior_is_a_copy_of_the_posterior_and_pulls_towards_it(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    train(optimizer, params, 2)
    optimizer.set_prior_to_posterior()
    learnt = [optimizer.state[p]["natural_parameter"].clone() for p in params]
    train(optimizer, params, 3)
    for p, before in zip(params, learnt, strict=True):
        assert torch.equal(optimizer.state[p]["prior"], before)
        assert not torch.equal(optimizer.state[p]["natural_parameter"], before)


@every_posterior
@pytest.mark.parametrize("kept", [True, False])
def test_without_data_the_posterior_goes_to_the_prior(method, kept):
    """Zero gradients leave the KL term alone: lambda - prior shrinks, to nothing in the end."""
    (p,) = params = weights((6, 6))
    optimizer = method.seeded(params, lr=0.1, momentum=0.0, prior=0.3)
    train(optimizer, params, 2)
    natural = optimizer.state[p]["natural_parameter"]
    target = torch.full_like(natural, 0.3)
    if kept:
        optimizer.set_prior_to_posterior()
        target = natural.clone()
        train(optimizer, params, 1)
    distance = natural - target
    assert distance.abs().max() > 0
    with optimizer.sampled_params(train=True):
        (p * 0).sum().backward()
    optimizer.step()
    torch.testing.assert_close(
        natural, target + 0.9 * distance, rtol=1e-5, atol=1e-6 * float(natural.abs().max())
    )


@every_binary_method
def test_flips_are_counted_from_one_call_to_the_next(method):
    params = weights(*SHAPES)
    total = sum(p.numel() for p in params)
    optimizer = method.seeded(params)
    reference, shares = copies(params), []
    for call in range(12):
        for _ in range(6):
            with optimizer.sampled_params(train=True):
                loss_of(params, targets_for(params, call // 8)).backward()
            optimizer.step()
        flipped = sum(int((a != b).sum()) for a, b in zip(params, reference, strict=True))
        shares.append(flipped / total)
        assert optimizer.diagnostics()["flipped"] == pytest.approx(shares[-1])
        assert optimizer.diagnostics()["flipped"] == 0
        reference = copies(params)
    assert max(shares) > 0, "a test in which nothing flips shows nothing"


@every_method
def test_diagnostics_are_finite_numbers_and_change_no_weight(method):
    params = weights(*SHAPES)
    optimizer = method.seeded(params)
    for _ in range(3):
        train(optimizer, params, 3)
        before = copies(params)
        for figure in optimizer.diagnostics().values():
            assert isinstance(figure, float)
            assert math.isfinite(figure)
        assert same(params, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropy_saturation_and_probabilities_of_a_posterior(dtype):
    values = [0.0, 1e-8, 0.3, -0.3, 1.0, 3.79, -3.81, 9.0, -20.0, 1e6, -1e6, 3e38]
    (p,) = params = weights((3, 4), dtype=dtype)
    optimizer = BayesBiNN(params, lr=0.1, train_set_size=10)
    optimizer.state[p]["natural_parameter"].copy_(torch.tensor(values, dtype=dtype).view(3, 4))
    figures = optimizer.diagnostics()

    field = 2 * np.abs(np.array(values))
    q = np.exp(-field) / (1 + np.exp(-field))  # the rarer sign's probability
    bits = -(1 - q) * np.log1p(-q) - q * np.where(q > 0, np.log(np.maximum(q, 1e-320)), 0)
    assert figures["entropy_bits"] == pytest.approx(np.mean(bits) / np.log(2), rel=1e-6)
    assert figures["saturated"] == pytest.approx(np.mean(np.tanh(np.abs(values)) >= 1 - 1e-3))
    expected = np.where(np.array(values) >= 0, 1 - q, q)
    found = optimizer.probabilities()[p]
    assert found.shape == p.shape
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5, atol=1e-37)


def test_saturation_of_latent_weights_and_of_soft_weights():
    p = nn.Parameter(torch.tensor([[-2.0, -1.0], [0.5, 3.0]]))
    assert STE([p]).diagnostics()["saturated"] == 0.75
    (q,) = weights((2, 2))
    optimizer = PMF([q])
    logits = optimizer.state[q]["logits"]
    logits[0] = torch.tensor([[3.79, -3.81], [0.0, 100.0]])
    logits[1] = -logits[0]
    assert optimizer.diagnostics()["saturated"] == 0.5
    optimizer.param_groups[0]["beta"] = 1.1
    assert optimizer.diagnostics() == {"flipped": 0.0, "beta": 1.1, "saturated": 0.75}


def test_a_deep_copy_goes_on_by_itself():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3, bias=False)
    stream = torch.Generator().manual_seed(1)
    optimizer = BayesBiNN(
        model.named_parameters(), lr=0.1, train_set_size=10, temperature=1.0, generator=stream
    )

    def train(model, optimizer):
        for _ in range(3):
            with optimizer.sampled_params(train=True):
                model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
        return next(iter(optimizer.state.values()))["natural_parameter"]

    other_model, other = copy.deepcopy((model, optimizer))
    assert torch.equal(train(model, optimizer), train(other_model, other))


def test_a_frozen_parameter_is_not_counted_as_binary():
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(3, 2, bias=False)
    )
    model[0].weight.requires_grad_(False)
    optimizer = STE(model.named_parameters())
    assert optimizer.binary_parameters() == {model[1].weight}
