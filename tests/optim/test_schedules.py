"""Schedules against torch's own where it has them, and what torch cannot say."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from bnnrepro.optim import STE, Bop
from bnnrepro.optim.schedules import Constant, Cosine, Exponential, Schedule, Step

BASE = 3e-4
EPOCHS = 23


def values(schedule, epochs=EPOCHS, iterations=4, base=BASE):
    """The learning rate of every iteration of a training."""
    optimizer = STE([nn.Parameter(torch.ones(2, 2))], lr=base)
    attached, seen = schedule.attach(optimizer, epochs, iterations), []
    for epoch in range(epochs):
        for iteration in range(iterations):
            attached.move_to(epoch, iteration)
            assert attached.current == optimizer.param_groups[0]["lr"]
            seen.append(attached.current)
    return seen


def by_epoch(schedule, iterations=4, **more):
    seen = values(schedule, iterations=iterations, **more)
    epochs = [seen[i : i + iterations] for i in range(0, len(seen), iterations)]
    assert all(len(set(epoch)) == 1 for epoch in epochs)
    return [epoch[0] for epoch in epochs]


def torchs(make, count, base=BASE):
    """The first ``count`` + 1 values of a scheduler of torch's; the first is the base."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=base)
    scheduler, seen = make(optimizer), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(count + 1):
            seen.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return seen


PAIRS = [
    (
        lambda **k: Cosine(final=1e-6, **k),
        lambda n: lambda o: lr_scheduler.CosineAnnealingLR(o, n, eta_min=1e-6),
    ),
    (
        lambda **k: Step(step_size=5, factor=0.3, **k),
        lambda n: lambda o: lr_scheduler.StepLR(o, 5, gamma=0.3),
    ),
    (
        lambda **k: Step(step_size=None, milestones=[3, 4, 20], factor=0.2, **k),
        lambda n: lambda o: lr_scheduler.MultiStepLR(o, [3, 4, 20], gamma=0.2),
    ),
    (
        lambda **k: Exponential(final_factor=0.01, **k),
        lambda n: lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / n)),
    ),
    (lambda **k: Constant(**k), lambda n: lambda o: lr_scheduler.ConstantLR(o, 1.0, n)),
]
against_torch = pytest.mark.parametrize(
    ("ours", "theirs"), PAIRS, ids=["cosine", "step", "milestones", "exponential", "constant"]
)


@against_torch
def test_stepped_after_is_torchs_order(ours, theirs):
    expected = torchs(theirs(EPOCHS), EPOCHS)
    assert by_epoch(ours(stepped="after")) == pytest.approx(expected[:-1], rel=1e-9)


@against_torch
def test_stepped_before_starts_at_the_second_value_and_reaches_the_last(ours, theirs):
    expected = torchs(theirs(EPOCHS), EPOCHS)
    assert by_epoch(ours(stepped="before")) == pytest.approx(expected[1:], rel=1e-9)


@against_torch
@pytest.mark.parametrize("stepped", ["before", "after"])
def test_per_iteration_the_unit_of_everything_is_an_iteration(ours, theirs, stepped):
    total = 7 * 4
    expected = torchs(theirs(total), total)
    moved = values(ours(per="iteration", stepped=stepped), epochs=7)
    assert moved == pytest.approx(expected[1:] if stepped == "before" else expected[:-1], rel=1e-9)


@pytest.mark.parametrize("final", [1e-16, 0.0, 1e-5])
@pytest.mark.parametrize("epochs", [2, 3, 190, 500])
def test_the_last_epoch_of_a_cosine_is_exactly_the_final_value(final, epochs):
    assert by_epoch(Cosine(final=final), epochs=epochs, iterations=1)[-1] == final
    assert by_epoch(Cosine(final=final, stepped="after"), epochs=epochs, iterations=1)[0] == BASE


def test_a_cosine_falls_and_its_middle_is_half_way():
    moved = by_epoch(Cosine(), epochs=10)
    assert moved == sorted(moved, reverse=True)
    assert moved[4] == pytest.approx(BASE / 2)


def test_a_span_holds_whatever_the_length_of_training_and_ends_in_the_final_value():
    whole = by_epoch(Cosine(span=500), epochs=500, iterations=1)
    assert by_epoch(Cosine(span=500), epochs=20, iterations=1) == whole[:20]
    longer = by_epoch(Cosine(span=5, final=1e-7), epochs=9)
    assert longer[4:] == [1e-7] * 5
    assert longer[3] > 1e-7


def test_an_exponential_ends_at_its_factor():
    assert by_epoch(Exponential(final_factor=0.1))[-1] == pytest.approx(0.1 * BASE, rel=1e-15)


def test_milestones_count_what_was_passed():
    step = Step(step_size=None, milestones=[1500, 2500], factor=0.1, stepped="after")
    assert [round(step.value(1.0, at, 3000), 6) for at in (0, 1499, 1500, 2499, 2500, 2999)] == [
        1.0,
        1.0,
        0.1,
        0.1,
        0.01,
        0.01,
    ]


def test_any_position_can_be_taken_up_without_the_ones_before():
    schedule = Cosine(per="iteration")
    optimizer = STE([nn.Parameter(torch.ones(2, 2))], lr=BASE)
    attached = schedule.attach(optimizer, 6, 3)
    straight = values(schedule, epochs=6, iterations=3)
    for epoch, iteration in ((4, 2), (0, 1), (5, 0), (0, 0)):
        attached.move_to(epoch, iteration)
        assert attached.current == straight[epoch * 3 + iteration]


def test_each_group_keeps_its_base_value_and_moves_its_own_key():
    a, b, c = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    optimizer = Bop(
        [
            {"params": [a]},
            {"params": [b], "adaptivity_rate": 0.5},
            {"params": [c], "binary": False, "lr": 0.02},
        ],
        adaptivity_rate=0.1,
    )
    Step(step_size=1, factor=0.1, stepped="after").attach(optimizer, 5, 1).move_to(1, 0)
    first, second, real = optimizer.param_groups
    assert first["adaptivity_rate"] == pytest.approx(0.01)
    assert second["adaptivity_rate"] == pytest.approx(0.05)
    assert real["lr"] == pytest.approx(0.002)
    assert real["adaptivity_rate"] == 0.1


@pytest.mark.parametrize("kind", [Schedule, Constant, Cosine, Step, Exponential])
@pytest.mark.parametrize(("key", "value"), [("per", "epochs"), ("stepped", "befor")])
def test_a_misspelt_setting_is_an_error(kind, key, value):
    with pytest.raises(ValueError, match=f"{key}={value}"):
        kind(**{key: value})


@pytest.mark.parametrize("settings", [{"milestones": [3]}, {"step_size": None}])
def test_a_step_has_a_size_or_milestones(settings):
    with pytest.raises(ValueError, match="exactly one"):
        Step(**settings)


@pytest.mark.parametrize("schedule", [Cosine(), Exponential(), Step(step_size=1)])
def test_a_schedule_of_one_epoch_runs_at_the_base_value(schedule):
    """Stepped before the only epoch, it would run at the final value and train nothing."""
    assert by_epoch(schedule, epochs=1) == [BASE]
