"""What equals what: rules that become one another in a limit, or are one algorithm in other words.

The filter view: where the forward weights are sign(latent) and the latent is a linear filter of the
gradients, only the filter counts; a common factor of the latent is invisible.
"""

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import (
    PMF,
    STE,
    AdaSTE,
    BayesBiNN,
    Bop,
    Bop2,
    MDTanhS,
    Metaplasticity,
    ProxConnect,
    reference,
)
from bnnrepro.optim.adaste import amplify, amplify_hard, minimise, weaken
from bnnrepro.optim.prox_connect import blend, inverse_slope, ramp

SHAPE = (12, 9)
STEPS = 300
UNCLIPPED = {"grad_clip": None, "weight_clip": 1e9}


def parameter(seed=0, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.rand(SHAPE, generator=source, dtype=dtype) - 0.5)


def gradients(seed=1, size=1.0, dtype=torch.float64):
    """Noise around a drift that turns slowly, so that weights flip all along."""
    source = torch.Generator().manual_seed(seed)
    phase, slope = (torch.randn(SHAPE, generator=source, dtype=dtype) for _ in range(2))
    for step in range(STEPS):
        noise = torch.randn(SHAPE, generator=source, dtype=dtype)
        yield size * ((phase + slope * step / 30).sin() + noise)


def step(optimizer, p, g):
    """Take a step with a gradient; return the weights of the training pass."""
    with optimizer.sampled_params(train=True):
        shown = p.detach().clone()
        (p * g).sum().backward()
    optimizer.step()
    return shown


def start_at(optimizer, p, latent):
    state = optimizer.state_dict()
    state["state"][0]["latent"] = latent.detach().clone()
    optimizer.load_state_dict(state)


def assert_the_same_all_along(make, other, latent=None, **of_gradients):
    """Two optimizers show and leave the same bits, step by step; return the number of flips."""
    first, second = parameter(), parameter()
    ours, theirs = make([first]), other([second])
    for optimizer, p in ((ours, first), (theirs, second)):
        if latent is not None:
            start_at(optimizer, p, latent)
    flips, before = 0, first.detach().clone()
    for g in gradients(**of_gradients):
        assert torch.equal(step(ours, first, g), step(theirs, second, g))
        assert torch.equal(first, second)
        flips += int((first != before).sum())
        before = first.detach().clone()
    assert flips > 100
    return flips


# -- rules that are STE without clipping -----------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda params: ProxConnect(params, lr=1e-2, total_steps=1, prox="hard"),
        lambda params: Metaplasticity(params, lr=1e-2, metaplasticity=0, weight_decay=0),
    ],
    ids=["ProxConnect hard", "metaplasticity 0"],
)
def test_it_is_ste_without_clipping(make):
    assert_the_same_all_along(make, lambda params: STE(params, lr=1e-2, **UNCLIPPED))


@pytest.mark.parametrize("prox", ["parq", "binary_relax"])
def test_at_the_end_of_their_annealing_the_soft_maps_are_hard(prox):
    def annealed(params):
        optimizer = ProxConnect(params, lr=1e-2, total_steps=1, prox=prox)
        optimizer.param_groups[0]["steps"] = 1
        return optimizer

    assert_the_same_all_along(annealed, lambda params: ProxConnect(params, lr=1e-2, total_steps=1))


def test_md_tanh_s_at_a_large_beta_is_ste_without_clipping():
    """Where beta |u| > 19.1, tanh is exactly +-1 in float64: bit for bit the same."""

    def sharp(params):
        optimizer = MDTanhS(params, lr=1e-2, total_steps=1, beta_final=1e30)
        optimizer.param_groups[0]["steps"] = 1
        return optimizer

    ste = lambda params: STE(params, lr=1e-2, **UNCLIPPED)  # noqa: E731
    assert_the_same_all_along(sharp, ste, parameter(7) + 1e-3)


# -- MD-tanh-S and PMF -----------------------------------------------------------------------------


