"""What every method promises of schedulers, priors and diagnostics."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from bnnrepro.optim import PMF, STE, BayesBiNN, BiMU

from .methods_under_test import (
    SHAPES,
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


@every_method
@pytest.mark.parametrize("prior", [False, True])
def test_a_number_may_be_a_tensor(method, prior):
    """As torch allows for a learning rate; its schedulers write into it."""
    if prior and not method.cls.has_posterior:
        pytest.skip("has no prior")

    def run(key=None):
        params = weights(*SHAPES)
        optimizer = method.seeded(params)
        group = optimizer.param_groups[0]
        if key is not None:
            group[key] = torch.tensor(group[key], dtype=torch.float64)
        if prior:
            optimizer.set_prior_to_posterior()
        train(optimizer, params, 3)
        return copies(params) + tensors_of_state(optimizer)

    expected = run()
    numbers = method.seeded(weights((2, 2))).param_groups[0]
    for key in [name for name, value in numbers.items() if isinstance(value, float)]:
        for a, b in zip(run(key), expected, strict=True):
            torch.testing.assert_close(a, b, msg=key)


@every_method
def test_a_learning_rate_may_be_a_tensor_from_the_start(method):
    key = method.cls.scheduled
    rate = torch.tensor(method(weights((2, 2))).defaults[key], dtype=torch.float64)
    params, others = (weights(*SHAPES, dtype=torch.float64) for _ in range(2))
    optimizer, other = method.seeded(params), method.seeded(others, **{key: rate})
    for factor in (1, 3):
        optimizer.param_groups[0][key] *= factor
        rate *= factor
        train(optimizer, params, 3)
        train(other, others, 3)
    for a, b in zip(tensors_of_state(optimizer), tensors_of_state(other), strict=True):
        torch.testing.assert_close(a, b)


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
    optimizer = method.seeded(params, **method.accepted(lr=0.1, momentum=0.0, prior=0.3))
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
    left = (natural - target) / distance
    if method.cls is BiMU:  # at a rate of its own for each weight
        assert (left[distance != 0] <= 1).all()
        assert (left[distance != 0] >= 0).all()
        assert (left < 1).any()
        return
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
    probabilities = optimizer.probabilities()[p]
    assert probabilities.shape == p.shape
    np.testing.assert_allclose(probabilities.ravel(), expected, rtol=1e-5, atol=1e-37)


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


@every_method
def test_a_copy_made_under_a_torch_scheduler_steps_for_itself(method):
    (p,) = params = weights((5, 4))
    optimizer = method.seeded(params)
    if "lr" in optimizer.defaults:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
        train(optimizer, params, 1)
        scheduler.step()
    pickled = pickle.loads(pickle.dumps((p, optimizer)))
    for q, other in (copy.deepcopy((p, optimizer)), pickled):
        before = copies([p, *tensors_of_state(optimizer)])
        train(other, [q], 3)
        assert same([p, *tensors_of_state(optimizer)], before)
    train(optimizer, params, 3)
    assert same([p, *tensors_of_state(optimizer)], [q, *tensors_of_state(other)])


def test_a_frozen_parameter_is_not_counted_as_binary():
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(3, 2, bias=False)
    )
    model[0].weight.requires_grad_(False)
    optimizer = STE(model.named_parameters())
    assert optimizer.binary_parameters() == {model[1].weight}
