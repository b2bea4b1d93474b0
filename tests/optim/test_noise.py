"""The random bits of draws, and the distributions of what is drawn with them.

Fixed seeds: a bound that a right program would miss once in 10,000 seeds is never missed by chance.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from bnnrepro.optim import BayesBiNN, BiMU
from bnnrepro.optim.kernels import noise
from bnnrepro.optim.kernels.active_set import SPARSITY
from bnnrepro.optim.kernels.noise import BLOCK, LEVELS, bit_blocks, delta, deltas, random_bits
from bnnrepro.optim.kernels.posterior_draws import MAX_LISTED, PosteriorDraws
from bnnrepro.optim.kernels.relaxation import reach

from .uniforms import uniforms_like

RARE = 1e-4
COUNTS = [1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)]
counts = pytest.mark.parametrize("count", COUNTS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bits_of(count, seed=0):
    return random_bits(torch.empty(count), seeded(seed)).numpy().astype(np.int64) + LEVELS // 2


def assert_even(numbers, bins):
    """Chi-square of integers in [0, bins), both tails: too even is wrong, too."""
    found = np.bincount(numbers, minlength=bins)
    assert len(found) == bins
    assert RARE < stats.chisquare(found).pvalue < 1 - RARE


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# -- the bits ------------------------------------------------------------------------------------


@counts
def test_each_number_is_as_frequent_as_each_other(count):
    for seed in range(2):
        numbers = bits_of(count, seed)
        assert_even(numbers, LEVELS)
        assert_even(numbers // 256, 256)
        assert_even(numbers % 256, 256)


@counts
@pytest.mark.parametrize("apart", [1, 2, 3, 4, 2048, BLOCK])
def test_numbers_do_not_follow_one_another(count, apart):
    """Of neighbours, of the parts of a word, of the rows of a layer, and of two streams."""
    numbers = bits_of(count) // 256
    assert_even(numbers[:-apart] * 256 + numbers[apart:], LEVELS)


@counts
def test_draws_do_not_follow_one_another(count):
    source = seeded()
    first, second = (random_bits(torch.empty(count), source).numpy() >> 8 for _ in range(2))
    assert_even((first.astype(np.int64) + 128) * 256 + second + 128, LEVELS)


def test_any_number_of_threads_draws_the_same(threads):
    pattern = torch.empty(5 * BLOCK + 11)
    expected = random_bits(pattern, seeded())
    for count in (1, 2, 4):
        threads(count)
        assert torch.equal(random_bits(pattern, seeded()), expected)
        assert torch.equal(torch.cat([*bit_blocks(pattern, seeded())]), expected)


def test_a_block_does_not_depend_on_those_before():
    expected = random_bits(torch.empty(3 * BLOCK), seeded()).split(BLOCK)
    key = int(torch.randint(2**63 - 1, (), generator=seeded()))
    for block in (2, 0, 1):
        assert torch.equal(noise._words(key, block, BLOCK), expected[block])


def test_the_stream_is_the_one_that_results_name():
    """SFC64's words as they come: the first of a key and a block, written down once."""
    assert (
        noise._words(1, 0, 4).tolist()
        == np.random.SFC64(np.random.SeedSequence(1, spawn_key=(0,)))
        .random_raw(1)
        .view(np.int16)
        .tolist()
    )
    assert noise.source(torch.device("cpu")) == "numpy SFC64, 16 bits a weight"


def test_bits_follow_the_logical_order_of_any_layout():
    pattern = torch.empty(6, 5, 4, 3)
    last = pattern.contiguous(memory_format=torch.channels_last)
    expected, bits = random_bits(pattern, seeded()), random_bits(last, seeded())
    assert bits.stride() == last.stride()
    assert torch.equal(bits, expected)
    assert torch.equal(delta(bits, torch.float32), delta(expected, torch.float32))


def test_nothing_is_drawn_for_no_weights():
    source = seeded()
    before = source.get_state()
    assert random_bits(torch.empty(0, 3), source).shape == (0, 3)
    assert torch.equal(source.get_state(), before)


# -- the noise of relaxed draws --------------------------------------------------------------------