class WithJacobian(MDTanhS):
    """MD-tanh-S whose gradient is multiplied by dw / du = beta (1 - w^2): GD-tanh."""

    def _consume(self, parameter, gradient, group):
        beta = group["beta_final"] ** (group["steps"] / group["total_steps"])
        return gradient * beta * (1 - parameter**2)


def test_pmf_is_md_tanh_s_with_its_jacobian():
    """With theta = (u, -u) and half of the epsilon: PMF's gradient is half of GD-tanh's."""
    first, second = parameter(), parameter()
    gd = WithJacobian([first], lr=1e-2, total_steps=STEPS, beta_final=20, eps=2e-8)
    pmf = PMF([second], lr=1e-2, rho=1.0, eps=1e-8)
    latent = gd.state[first]["latent"]
    pmf.state[second]["logits"].copy_(torch.stack([latent, -latent]))
    for number, g in enumerate(gradients()):
        pmf.param_groups[0]["beta"] = 20 ** (number / STEPS)
        torch.testing.assert_close(step(gd, first, g), step(pmf, second, g), rtol=1e-6, atol=1e-7)
        plus, minus = pmf.state[second]["logits"]
        torch.testing.assert_close(latent, (plus - minus) / 2, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(plus, -minus)


def test_with_plain_steps_md_tanh_s_is_the_mirror_descent_step():
    rng = np.random.default_rng(0)
    u, g, beta, lr = rng.normal(size=500), rng.normal(size=500), 1.7, 0.3
    w, shift = np.tanh(beta * u), np.exp(-2 * beta * lr * g)
    closed = ((1 + w) * shift - (1 - w)) / ((1 + w) * shift + (1 - w))
    np.testing.assert_allclose(np.tanh(beta * (u - lr * g)), closed, rtol=1e-9, atol=1e-12)


def test_signs_are_a_symmetry_of_md_tanh_s():
    first, second = parameter(), nn.Parameter(-parameter().detach())
    ours, mirrored = (MDTanhS([p], lr=1e-2, total_steps=STEPS) for p in (first, second))
    start_at(mirrored, second, -ours.state[first]["latent"])
    for g in gradients():
        assert torch.equal(step(ours, first, g), -step(mirrored, second, -g))


# -- the filter view -------------------------------------------------------------------------------


def no_flips_differ(ours, theirs, skip=0, **of_gradients):
    (first, make), (second, other) = ours, theirs
    optimizer, twin = make([first]), other([second])
    flips, before = 0, first.detach().clone()
    for number, g in enumerate(gradients(**of_gradients)):
        step(optimizer, first, g)
        step(twin, second, g)
        if number >= skip:
            assert torch.equal(first, second), number
            flips += int((first != before).sum())
        before = first.detach().clone()
    assert flips > 100


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_adastes_program_without_its_factor_is_bayesbinn_saturated(momentum):
    """Cut and annealing off, c is 1: N^2 stands for N / tau, rho for the momentum.

    Saturated from the start: tanh(100) is 1 in float64.
    """
    tau, n = 1e-10, 60.0
    no_flips_differ(
        (
            parameter(),
            lambda params: AdaSTE(
                params,
                lr=1e-2,
                train_set_size=n,
                train_set_scale=np.sqrt(1 / tau / n),
                total_steps=1,
                annealing=None,
                cut=None,
                momentum=momentum,
                init=100.0,
            ),
        ),
        (
            parameter(),
            lambda params: BayesBiNN(
                params, lr=1e-2, train_set_size=n, temperature=tau, momentum=momentum, init=100.0
            ),
        ),
    )


def bop_from_zero_average(gamma):
    return parameter(), lambda params: Bop(params, threshold=0.0, adaptivity_rate=gamma)


def test_adastes_program_is_bop_at_threshold_0_once_its_start_is_forgotten():
    """|theta| starts at 10 and grows to N^2 lr |g|, against which 10 is nothing."""
    options = {"annealing": None, "cut": None, "momentum": 0.0}
    adaste = lambda params: AdaSTE(  # noqa: E731
        params, lr=5e-2, train_set_size=1e6, total_steps=1, **options
    )
    no_flips_differ((parameter(), adaste), bop_from_zero_average(5e-2), skip=1)


def test_binaryconnect_by_sgd_with_decay_is_bop_at_threshold_0():
    """lr times decay is Bop's gamma, whatever the size of the steps."""
    sgd = lambda params: ProxConnect(  # noqa: E731
        params, lr=1e4, total_steps=1, base="sgd", momentum=0.0, weight_decay=5e-6
    )
    no_flips_differ((parameter(), sgd), bop_from_zero_average(5e-2), skip=100)


def test_its_momentum_is_bayesbinns():
    """SGD with momentum and decay and BayesBiNN's two averages have one ratio, from zero on.

    gamma = lr decay / (1 - momentum); checked on the latent values of the plain rules.
    """
    momentum, alpha, scale = 0.9, 1e-3, 50.0
    zeros = np.zeros(SHAPE)
    decay = 1e-4
    sgd = reference.ProxConnect(
        zeros, 1, "hard", "sgd", lr=alpha * (1 - momentum) / decay, weight_decay=decay
    )
    average, natural = zeros.copy(), zeros.copy()
    for g in gradients():
        sgd.step(g.numpy())
        average = momentum * average + (1 - momentum) * (scale * g.numpy() + natural)
        natural = natural - alpha * average
    ratio = sgd.adam.value / natural
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-9)


