"""What every method promises of draws, gradients and chance."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import PMF, STE, BayesBiNN, Bop

from .methods_under_test import (
    SHAPES,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    every_posterior,
    loss_of,
    other_group,
    same,
    targets_for,
    tensors_of_state,
    train,
    weights,
)

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
    optimizer = method.seeded(params, **method.accepted(temperature=1.0, init=1.0))
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
@pytest.mark.parametrize("by_hand", [0, 1])
def test_a_closure_that_fails_leaves_none_of_its_draws(method, by_hand):
    """Draws made before it stay."""

    def run(failing):
        params = weights(*SHAPES)
        optimizer = method.seeded(params, train_samples=3)
        calls = 0

        def closure():
            nonlocal calls
            calls += 1
            if failing and calls == 2:
                raise MemoryError
            loss = loss_of(params, targets_for(params, calls % 4))
            loss.backward()
            return loss

        for _ in range(by_hand):
            with optimizer.sampled_params(train=True):
                loss_of(params, targets_for(params, 9)).backward()
        if failing:
            noise = optimizer.generator.get_state()
            with pytest.raises(MemoryError):
                optimizer.step(closure)
            optimizer.generator.set_state(noise)
            failing, calls = False, 0
        optimizer.step(closure)
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(False), run(True))


def test_a_draw_counts_whole_or_not_at_all():
    class Failing(STE):
        calls = 0

        def _consume(self, parameter, gradient, group):
            self.calls += 1
            if self.calls == 2:
                raise MemoryError
            return gradient

    params = weights(*SHAPES)
    optimizer = Failing(params)

    def draw():
        with optimizer.sampled_params(train=True):
            loss_of(params, targets_for(params)).backward()

    with pytest.raises(MemoryError):
        draw()
    with pytest.raises(RuntimeError, match="without a draw"):
        optimizer.step()
    draw()
    before = copies(optimizer._gradients.values())
    params = weights(*SHAPES)
    optimizer = STE(params)
    draw()
    assert same(before, optimizer._gradients.values())


@every_method
def test_zero_grad_drops_the_draws_that_no_step_has_used(method):
    def run(stray):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        if stray:
            noise = optimizer.generator.get_state()
            with optimizer.sampled_params(train=True):
                (loss_of(params, targets_for(params, 99)) * float("inf")).backward()
            optimizer.zero_grad()
            with pytest.raises(RuntimeError, match="without a draw"):
                optimizer.step()
            optimizer.generator.set_state(noise)
        for _ in range(2):
            with optimizer.sampled_params(train=True):
                optimizer.zero_grad()  # a draw's own gradient, before it is there
                loss_of(params, targets_for(params)).backward()
        optimizer.step()
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(False), run(True))


@every_method
def test_a_scaler_may_leave_out_a_step(method):
    def run(scale, losses):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, enabled=scale)
        for factor in losses:
            noise = optimizer.generator.get_state()
            optimizer.zero_grad()
            with optimizer.sampled_params(train=True):
                loss = loss_of(params, targets_for(params)) * factor
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            if factor != 1:
                optimizer.generator.set_state(noise)
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(True, [1, float("inf"), 1]), run(False, [1, 1]))


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


@every_binary_method
def test_an_autocast_around_everything_sees_each_draw_and_each_step(method):
    """Autocast keeps its copies of the weights until its end."""

    def run(around):
        torch.manual_seed(0)
        layer = nn.Linear(16, 8, bias=False)
        optimizer = method.seeded(layer.parameters())
        state = copy.deepcopy(optimizer.state_dict())
        inputs, seen = torch.randn(4, 16), []

        def look():
            with nullcontext() if around else torch.autocast("cpu", torch.bfloat16):
                outputs = layer(inputs)
            seen.append(outputs.detach().clone())
            return outputs.float().square().mean()

        with torch.autocast("cpu", torch.bfloat16) if around else nullcontext():
            for _ in range(3):
                for _ in range(2):
                    with optimizer.sampled_params(train=True):
                        look().backward()
                look()
                optimizer.step()
                look()
                with optimizer.sampled_params():
                    look()
            optimizer.load_state_dict(state)
            look()
        return seen

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
def test_a_parameter_frozen_later_keeps_what_it_is_given(method):
    trained, frozen = params = weights((4, 4), (3, 3))
    optimizer = method.seeded(params)
    train(optimizer, params, 2)
    frozen.requires_grad_(False).fill_(0.5)
    for _ in range(2):
        with optimizer.sampled_params(train=True):
            assert (frozen == 0.5).all()
            loss_of([trained], targets_for([trained])).backward()
        optimizer.step()
        assert (frozen == 0.5).all()


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
                    value.copy_(torch.stack([start, -start]))
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
        params = [*weights((9, 9)), nn.Parameter(torch.zeros(5, 2, 3, 3))]  # 0 has no sign
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
