"""Continual learning: the prior, the permutations, running statistics, and the metrics."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnnrepro.config.compose import compose
from bnnrepro.data.batches import Batches
from bnnrepro.experiment import Result, build
from bnnrepro.runs.metrics import read_metrics
from bnnrepro.tasks.continual import entropy_bits, summary
from bnnrepro.training.callbacks import Callback

RunSmall = Callable[..., Result]
# 4 steps an epoch, 2 epochs a task, 3 tasks; a posterior with entropy left.
SMALL = (
    "dataset=permuted_digits",
    "dataset.tasks=3",
    "model.hidden=[24]",
    "batch_size=50",
    "method.temperature=0.5",
    "method.lr=0.05",
    "method.init=1",
    "preset=smoke",
    "preset.epochs=2",
    "device=cpu",
    "threads=1",
)


class Watch(Callback):
    """Keeps the natural parameters after every step, and the statistics after every epoch."""

    def __init__(self) -> None:
        self.natural: list[torch.Tensor] = []
        self.prior: list[torch.Tensor | None] = []

    def on_batch_end(self, trainer: Any) -> None:
        state = next(iter(trainer.optimizer.state.values()))
        self.natural.append(state["natural_parameter"].clone())
        self.prior.append(state.get("prior"))


def trained(*overrides: str) -> tuple[Any, Watch]:
    parts, watch = build(compose(*SMALL, *overrides)), Watch()
    parts.trainer.fit(
        parts.sources.train, test_data=parts.sources.test, epochs=6, callbacks=[watch]
    )
    return parts, watch


# -- the prior ----------------------------------------------------------------------------------


def test_the_step_after_a_task_differs_by_the_prior_as_the_rule_says() -> None:
    """Same weights, batch and noise: lambda differs by alpha times the prior, by nothing else."""
    _, carried = trained()
    parts, fixed = trained("dataset.prior=fixed")
    for before in range(8):
        assert torch.equal(carried.natural[before], fixed.natural[before])
    end_of_task = fixed.natural[7]
    lr = parts.trainer.rows[2]["lr"]
    difference = carried.natural[8] - fixed.natural[8]
    assert torch.allclose(difference, lr * end_of_task, rtol=1e-3, atol=1e-5)
    assert difference.abs().max() > 0.01


def test_the_prior_is_a_copy_that_later_steps_do_not_move() -> None:
    _, watch = trained()
    assert watch.prior[7] is None
    for step in range(8, 16):
        assert torch.equal(watch.prior[step], watch.natural[7])
        assert not torch.equal(watch.natural[step], watch.natural[7])
    assert torch.equal(watch.prior[16], watch.natural[15])


def test_with_a_fixed_prior_every_task_has_that_of_the_method() -> None:
    parts, watch = trained("dataset.prior=fixed", "method.prior=0.3")
    assert watch.prior == [None] * 24
    assert parts.trainer.optimizer.param_groups[0]["prior"] == 0.3


def test_the_schedule_begins_anew_with_every_task() -> None:
    parts, _ = trained()
    rates = [row["lr"] for row in parts.trainer.rows]
    assert rates[:2] == rates[2:4] == rates[4:]
    assert rates[0] > rates[1]


# -- own permutation, own statistics ------------------------------------------------------------


def accuracy_by_hand(parts: Any, order: torch.Tensor, statistics: dict | None = None) -> float:
    """At the mode, in another way: the first layer's columns are permuted, not the images."""
    model = parts.trainer.model
    unpermuted = list(Batches.epoch(parts.sources.test, 0))
    images = torch.cat([x for x, _ in unpermuted]).flatten(1)
    labels = torch.cat([y for _, y in unpermuted])
    states = statistics or model.state_dict()
    first, second = (model.state_dict()[f"layers.{k}.linear.weight"] for k in (0, 1))
    columns = torch.empty_like(first)
    columns[:, order] = first

    def normalised(x: torch.Tensor, layer: int) -> torch.Tensor:
        mean, variance = (states[f"layers.{layer}.norm.running_{name}"] for name in ("mean", "var"))
        return (x - mean) / (variance + 1e-4).sqrt()

    hidden = normalised(images @ columns.T, 0).relu()
    return 100 * float((normalised(hidden @ second.T, 1).argmax(1) == labels).double().mean())


@pytest.mark.parametrize("statistics", ["shared", "per_task"])
def test_every_task_is_tested_under_its_own_permutation_and_statistics(statistics: str) -> None:
    more = ("preset.train_limit=null", "preset.test_limit=null", "preset.epochs=3")
    settings = ("method=ste", "dataset.tasks=2", *more, f"dataset.norm_statistics={statistics}")
    parts = build(compose(*[option for option in SMALL if "method." not in option], *settings))
    trainer, sources = parts.trainer, parts.sources
    trainer.fit(sources.train, test_data=sources.test, epochs=6)
    own = trainer.task.finished[0]["model"] if statistics == "per_task" else None
    orders = sources.test.permutations
    expected = [accuracy_by_hand(parts, orders[0], own), accuracy_by_hand(parts, orders[1])]
    row = trainer.rows[-1]
    assert [row["task_1"], row["task_2"]] == pytest.approx(expected, abs=0.3)
    assert row["test_accuracy"] == pytest.approx(sum(expected) / 2, abs=0.3)
    assert row["task_2"] > 80
    assert accuracy_by_hand(parts, orders[0]) < 80  # the order decides: another one is not as good
    if statistics == "per_task":
        assert expected[0] != accuracy_by_hand(parts, orders[0])