# -- second-order Bop ------------------------------------------------------------------------------


@pytest.mark.parametrize("second_rate", [1e-3, 0.5])
def test_second_order_bop_at_threshold_0_is_bop(second_rate):
    no_flips_differ(
        (parameter(), lambda params: Bop2(params, 0.0, 0.05, second_rate)),
        (parameter(), lambda params: Bop(params, 0.0, 0.05)),
    )


def test_the_unbiased_rule_is_the_biased_one_rescaled():
    threshold, gamma, sigma = 2.0, 0.05, 0.01
    p = parameter()
    optimizer = Bop2([p], threshold * gamma / sigma**0.5, gamma, sigma)
    rule = reference.Bop2(p.detach().numpy().copy(), threshold, gamma, sigma, unbiased=True)
    start, flips = p.detach().clone(), 0
    for g in gradients():
        step(optimizer, p, g)
        rule.step(g.numpy())
        np.testing.assert_array_equal(p.detach().numpy(), rule.mode)
        flips += int((p != start).sum())
    assert flips > 100


def test_the_size_of_the_gradients_means_nothing_to_second_order_bop():
    """A factor of 2^10 shifts the exponents alone, so no rounding differs."""
    first, second, third, fourth = (parameter() for _ in range(4))
    pair = [Bop2([p], 0.05, 0.05, 0.01) for p in (first, second)]
    bops = [Bop([p], 0.05, 0.05) for p in (third, fourth)]
    for g in gradients():
        step(pair[0], first, g)
        step(pair[1], second, 1024 * g)
        step(bops[0], third, g)
        step(bops[1], fourth, 1024 * g)
        assert torch.equal(first, second)
    assert not torch.equal(third, fourth)


# -- BiMU ------------------------------------------------------------------------------------------


def test_bimu_is_bayesbinn_for_small_gradients():
    """alpha N = lr l / k on the data; steps unbounded, nothing forgotten.

    One step from many states, against the natural gradient that BayesBiNN follows.
    """
    rng = np.random.default_rng(2)
    natural, uniform = rng.uniform(-2, 2, 500), rng.uniform(0.05, 0.95, 500)
    lr, likelihood, curvature, memory = 0.8, 3.0, 2.0, 1e15
    bimu = reference.BiMU(natural, lr, likelihood, curvature, 1e12, memory)
    bayes = reference.BayesBiNN(natural, 1.0, 1.0, 1.0)
    np.testing.assert_allclose(bimu.draw(uniform), bayes.draw(uniform))
    for size in (1e-6, 1e-8):
        g = size * rng.normal(size=500)
        bimu.natural, bimu.through, bayes.weighted = natural.copy(), [], []
        bimu.w = bayes.draw(uniform)
        bimu.consume(g)
        bayes.consume(g)
        bimu.step()
        (on_mean,) = bayes.weighted  # the loss's derivative by mu
        expected = -(lr * likelihood / curvature) * on_mean
        np.testing.assert_allclose(bimu.natural - natural, expected, rtol=1e-3, atol=1e-4 * size)


