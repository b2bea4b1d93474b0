"""Each method against its reference in plain NumPy, in float64, over hundreds of steps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
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
    reference,
)
from bnnrepro.optim.base import BinaryOptimizer
from bnnrepro.optim.bayesbinn import _weigh, scale
from bnnrepro.optim.kernels.active_set import SPARSITY
from bnnrepro.optim.kernels.chunks import flat
from bnnrepro.optim.kernels.noise import BLOCK, deltas
from bnnrepro.optim.kernels.relaxation import ActiveSets, reach
from bnnrepro.optim.posterior import _relax_block, _write_relaxed, relax

from .uniforms import uniforms_like

STEPS = 200
EPS = np.finfo(np.float64).eps
# What both sides may differ by after all the steps: values are of order 1, and rounding grows at
# most by the sum of the steps.
CLOSE = {"rtol": 1e-9, "atol": 1e-10}

# Few and long; a failing example is shown as it is, shrinking such runs takes minutes.
long_examples = settings(
    max_examples=5, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate]
)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**31)
gradient_scales = st.floats(-3, 3).map(lambda power: 10**power)
adam_settings = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-4, 0.1),
        "betas": st.tuples(st.floats(0, 0.95), st.floats(0, 0.999)),
        "eps": st.sampled_from([1e-8, 1e-4]),
        "weight_decay": st.sampled_from([0.0, 1e-4, 0.1]),
    }
)


@pytest.fixture(
    scope="module",
    params=["as it is", pytest.param("compiled", marks=pytest.mark.slow)],
    autouse=True,
)
def _way_of_running(request):
    """Run the module's tests with the kernels as they are, and compiled."""
    before = BinaryOptimizer.compiled
    BinaryOptimizer.compiled = request.param == "compiled"
    yield
    BinaryOptimizer.compiled = before


