"""torch's own tools on an optimizer: schedulers, conversions, closures, several processes."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from bnnrepro.optim import Bop, param_groups

from ..docs.pages import DOCS, ROOT, blocks
from .methods_under_test import (
    METHODS,
    SHAPES,
    are_signs,
    copies,
    every_binary_method,
    every_method,
    loss_of,
    same,
    targets_for,
    tensors_of_state,
    train,
    weights,
)

SCHEDULERS = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1, 0.5),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.5**epoch),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, eps=0),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, cycle_momentum=False),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.CosineAnnealingLR(o, 5)], [2]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("method", METHODS[::2], ids=lambda m: m.label)
def test_every_scheduler_of_torch_moves_the_scheduled_setting(method, name):
    params = weights(*SHAPES)
    optimizer = method(params)
    (group,) = optimizer.param_groups
    scheduler = SCHEDULERS[name](optimizer)
    first = group[optimizer.scheduled_key(group)]
    for _ in range(3):
        train(optimizer, params, 1)
        scheduler.step(*[1.0] * (name == "ReduceLROnPlateau"))
    last = group[optimizer.scheduled_key(group)]
    assert last == scheduler.get_last_lr()[0] == group["lr"] != first


def test_a_schedule_of_bop_is_saved_and_continues():
    def run(interrupted):
        params = weights(*SHAPES)
        optimizer = Bop(params, adaptivity_rate=0.5)
        scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
        for step in range(4):
            if step == 2 and interrupted:
                saved = optimizer.state_dict(), scheduler.state_dict()
                optimizer = Bop(params)
                optimizer.load_state_dict(saved[0])
                scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
                scheduler.load_state_dict(saved[1])
            train(optimizer, params, 1, seed=step)
            scheduler.step()
        assert optimizer.param_groups[0]["adaptivity_rate"] == 0.5**5
        assert "lr" not in optimizer.state_dict()["param_groups"][0]
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(True), run(False))


def test_bop_has_no_lr_of_its_own():
    with pytest.raises(ValueError, match=r"lr=0\.1: must be adaptivity_rate"):
        Bop([{"params": weights((2, 2)), "lr": 0.1}])


@every_method
def test_a_closure_need_not_return_its_loss(method):
    def run(returned):
        params = weights(*SHAPES)
        optimizer = method.seeded(params, train_samples=2)

        def closure():
            loss = loss_of(params, targets_for(params))
            loss.backward()
            return loss if returned else None

        assert (optimizer.step(closure) is None) is not returned
        return copies(params) + tensors_of_state(optimizer)

    assert same(run(True), run(False))


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@every_binary_method
def test_the_state_follows_a_model_that_is_converted(method, dtype):
    model = small_network()
    optimizer = method.seeded(param_groups(model))

    def step():
        x = torch.ones(6, 4, dtype=next(model.parameters()).dtype)
        with optimizer.sampled_params(train=True):
            model(x).square().mean().backward()
        optimizer.step()

    step()
    before = copies(model.parameters())
    model.to(dtype)
    with optimizer.sampled_params():
        pass
    assert same(copies(model.parameters()), [p.to(dtype) for p in before])
    step()
    assert are_signs(optimizer.binary_parameters())
    for parameter, state in optimizer.state.items():
        kept = method.cls.keeps_precision and parameter in optimizer.binary_parameters()
        expected = {torch.float32 if kept else dtype, torch.bool}
        assert {state[key].dtype for key in state.keys() - {"step"}} <= expected
    optimizer.load_state_dict(optimizer.state_dict())
    step()


def test_half_precision_later_is_refused():
    model = small_network()
    optimizer = Bop(param_groups(model))
    model.half()
    message = r"0\.weight became float16"
    with pytest.raises(RuntimeError, match=message), optimizer.sampled_params(train=True):
        pass
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()


# -- several processes ---------------------------------------------------------------------------


def on_two_processes(*command):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        + [str(word) for word in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_every_method_trains_the_same_network_on_all_processes():
    lines = on_two_processes("-m", "tests.optim.distributed_training").splitlines()
    figures = {label: (int(one), int(other)) for label, one, other in map(str.split, lines)}
    assert set(figures) == {method.label for method in METHODS}
    assert all(as_documented == 0 for as_documented, _ in figures.values())
    assert sum(otherwise > 0 for _, otherwise in figures.values()) > 10


@pytest.mark.slow
def test_the_recipe_for_several_processes_works(tmp_path):
    (recipe,) = (block for block in blocks(DOCS / "python.md") if block.file == "ddp.py")
    recipe.write(tmp_path)
    first, second = re.findall(r"positive weights: (\d+)", on_two_processes(tmp_path / "ddp.py"))
    assert first == second