def test_statistics_of_a_task_begin_anew_and_looking_back_leaves_them() -> None:
    per_task, _ = trained("dataset.norm_statistics=per_task")
    shared, _ = trained()
    counts = [
        [state["model"]["layers.0.norm.num_batches_tracked"].item() for state in states]
        for states in (per_task.trainer.task.finished, shared.trainer.task.finished)
    ]
    assert counts == [[8, 8, 8], [8, 16, 24]]
    last = per_task.trainer.task.finished[-1]["model"]
    present = per_task.trainer.model.state_dict()
    assert all(torch.equal(present[name], last[name]) for name in present)


def test_a_scale_of_batch_norm_is_never_binarised() -> None:
    """The network has none; one that a user's network has stays real."""
    parts = build(compose(*SMALL))
    names = [name for name, _ in parts.trainer.model.named_parameters()]
    assert names == ["layers.0.linear.weight", "layers.1.linear.weight"]
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.BatchNorm1d(3))
    from bnnrepro.optim import BayesBiNN, param_groups

    optimizer = BayesBiNN(param_groups(model), lr=1e-3, train_set_size=10)
    assert optimizer.binary_parameters() == {model[0].weight}


# -- what is measured ---------------------------------------------------------------------------


def figures(*accuracies: float) -> list[dict[str, float]]:
    return [{"accuracy": accuracy, "nll": accuracy / 100} for accuracy in accuracies]


def test_average_accuracy_forgetting_and_backward_transfer() -> None:
    actual = summary([figures(90), figures(95, 80), figures(60, 70, 99)])
    assert actual["accuracy"] == pytest.approx((60 + 70 + 99) / 3)
    assert actual["nll"] == pytest.approx((0.6 + 0.7 + 0.99) / 3)
    assert actual["forgetting"] == pytest.approx(((95 - 60) + (80 - 70)) / 2)
    assert actual["backward_transfer"] == pytest.approx(((60 - 90) + (70 - 80)) / 2)
    assert actual["matrix"] == [[90], [95, 80], [60, 70, 99]]


def test_entropy_in_bits() -> None:
    assert entropy_bits(torch.tensor([0.5, 0.5])) == pytest.approx(1)
    assert entropy_bits(torch.tensor([0.0, 1.0])) == 0
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert entropy_bits(torch.tensor([0.25, 0.0])) == pytest.approx(quarter / 2)


@pytest.fixture
def run_continual(run_small: RunSmall) -> RunSmall:
    return lambda *more: run_small(*SMALL, "evaluate.samples=3", *more)


def test_the_rows_the_result_and_the_histogram_agree(run_continual: RunSmall) -> None:
    run = run_continual("method=bayesbinn")
    rows = read_metrics(run.folder.metrics)
    assert len(rows) == run.values["epochs"] == 6
    for row in rows:
        seen = (row["epoch"] - 1) // 2 + 1
        assert [row[f"task_{t}"] is not None for t in (1, 2, 3)] == [t <= seen for t in (1, 2, 3)]
    test = run.values["final"]["test"]
    assert set(test) == {"mode", "mean"}
    for after, row in enumerate(test["mode"]["matrix"]):
        assert len(row) == after + 1
        assert rows[2 * after + 1]["test_accuracy"] == pytest.approx(sum(row) / len(row))
    assert "best" not in run.values
    posterior = json.loads((run.folder.path / "posterior.json").read_text())
    assert [sum(counts) for counts in posterior["counts"]] == [64 * 24 + 24 * 10] * 3
    assert len(posterior["edges"]) == len(posterior["counts"][0]) + 1
    entropies = [rows[epoch]["entropy_bits"] for epoch in (1, 3, 5)]
    assert posterior["entropy_bits"] == pytest.approx(entropies, abs=1e-5)


def test_a_method_without_a_posterior_goes_on_without(run_small: RunSmall) -> None:
    settings = [option for option in SMALL if "method." not in option]
    run = run_small(*settings, "method=ste")
    assert set(run.values["final"]["test"]) == {"mode"}
    assert not (run.folder.path / "posterior.json").exists()
    matrix = run.values["final"]["test"]["mode"]["matrix"]
    rows = read_metrics(run.folder.metrics)
    assert [rows[5][f"task_{t}"] for t in (1, 2, 3)] == pytest.approx(matrix[-1])


def test_a_finished_run_is_evaluated_again_on_every_task(run_continual: RunSmall) -> None:
    """From the states kept after each task: with as many draws, the same matrix."""
    for statistics in ("shared", "per_task"):
        choice = f"dataset.norm_statistics={statistics}"
        first = run_continual(choice).values["final"]["test"]
        again = run_continual(choice, "evaluate.ece_bins=7").values["evaluations"][0]
        for kind in ("mode", "mean"):
            assert again["final"]["test"][kind]["matrix"] == first[kind]["matrix"]
        more = run_continual(choice, "evaluate.samples=4").values["evaluations"][1]
        assert more["final"]["test"]["mode"]["matrix"] == first["mode"]["matrix"]
        assert more["final"]["test"]["mean"]["matrix"] != first["mean"]["matrix"]