def test_the_noise_is_that_of_its_uniforms():
    bits = torch.arange(-LEVELS // 2, LEVELS // 2).to(torch.int16)
    u = (np.arange(LEVELS) + 0.5) / LEVELS
    values = delta(bits, torch.float64)
    np.testing.assert_allclose(values, np.log(u / (1 - u)) / 2, rtol=1e-12, atol=1e-15)
    assert torch.equal(values, -values.flip(0))
    assert float(values.max()) == pytest.approx(math.log(2**17 - 1) / 2, rel=1e-12)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert float(deltas(dtype, torch.device("cpu")).abs().max()) == noise.largest(dtype)
    assert noise.largest(torch.float32) == pytest.approx(5.89, abs=0.003)


@counts
def test_moments_and_tails_of_the_noise(count):
    """A logistic variable of scale 1/2; 16 bits take 1e-3 off its variance of pi^2 / 12."""
    values = delta(random_bits(torch.empty(count), seeded()), torch.float64).numpy()
    all_of_them = deltas(torch.float64, torch.device("cpu")).numpy()
    assert np.mean(all_of_them**2) == pytest.approx(math.pi**2 / 12, rel=1e-3)
    for power in (1, 2, 3, 4):
        mean, spread = np.mean(all_of_them**power), np.std(all_of_them**power)
        assert abs(np.mean(values**power) - mean) < 3.9 * spread / math.sqrt(count)
    for at in (-5.5, -4, -2, -0.5, 0.5, 2, 4, 5.5):
        share = np.mean(all_of_them > at)
        assert share == pytest.approx(1 / (1 + math.exp(2 * at)), abs=2**-16)
        found = np.count_nonzero(values > at)
        assert RARE < stats.binom.cdf(found, count, share) < 1 - RARE


def posterior(natural, method=BayesBiNN, dtype=None, **settings):
    """A parameter and an optimizer with given natural parameters."""
    p = nn.Parameter(torch.ones(1, len(natural), dtype=dtype or natural.dtype))
    settings |= {"lr": 1.0, "train_set_size": 1} if method is BayesBiNN else {}
    optimizer = method([p], generator=seeded(), **settings)
    state = optimizer.state_dict()
    state["state"][0]["natural_parameter"] = natural.view(1, -1).clone()
    optimizer.load_state_dict(state)
    return p, optimizer


def relaxed(optimizer, p):
    with optimizer.sampled_params(train=True):
        drawn = p.detach().clone().squeeze()
        (p * 0).sum().backward()
    return drawn


@pytest.mark.parametrize("crowd", [0.05, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("tau", [1e-10, 1e-6, 1e-3, 0.1, 1.0, 10.0])
def test_relaxed_draws_are_the_formula(tau, dtype, crowd):
    """In float64, up to the rounding of the argument, carried through tanh, and of w itself."""
    rng = np.random.default_rng(0)
    size = np.where(rng.random(20_000) < crowd, rng.uniform(0, 8, 20_000), 1e6)
    given = torch.from_numpy(size * rng.choice([-1, 1], 20_000)).to(dtype)
    natural = given.double().numpy()
    asked = np.abs(natural) <= reach(dtype, tau)
    if asked.sum() > len(natural) // SPARSITY:
        asked[:] = True
    assert asked.all() == (crowd == 1)
    u = np.full(natural.shape, 0.5)
    u[asked] = uniforms_like(torch.empty(int(asked.sum())), seeded())
    delta = np.log(u / (1 - u)) / 2

    drawn = relaxed(*reversed(posterior(given, temperature=tau))).double().numpy()
    x, eps = (natural + delta) / tau, torch.finfo(dtype).eps
    moved = 4 * eps * (np.abs(natural) + np.abs(delta)) / tau
    steepest = 1 / np.cosh(np.clip(np.abs(x) - moved, 0, 300)) ** 2
    error = np.abs(drawn - np.tanh(x))
    assert (error <= np.minimum(steepest * moved, 2) + 2 * eps).all()


@pytest.mark.parametrize("method", [BayesBiNN, BiMU])
@pytest.mark.parametrize("training", [True, False])
def test_a_draw_is_the_same_for_any_number_of_threads(method, training, threads):
    natural = torch.randn(3 * BLOCK + 5, generator=seeded())

    def draw(count):
        threads(count)
        p, optimizer = posterior(natural, method, temperature=1.0)
        if training:
            return relaxed(optimizer, p)
        with optimizer.sampled_params():
            return p.detach().clone().squeeze()

    expected = draw(1)
    assert torch.equal(draw(2), expected)
    assert torch.equal(draw(4), expected)


def test_a_saved_generator_goes_on_with_the_same_draws():
    def some(optimizer, p):
        drawn = [relaxed(optimizer, p)]
        for _ in range(2):
            with optimizer.sampled_params():
                drawn.append(p.detach().clone().squeeze())
        return torch.stack(drawn)

    natural = torch.randn(2 * BLOCK, generator=seeded())
    p, optimizer = posterior(natural)
    some(optimizer, p)
    saved = optimizer.generator.get_state()
    expected = some(optimizer, p)
    q, other = posterior(natural)
    other.generator.set_state(saved)
    assert torch.equal(some(other, q), expected)


# -- draws of +-1 ----------------------------------------------------------------------------------


def natural_of(turn):
    """The natural parameter whose mode turns with a probability of at most 1/2."""
    return -0.5 * math.log(turn / (1 - turn))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_probability_is_rounded_to_a_multiple_of_the_resolution(sign, dtype):
    """Counted over all 2^16 bits: exact down to one of them, and none below half of one."""
    for wanted in (0.0, 0.4, 0.6, 1, 2, 3, 17, 1000, 12_345, 32_767):
        size = natural_of(wanted / LEVELS) if wanted else 1e6
        natural = torch.full((LEVELS,), sign * size, dtype=dtype)
        p = nn.Parameter(natural.sign(), requires_grad=False)
        draws = PosteriorDraws(natural, p)
        bits = torch.arange(-LEVELS // 2, LEVELS // 2).to(torch.int16)
        draws.turn(p, bits[: draws.pattern.numel()])
        assert int((p == -sign).sum()) == round(wanted)
        assert set(p.unique().tolist()) <= {-1.0, 1.0}


@counts
@pytest.mark.parametrize("uncertain", [0.9 / MAX_LISTED, 1.0])
def test_posterior_draws_have_their_probabilities(count, uncertain):
    """Each of many probabilities, down to the resolution, for both signs; listed and not."""
    turns = np.array([1, 2, 5, 40, 1000, 10_000, 25_000, 32_767]) / LEVELS
    sizes = [natural_of(turn) for turn in turns]
    each = int(count * uncertain) // len(sizes)
    natural = torch.full((count,), 20.0)
    for place, size in enumerate(sizes):
        natural[place * each : (place + 1) * each] = size
    natural *= (-1.0) ** torch.arange(count)
    p, optimizer = posterior(natural)
    found, draws = np.zeros((3, len(sizes))), 3
    for draw in range(draws):
        with optimizer.sampled_params():
            turned = (p.detach().squeeze() != natural.sign()).numpy()
        assert not turned[each * len(sizes) :].any()
        found[draw] = turned[: each * len(sizes)].reshape(len(sizes), each).sum(1)
    assert torch.equal(p.detach().squeeze(), natural.sign())
    for place, turn in enumerate(turns):
        for numbers in (*found[:, place], found[:, place].sum()):
            trials = each * (draws if numbers == found[:, place].sum() else 1)
            assert stats.binom.cdf(numbers, trials, turn) > RARE
            assert stats.binom.cdf(numbers - 1, trials, turn) < 1 - RARE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_signs_turn_in_every_dtype(dtype):
    p, optimizer = posterior(torch.zeros(100_000, dtype=torch.float32), dtype=dtype)
    with optimizer.sampled_params():
        drawn = p.detach().clone().double().squeeze()
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(drawn.mean())) < 3.9 / math.sqrt(100_000)
    assert (p == 1).all()


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_probabilities_follow_the_natural_parameters(size):
    """They are kept from draw to draw, and not beyond a step or a loaded state."""
    p, optimizer = posterior(torch.full((5000,), 0.0), lr=0.5)
    shares = []
    for change in ("none", "step", "load"):
        if change == "step":
            optimizer.state[p]["natural_parameter"].fill_(-size)
            p.data.fill_(-1)
        elif change == "load":
            optimizer.load_state_dict(posterior(torch.full((5000,), size))[1].state_dict())
        with optimizer.sampled_params():
            shares.append(float((p > 0).double().mean()))
    expected = [1 / (1 + math.exp(-2 * x)) for x in (0.0, -size, size)]
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_a_frozen_parameter_is_drawn_from_its_posterior_whatever_it_holds():
    p, optimizer = posterior(torch.full((1000,), 0.5))
    p.requires_grad_(False).fill_(0.25)
    with optimizer.sampled_params():
        assert set(p.unique().tolist()) == {-1.0, 1.0}