def bimu_step(natural, g, **settings):
    """Take one step from given natural parameters with a given G; the draw's factor is 1."""
    options = {"lr": 0.9, "likelihood": 1.0, "curvature": 2.0, "max_step": 0.3, "memory": 1e12}
    rule = reference.BiMU(natural, **{**options, **settings})
    rule.through = [g]
    rule.step()
    return rule.natural - natural


def test_bimus_steps_against_a_weights_sign_are_bounded():
    rng = np.random.default_rng(3)
    natural, g = rng.normal(size=100_000) * 3, rng.normal(size=100_000) * 10 ** rng.uniform(-3, 3)
    moved = bimu_step(natural, g)
    against = natural * g > 0
    assert (np.abs(moved[against]) <= 0.9 / 2 + 1e-9).all()
    assert (np.abs(moved) <= 0.3 * 0.9 * np.abs(g) + 1e-9).all()
    assert np.abs(moved[~against]).max() > 1
    np.testing.assert_allclose(bimu_step(-natural, -g), -moved)


def test_without_data_bimu_forgets_at_a_known_rate():
    """At unbounded steps the rate is 1 / N: BayesBiNN's alpha on its prior."""
    natural = np.linspace(-3, 3, 13)
    moved = bimu_step(natural, np.zeros(13), memory=50.0, curvature=2.0, max_step=0.3)
    curvature = 2.0 * (1 - np.tanh(natural) ** 2)
    expected = -natural / (50 * (1 + 1 / (0.3 * curvature)))
    np.testing.assert_allclose(moved, expected, atol=1e-15)
    moved = bimu_step(natural, np.zeros(13), memory=50.0, max_step=1e12)
    np.testing.assert_allclose(moved, -natural / 50, rtol=1e-8)


# -- AdaSTE's factor -------------------------------------------------------------------------------

CASES = [(0.01, 0.01), (0.5, 0.3), (1.0, 0.9), (5.0, 0.1), (3.0, 0.2)]


def pairs(count=2000, seed=5):
    source = torch.Generator().manual_seed(seed)
    theta = 1.5 * torch.randn(count, generator=source, dtype=torch.float64)
    return theta, torch.randn(count, generator=source, dtype=torch.float64)


def factor(rule, theta, g, mu, alpha, limit):
    weighted = g.clone()
    rule(weighted, theta, mu, alpha, limit)
    return weighted / g


@pytest.mark.parametrize(("mu", "alpha"), CASES)
def test_the_derived_factor_is_the_finite_difference_across_the_jump(mu, alpha):
    """c = (s(theta) - s(theta - b g)) / (b g), b the first step that crosses 0 (towards 0)."""
    theta, g = pairs()
    towards = theta * g > 0
    theta, g = theta[towards], g[towards]
    b = theta.abs() / g.abs() * (1 + 1e-9)
    here, there = torch.empty_like(theta), torch.empty_like(theta)
    minimise(here, theta, mu, alpha)
    minimise(there, theta - b * g, mu, alpha)
    ours = factor(amplify, theta, g, mu, alpha, 1e12)
    torch.testing.assert_close(ours, (here - there) / (b * g), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("mu", "alpha"), CASES)
def test_the_derived_factor_treats_both_signs_alike(mu, alpha):
    theta, g = pairs()
    assert torch.equal(
        factor(amplify, theta, g, mu, alpha, 10.0), factor(amplify, -theta, -g, mu, alpha, 10.0)
    )