def parameter(shape, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    return nn.Parameter(torch.tensor(values)), values


def gradients_of(shape, seed, size, steps=STEPS):
    """Gradients as training has them: noise around a drift, and exact zeros (dead inputs)."""
    rng = np.random.default_rng(seed + 1)
    drift = rng.normal(size=shape) * size
    for _ in range(steps):
        yield (drift + rng.normal(size=shape) * size) * (rng.random(shape) > 0.1)


def train_on(optimizer, p, g):
    with optimizer.sampled_params(train=True):
        soft = p.detach().numpy().copy()
        (p * torch.from_numpy(np.asarray(g))).sum().backward()
    return soft


def array(tensor):
    return tensor.detach().numpy()


def assert_close(ours, theirs, rtol, atol):
    ours = np.asarray(ours.detach())
    assert (np.abs(ours - theirs) <= rtol * np.abs(theirs) + atol).all(), (ours, theirs)


def assert_same_signs(p, value, margin=1e-9):
    clear = np.abs(value) > margin
    assert (array(p)[clear] == reference.sign(value)[clear]).all()


@given(shapes, seeds, gradient_scales, adam_settings)
@long_examples
def test_full_precision(shape, seed, size, adam):
    p, values = parameter(shape, seed)
    optimizer, rule = FullPrecision([p], **adam), reference.Adam(values, **adam)
    for g in gradients_of(shape, seed, size):
        train_on(optimizer, p, g)
        optimizer.step()
        rule.step(g)
        assert_close(p, rule.value, **CLOSE)
    assert_close(optimizer.state[p]["exp_avg"], rule.m, rtol=1e-9, atol=1e-12 * size)
    assert_close(optimizer.state[p]["exp_avg_sq"], rule.v, rtol=1e-9, atol=1e-12 * size**2)


@given(
    shapes,
    seeds,
    gradient_scales,
    adam_settings,
    st.sampled_from([None, 1.0, 0.05]),
    st.sampled_from([1.0, 0.3]),
)
@long_examples
def test_ste(shape, seed, size, adam, grad_clip, weight_clip):
    p, values = parameter(shape, seed)
    options = {"grad_clip": grad_clip, "weight_clip": weight_clip, **adam}
    optimizer = STE([{"params": [p], "binary": True}], **options)
    rule = reference.STE(values, **options)
    for g in gradients_of(shape, seed, size):
        train_on(optimizer, p, g)
        optimizer.step()
        rule.step(g)
        assert_close(optimizer.state[p]["latent"], rule.adam.value, **CLOSE)
        assert_same_signs(p, rule.adam.value)


@given(
    shapes,
    seeds,
    gradient_scales,
    st.sampled_from([0.0, 1e-8, 1e-3, 0.5]),
    st.sampled_from([1e-4, 0.05, 0.7, 1.0]),
)
@long_examples
def test_bop(shape, seed, size, threshold, rate):
    p, _ = parameter(shape, seed)
    optimizer = Bop(
        [{"params": [p], "binary": True}],
        threshold=threshold,
        adaptivity_rate=rate,
        generator=torch.Generator().manual_seed(seed),
    )
    rule = reference.Bop(array(p).copy(), threshold, rate)
    for g in gradients_of(shape, seed, size):
        train_on(optimizer, p, g)
        optimizer.step()
        rule.step(g)
        np.testing.assert_array_equal(array(p), rule.mode)
    assert_close(optimizer.state[p]["momentum"], rule.m, rtol=1e-9, atol=1e-12 * size)


@given(
    shapes,
    seeds,
    gradient_scales,
    adam_settings,
    st.sampled_from([1.0, 1.2, 2.0]),
    st.integers(1, 60),
    st.sampled_from([1.0, 3.0, 8.0]),
)
@long_examples
def test_pmf(shape, seed, size, adam, rho, interval, beta_max):
    # 1 - w^2 loses about beta |theta| digits to cancellation, so beta stays small here. Large steps
    # around a minimum multiply that from step to step: each is taken from the reference's logits.
    p, _ = parameter(shape, seed)
    options = {"rho": rho, "beta_interval": interval, "beta_max": beta_max}
    optimizer = PMF(
        [{"params": [p], "binary": True}],
        **options,
        **adam,
        generator=torch.Generator().manual_seed(seed),
    )
    rule = reference.PMF(array(optimizer.state[p]["logits"]).copy(), **options, **adam)
    for g in gradients_of(shape, seed, size):
        assert_close(torch.from_numpy(train_on(optimizer, p, g)), rule.draw(), rtol=1e-8, atol=1e-9)
        optimizer.step()
        rule.step(g)
        assert_close(optimizer.state[p]["logits"], rule.adam.value, rtol=1e-8, atol=1e-9)
        assert_same_signs(p, rule.adam.value[0] - rule.adam.value[1], 1e-8)
        optimizer.state[p]["logits"].copy_(torch.from_numpy(rule.adam.value))
    assert optimizer.param_groups[0]["beta"] == rule.beta


@given(
    st.lists(shapes, min_size=1, max_size=2),
    seeds,
    st.floats(1e-3, 0.1),
    st.floats(0.5, 10),
    st.sampled_from([0.0, 0.5, 0.99]),
    st.sampled_from([0.0, 0.4]),
    st.integers(1, 3),
    st.booleans(),
)
@long_examples
def test_bayesbinn_with_noise(all_shapes, seed, lr, tau, momentum, prior, draws, stale):
    """Moderate natural parameters, where every weight is drawn: the whole trajectory agrees."""
    params = [parameter(shape, seed)[0] for shape in all_shapes]
    source = torch.Generator().manual_seed(seed)
    optimizer = BayesBiNN(
        [{"params": params, "binary": True}],
        lr=lr,
        train_set_size=20,
        temperature=tau,
        momentum=momentum,
        prior=prior,
        init=1.0,
        train_set_scale=2.5,
        stale_mean=stale,
        generator=source,
    )
    twin = torch.Generator()
    twin.set_state(source.get_state())
    settings = lr, 50, tau, momentum, prior, stale
    rules = [
        reference.BayesBiNN(array(optimizer.state[p]["natural_parameter"]).copy(), *settings)
        for p in params
    ]
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        if step == STEPS // 2:
            optimizer.set_prior_to_posterior()
            for rule in rules:
                rule.prior = rule.natural.copy()
        for _ in range(draws):
            uniforms = [uniforms_like(p, twin) for p in params]
            gradients = [rng.normal(size=p.shape) * 0.01 for p in params]
            with optimizer.sampled_params(train=True):
                for p, rule, u, g in zip(params, rules, uniforms, gradients, strict=True):
                    assert_close(p, rule.draw(u), **CLOSE)
                    rule.consume(g)
                sum(
                    (p * torch.from_numpy(np.asarray(g))).sum()
                    for p, g in zip(params, gradients, strict=True)
                ).backward()
        optimizer.step()
        for p, rule in zip(params, rules, strict=True):
            rule.step()
            natural = optimizer.state[p]["natural_parameter"]
            assert_close(natural, rule.natural, **CLOSE)
            assert_same_signs(p, rule.natural)
    for p, rule in zip(params, rules, strict=True):
        if momentum:
            assert_close(optimizer.state[p]["momentum"], rule.m, **CLOSE)


def binary(p):
    return [{"params": [p], "binary": True}]


@torch.no_grad()
def follow(optimizer, p, key, values):
    """Put the reference's state into the optimizer, so that rounding does not add up."""
    optimizer.state[p][key].copy_(torch.from_numpy(np.asarray(values)))
    optimizer._show_mode(p, optimizer.param_groups[0])


@given(shapes, seeds, gradient_scales, adam_settings, st.sampled_from([1.0, 10.0, 1e4]))
@long_examples
def test_md_tanh(shape, seed, size, adam, beta_final):
    p, _ = parameter(shape, seed)
    source = torch.Generator().manual_seed(seed)
    options = {"total_steps": STEPS // 2, "beta_final": beta_final, **adam}
    optimizer = MDTanhS(binary(p), generator=source, **options)
    rule = reference.MDTanhS(array(optimizer.state[p]["latent"]).copy(), **options)
    for g in gradients_of(shape, seed, size):
        assert_close(torch.from_numpy(train_on(optimizer, p, g)), rule.draw(), rtol=1e-8, atol=1e-9)
        optimizer.step()
        rule.step(g)
        assert_close(optimizer.state[p]["latent"], rule.adam.value, **CLOSE)
        assert_same_signs(p, rule.adam.value)
        follow(optimizer, p, "latent", rule.adam.value)


@given(
    shapes,
    seeds,
    st.sampled_from(["program", "bilevel"]),
    st.sampled_from([1e-3, 0.3, 1.0]),
    st.sampled_from([None, 0.3, 1.0]),
    st.sampled_from([0.0, 0.9]),
    st.sampled_from([None, 0.5]),
)
@long_examples
def test_adaste(shape, seed, variant, alpha, annealing, momentum, cut):
    """N is so small that theta stays of order 1, where every branch of the rule is met.

    Each step starts from the reference's state: the rule jumps where theta passes a bound.
    """
    p, _ = parameter(shape, seed)
    options = {
        "total_steps": STEPS,
        "variant": variant,
        "alpha": alpha,
        "annealing": annealing,
        "momentum": momentum,
        "cut": cut,
        "boost": 4.0,
    }
    size = {"train_set_size": 1.0, "train_set_scale": 2.0, "init": 0.8}
    optimizer = AdaSTE(binary(p), lr=0.03, **options, **size)
    latent = optimizer.state[p]["latent"]
    rule = reference.AdaSTE(array(latent).copy(), n=2.0, lr=0.03, **options)
    for g in gradients_of(shape, seed, 1.0):
        assert_close(torch.from_numpy(train_on(optimizer, p, g)), rule.draw(), **CLOSE)
        optimizer.step()
        rule.step(g)
        assert_close(latent, rule.adam.value, **CLOSE)
        assert_same_signs(p, rule.adam.value)
        follow(optimizer, p, "latent", rule.adam.value)


@given(
    shapes,
    seeds,
    st.sampled_from([0.5, 5.0]),
    st.sampled_from([0.1, 3.0]),
    st.sampled_from([1e-3, 1.0]),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([0.0, 0.3]),
    st.integers(1, 3),
)
@long_examples
def test_bimu(shape, seed, lr, likelihood, max_step, tau, prior, draws):
    p, _ = parameter(shape, seed)
    options = {
        "lr": lr,
        "likelihood": likelihood,
        "curvature": 2.0,
        "max_step": max_step,
        "memory": 30.0,
        "temperature": tau,
        "prior": prior,
    }
    source, twin = torch.Generator().manual_seed(seed), torch.Generator()
    optimizer = BiMU(binary(p), generator=source, **options)
    twin.set_state(source.get_state())
    natural = optimizer.state[p]["natural_parameter"]
    rule, rng = reference.BiMU(array(natural).copy(), **options), np.random.default_rng(seed)
    for step in range(STEPS):
        if step == STEPS // 2:
            optimizer.set_prior_to_posterior()
            rule.prior = rule.natural.copy()
        for _ in range(draws):
            uniform = uniforms_like(p, twin)
            g = rng.normal(size=p.shape)
            drawn = train_on(optimizer, p, g)
            assert_close(torch.from_numpy(drawn), rule.draw(uniform), rtol=1e-8, atol=1e-9)
            rule.consume(g)
        optimizer.step()
        rule.step()
        assert_close(natural, rule.natural, rtol=1e-7, atol=1e-8)
        follow(optimizer, p, "natural_parameter", rule.natural)


@given(
    shapes,
    seeds,
    gradient_scales,
    adam_settings,
    st.sampled_from(["hard", "parq", "binary_relax"]),
    st.sampled_from(["adam", "sgd"]),
    st.sampled_from([0.0, 0.9]),
)
@long_examples
def test_prox_connect(shape, seed, size, adam, prox, base, momentum):
    p, values = parameter(shape, seed)
    options = {"total_steps": STEPS, "prox": prox, "base": base, "momentum": momentum, **adam}
    optimizer = ProxConnect(binary(p), annealing=0.6, **options)
    rule = reference.ProxConnect(values, annealing=0.6, **options)
    latent = optimizer.state[p]["latent"]
    for g in gradients_of(shape, seed, size):
        soft = torch.from_numpy(train_on(optimizer, p, g))
        clear = np.abs(rule.adam.value) > 1e-6
        assert_close(soft[torch.from_numpy(clear)], rule.draw()[clear], rtol=1e-7, atol=1e-8)
        optimizer.step()
        rule.step(g)
        assert_close(latent, rule.adam.value, rtol=1e-9, atol=1e-10 * (1 + size))
        assert_same_signs(p, rule.adam.value, 1e-8 * (1 + size))
        follow(optimizer, p, "latent", rule.adam.value)


@given(
    shapes,
    seeds,
    gradient_scales,
    st.sampled_from([0.0, 1e-6, 0.02, 0.3]),
    st.sampled_from([1e-4, 0.05, 1.0]),
    st.sampled_from([1e-3, 0.1]),
)
@long_examples
def test_bop2(shape, seed, size, threshold, rate, second_rate):
    p, _ = parameter(shape, seed)
    optimizer = Bop2(binary(p), threshold, rate, second_rate)
    rule = reference.Bop2(array(p).copy(), threshold, rate, second_rate)
    for g in gradients_of(shape, seed, size):
        train_on(optimizer, p, g)
        optimizer.step()
        rule.step(g)
        np.testing.assert_array_equal(array(p), rule.mode)
    assert_close(optimizer.state[p]["second"], rule.v, rtol=1e-9, atol=1e-12 * size**2)


@given(shapes, seeds, gradient_scales, adam_settings, st.sampled_from([0.0, 0.5, 1.35, 40.0]))
@long_examples
def test_metaplasticity(shape, seed, size, adam, k):
    p, values = parameter(shape, seed)
    optimizer = Metaplasticity(binary(p), metaplasticity=k, **adam)
    rule = reference.Metaplasticity(values, k, **adam)
    for g in gradients_of(shape, seed, size):
        train_on(optimizer, p, g)
        optimizer.step()
        rule.step(g)
        assert_close(optimizer.state[p]["latent"], rule.adam.value, rtol=1e-8, atol=1e-9)
        assert_same_signs(p, rule.adam.value, 1e-8)


def put(optimizer, p, natural):
    """Make these the natural parameters of an optimizer, as if it had come to them by itself."""
    state = optimizer.state_dict()
    state["state"][0]["natural_parameter"] = natural.clone()
    optimizer.load_state_dict(state)


def spread_natural(rng, count, crowd):
    """Natural parameters of all sizes; a share ``crowd`` of them small enough to be drawn."""
    size = np.where(rng.random(count) < crowd, rng.uniform(0, 15, count), rng.uniform(300, 1e6))
    return size * rng.choice([-1.0, 1.0], count)


@given(
    seeds,
    st.sampled_from([1e-12, 1e-10, 1e-8, 1e-4, 1e-2, 1.0, 10.0]),
    st.sampled_from([0.01, 0.6]),
    st.sampled_from([0.0, 0.9]),
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_one_step_of_bayesbinn_from_any_state(seed, tau, crowd, momentum):
    """Natural parameters and temperatures of every size, the sparse path and the dense one.

    One step, because the rule itself magnifies rounding without bound here; the tolerance is the
    rounding of w, of 1 - w^2 and of 1 - mu^2, carried through the equations.
    """
    rng = np.random.default_rng(seed)
    natural = spread_natural(rng, 400, crowd)
    p = nn.Parameter(torch.zeros(20, 20, dtype=torch.float64))
    source = torch.Generator().manual_seed(seed)
    optimizer = BayesBiNN(
        [p], lr=0.01, train_set_size=30, temperature=tau, momentum=momentum, generator=source
    )
    state = optimizer.state[p]
    put(optimizer, p, torch.from_numpy(natural).view(20, 20))
    twin = torch.Generator()
    twin.set_state(source.get_state())

    drawn = np.abs(natural) <= reach(torch.float64, tau)
    if drawn.sum() > natural.size // SPARSITY:
        drawn[:] = True
    assert drawn.all() == (crowd > 0.1)
    uniform = np.full(natural.size, 0.5)
    uniform[drawn] = uniforms_like(torch.empty(int(drawn.sum())), twin)
    rule = reference.BayesBiNN(natural, 0.01, 30, tau, momentum)
    w = rule.draw(uniform)
    g = rng.normal(size=natural.size)

    soft = train_on(optimizer, p, g.reshape(20, 20)).ravel()
    optimizer.step()
    rule.consume(g)
    rule.step()

    delta = np.abs(np.log(uniform / (1 - uniform))) / 2
    argument = 4 * EPS * (np.abs(natural) + delta + 1) / tau
    w_error = np.minimum((1 - w**2) * argument + 4 * EPS, 2.0)
    assert (np.abs(soft - w) <= 4 * w_error).all()
    slack = 1 - np.tanh(natural) ** 2 + 1e-10
    s_error = (2 * w_error + 4 * EPS) / (tau * slack) + rule.s * 8 * EPS / slack
    step = 0.01 * (30 * np.abs(rule.s * g) + np.abs(natural))
    bound = 4 * (0.01 * 30 * np.abs(g) * s_error + 8 * EPS * (np.abs(natural) + step))
    difference = np.abs(array(state["natural_parameter"]).ravel() - rule.natural)
    assert (difference <= bound).all()
    np.testing.assert_array_equal(array(p), reference.sign(array(state["natural_parameter"])))


TEMPERATURES = [1e-12, 1e-10, 1e-8, 1e-5, 1e-2, 0.1, 0.5, 1.0, 3.0, 10.0]
both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@both_precisions
@pytest.mark.parametrize("tau", TEMPERATURES)
def test_beyond_reach_no_noise_can_change_anything(dtype, tau):
    """w is the mode and s tau is 1, to the last bit, for the extreme noise (w is monotonic)."""
    bound = reach(dtype, tau)
    first = torch.nextafter(torch.tensor(bound, dtype=dtype), torch.tensor(math.inf, dtype=dtype))
    sizes = torch.cat(
        [
            first.view(1),
            first + torch.logspace(-6, 6, 4001, dtype=dtype),
            torch.tensor([1e10, 1e30, torch.finfo(dtype).max / 1e12], dtype=dtype),
        ]
    )
    natural = torch.cat([sizes, -sizes])
    mode = torch.sign(natural)
    for bits in (-(2**15), 1 - 2**15, 0, 2**15 - 2, 2**15 - 1):
        delta = torch.full_like(natural, float(deltas(dtype, natural.device)[bits]))
        w = relax(natural, delta, tau)
        assert torch.equal(w, mode)
        drawn = torch.empty_like(natural)
        _relax_block(drawn, natural, torch.full(natural.shape, bits, dtype=torch.int16), tau)
        assert torch.equal(drawn, mode)
        assert torch.equal(scale(w, natural), torch.ones_like(w))
        if BinaryOptimizer.compiled:
            kernels = BayesBiNN([nn.Parameter(torch.zeros(1, 1))], lr=1, train_set_size=1)
            drawn, weighed = torch.empty_like(natural), torch.ones_like(natural)
            kernels._run(_write_relaxed, drawn, natural, delta, tau)
            assert torch.equal(drawn, mode)
            kernels._run(_weigh, weighed, drawn, natural)
            assert torch.equal(weighed, torch.ones_like(natural))


class GivenNoise(BayesBiNN):
    """BayesBiNN whose random bits are fixed for every weight, whether all or few ask for them."""

    given: torch.Tensor

    def _bits(self, pattern):
        self.sparse = pattern.shape != self.given.shape
        if not self.sparse:
            return self.given
        (active,) = self._active._sets.values()
        return self.given.view(-1)[active.places()]

    def _bit_blocks(self, pattern):
        return iter(torch.split(flat(self._bits(pattern)), BLOCK))


@both_precisions
@pytest.mark.parametrize("tau", [1e-10, 1e-3, 0.5])
def test_sparse_and_dense_draws_give_the_same_update(dtype, tau, monkeypatch):
    rng = np.random.default_rng(3)
    natural = torch.from_numpy(spread_natural(rng, 4096, 0.03)).to(dtype).view(64, 64)
    active = natural.abs() <= reach(dtype, tau)
    assert 20 < int(active.sum()) <= 4096 // SPARSITY
    bits = torch.from_numpy(rng.integers(-(2**15), 2**15, (64, 64), dtype=np.int16))
    gradient = torch.from_numpy(rng.normal(size=(64, 64)) * 1e-6).to(dtype)

    def update(sparse):
        p = nn.Parameter(torch.zeros(64, 64, dtype=dtype))
        optimizer = GivenNoise([p], lr=1e-3, train_set_size=30, temperature=tau)
        optimizer.given = bits
        put(optimizer, p, natural)
        with optimizer.sampled_params(train=True):
            drawn = p.detach().clone()
            (p * gradient).sum().backward()
        restored = p.detach().clone()
        optimizer.step()
        assert optimizer.sparse == sparse
        return drawn, restored, p.detach(), optimizer.state[p]["natural_parameter"]

    sparse = update(sparse=True)
    monkeypatch.setattr(ActiveSets, "draw", lambda *_: None)
    dense = update(sparse=False)
    for first, second in zip(sparse, dense, strict=True):
        assert torch.equal(first[~active], second[~active])
        # A compiled tanh rounds otherwise than the one that the few are drawn with.
        assert BinaryOptimizer.compiled or torch.equal(first, second)
    torch.testing.assert_close(sparse[0], dense[0])
    assert not torch.equal(sparse[0], torch.sign(natural))  # the noise did show
