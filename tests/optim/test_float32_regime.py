"""BayesBiNN as the paper runs it: float32 at temperature 1e-10, where rounding is in the rule."""

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import BayesBiNN, reference
from bnnrepro.optim.kernels.arithmetic import tanh
from bnnrepro.optim.kernels.noise import largest
from bnnrepro.optim.kernels.relaxation import reach

from .uniforms import uniforms_like

N, LR, TAU = 54_000, 1e-4, 1e-10
SIZE = 2e-5  # of a gradient, as the 10-million-weight MLP has them
SHAPE = (40, 50)


def gradients(steps, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    drift = rng.normal(size=SHAPE)
    return [
        ((0.3 * drift + rng.normal(size=SHAPE)) * size).astype(np.float32) for _ in range(steps)
    ]


def optimizer_of(dtype=torch.float32, **more):
    p = nn.Parameter(torch.zeros(SHAPE, dtype=dtype))
    source = torch.Generator().manual_seed(0)
    settings = {"lr": LR, "train_set_size": N, "temperature": TAU, "generator": source} | more
    return p, BayesBiNN([p], **settings)


def natural_of(optimizer, p):
    return optimizer.state[p]["natural_parameter"].numpy().copy()


def run(p, optimizer, all_gradients):
    for g in all_gradients:
        with optimizer.sampled_params(train=True):
            (p * torch.from_numpy(g).to(p.dtype)).sum().backward()
        optimizer.step()
    return natural_of(optimizer, p)


def uniforms(source):
    return uniforms_like(torch.empty(SHAPE), source).astype(np.float32)


def reference_run(natural, all_gradients, seed, pull=0.0, **more):
    """The rule in NumPy float32, with noise for every weight in every step.

    ``pull`` times the drawn weights is added to the gradients: through it alone noise can act.
    """
    rule = reference.BayesBiNN(natural, LR, N, TAU, **more)
    source = torch.Generator().manual_seed(seed)
    smallest, trajectory = np.full(SHAPE, np.inf), []
    for g in all_gradients:
        smallest = np.minimum(smallest, np.abs(rule.natural))
        w = rule.draw(uniforms(source))
        rule.consume(g + np.float32(pull) * w)
        rule.step()
        trajectory.append(rule.natural.copy())
    assert rule.natural.dtype == np.float32
    return rule, smallest, trajectory


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_optimizer_reproduces_the_rule_in_float32(momentum):
    """To 1e-5 of the largest natural parameter, for weights that no noise has reached."""
    steps = gradients(100)
    p, optimizer = optimizer_of(momentum=momentum)
    start = natural_of(optimizer, p)
    ours = run(p, optimizer, steps)
    rule, smallest, _ = reference_run(start, steps, seed=1, momentum=momentum)
    beyond = smallest > 9.4
    assert beyond.mean() > 0.99
    tolerance = 1e-5 * np.abs(rule.natural).max()
    np.testing.assert_allclose(ours[beyond], rule.natural[beyond], rtol=1e-5, atol=tolerance)
    clear = beyond & (np.abs(rule.natural) > tolerance)
    np.testing.assert_array_equal(p.detach().numpy()[clear], rule.mode[clear])


def test_the_first_step_is_saturated():
    (g,) = gradients(1)
    p, optimizer = optimizer_of()
    start = natural_of(optimizer, p)
    assert set(np.abs(start).ravel()) == {np.float32(10)}
    assert np.tanh(np.float32(10)) == 1
    rule, _, _ = reference_run(start, [g], seed=1)
    ten_thousand_million = np.float32(1e-10) / (np.float32(TAU) * np.float32(1e-10))
    assert (rule.s == ten_thousand_million).all()
    assert ten_thousand_million == pytest.approx(1e10, rel=1e-6)
    ours = run(p, optimizer, [g])
    np.testing.assert_allclose(
        ours, start - LR * N * 1e10 * g.astype(np.float64), rtol=1e-5, atol=1
    )
    assert 3e5 < np.abs(ours).mean() < 3e6


def test_noise_matters_only_near_zero():
    """Runs with other noise are the same run wherever |lambda| stayed above 5.89."""
    steps = gradients(20, size=3e-10)  # small ones, so that many weights pass through zero
    start = np.where(np.random.default_rng(0).random(SHAPE) < 0.5, -30, 30).astype(np.float32)
    first, low, one = reference_run(start, steps, seed=1, pull=3e-10)
    second, also_low, two = reference_run(start, steps, seed=2, pull=3e-10)
    beyond = np.minimum(low, also_low) > 5.895
    assert 0.05 < beyond.mean() < 0.999
    assert all((a[beyond] == b[beyond]).all() for a, b in zip(one, two, strict=True))
    assert (first.natural != second.natural)[~beyond].any()


def test_the_largest_noise_is_5_89_and_tanh_is_one_from_9_02_on():
    u = np.float32(1) - np.float32(2**-17)
    largest_noise = np.float32(0.5) * np.log(u / (np.float32(1) - u))
    assert largest_noise == pytest.approx(5.8918, abs=1e-4)
    assert largest(torch.float32) == pytest.approx(float(largest_noise), rel=1e-6)
    for function in (torch.tanh, tanh):
        assert function(torch.tensor(9.02)) == 1
        assert function(torch.tensor(8.9)) < 1
    assert 9.02 < reach(torch.float32, TAU) < 10


def test_no_noise_is_drawn_where_none_is_needed():
    p, optimizer = optimizer_of()
    before = optimizer.generator.get_state()
    run(p, optimizer, gradients(1))
    assert torch.equal(optimizer.generator.get_state(), before)


def test_in_float64_it_is_another_algorithm():
    steps = gradients(30)
    p, single = optimizer_of()
    q, double = optimizer_of(torch.float64)
    with torch.no_grad():
        double.state[q]["natural_parameter"].copy_(single.state[p]["natural_parameter"])
    after_one = run(p, single, steps[:1]), run(q, double, steps[:1])
    assert np.median(np.abs(after_one[0]) / np.abs(after_one[1])) > 10
    ours, theirs = run(p, single, steps[1:]), run(q, double, steps[1:])
    assert (np.sign(ours) != np.sign(theirs)).mean() > 0.01
    assert np.median(np.abs(ours - theirs)) > 1e5


@pytest.mark.parametrize("lr", [1e-4, 0.0])
@pytest.mark.parametrize("tau", [1e-10, 1e-33, 1e-39])
def test_the_decay_survives_any_temperature(lr, tau):
    """Where no gradient is, alpha lambda is subtracted, however small tau / N is.

    From lambda of ordinary size, that is: 1e-12, say, may decay to a number that is flushed.
    """
    torch.set_flush_denormal(True)
    try:
        p, optimizer = optimizer_of(temperature=tau, lr=1e-4, train_set_size=1)
        optimizer.param_groups[0]["lr"] = lr  # a schedule may end at 0
        start = natural_of(optimizer, p)
        ours = run(p, optimizer, [np.zeros(SHAPE, np.float32)] * 100)
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_allclose(ours, start * (1 - lr) ** 100, rtol=1e-5)