@pytest.mark.parametrize("mu", [0.01, 0.1])
def test_the_programs_factor_does_not(mu):
    """It subtracts theta where |theta| is derived: this records it."""
    (theta, g), alpha = pairs(), 0.01
    program = [factor(weaken, s * theta, s * g, mu, alpha, 0.1) for s in (1, -1)]
    inside = (theta.abs() < 1 - mu * alpha) & (theta * g > 0) & (g.abs() > 0.1)
    assert torch.equal(program[0][~inside], program[1][~inside])
    assert inside.any()
    assert not torch.equal(program[0][inside], program[1][inside])


def test_without_a_well_the_forward_weights_are_clipped_and_the_factor_is_stes_mask():
    theta, g = pairs()
    shown = torch.empty_like(theta)
    minimise(shown, theta, 1e-12, 0.01)
    torch.testing.assert_close(shown, theta.clamp(-1, 1))
    away = theta * g <= 0
    c = factor(amplify, theta, g, 1e-12, 0.01, 1e12)
    torch.testing.assert_close(c[away], (theta[away].abs() < 1).double())


def test_once_the_well_is_deep_steps_away_from_zero_count_for_nothing():
    theta, g = pairs()
    c = factor(amplify_hard, theta, g, 100.0, 0.01, 1e12)
    assert (c[theta * g <= 0] == 0).all()
    towards = theta * g > 0
    torch.testing.assert_close(c[towards], 2 / theta[towards].abs())


# -- ProxConnect's maps ----------------------------------------------------------------------------


@pytest.mark.parametrize("done", [0.0, 0.25, 0.5, 0.75, 0.99])
def test_the_maps_are_odd_monotone_and_keep_plus_and_minus_one(done):
    u = torch.linspace(-2, 2, 401, dtype=torch.float64)
    u = u[u != 0]
    for rule, number in ((ramp, inverse_slope(done)), (blend, done)):
        w, mirrored, ends = torch.empty_like(u), torch.empty_like(u), torch.empty(2).double()
        rule(w, u, number)
        rule(mirrored, -u, number)
        rule(ends, torch.tensor([-1.0, 1.0]).double(), number)
        assert torch.equal(mirrored, -w)
        assert (w.diff() >= 0).all()
        torch.testing.assert_close(ends, torch.tensor([-1.0, 1.0]).double())


def test_parqs_slope_has_the_published_values():
    shares, values = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99), (1, 0.930, 0.5, 0.070, 0.0115, 0.0007)
    for share, value in zip(shares, values, strict=True):
        assert inverse_slope(share) == pytest.approx(value, abs=1e-3 if value > 0.02 else 1e-4)


@pytest.mark.parametrize("prox", ["parq", "binary_relax"])
def test_at_the_start_of_the_annealing_it_is_sgd_on_real_weights(prox):
    """Bit for bit, as long as |u| <= 1 and the share stays 0."""
    first, second = parameter(), parameter()
    ours = ProxConnect([first], lr=1e-3, base="sgd", total_steps=10**9, prox=prox)
    theirs = torch.optim.SGD([second], lr=1e-3, momentum=0.9)
    for g in gradients():
        ours.param_groups[0]["steps"] = 0
        assert torch.equal(step(ours, first, g), second.detach())
        theirs.zero_grad()
        second.grad = g.clone()
        theirs.step()
        if second.abs().max() > 1:
            break
    assert torch.equal(ours.state[first]["latent"], second.detach())


# -- metaplasticity --------------------------------------------------------------------------------


def test_without_end_metaplasticity_no_weight_goes_towards_zero():
    p = parameter()
    optimizer = Metaplasticity([p], metaplasticity=1e9, weight_decay=0.0)
    latent = optimizer.state[p]["latent"]
    for g in gradients():
        before = latent.clone()
        step(optimizer, p, g)
        assert (latent.abs() >= before.abs()).all()
        assert torch.equal(latent.sign(), before.sign())
