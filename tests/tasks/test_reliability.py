"""Uncertainty of classifiers: scores against scikit-learn and against what they mean."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

import bnnrepro
from bnnrepro.tasks import Classification, reliability


def drawn(count: int, classes: int = 3, seed: int = 0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(count, classes, generator=stream)).softmax(1)


def test_one_output_is_the_binary_cross_entropy() -> None:
    task, outputs = Classification(), torch.tensor([[2.0], [-1.0], [90.0]], requires_grad=True)
    targets = torch.tensor([1, 1, 0])
    loss = task.loss(outputs, targets)
    expected = F.binary_cross_entropy_with_logits(outputs, targets[:, None].float())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(scalar, outputs)[0] for scalar in (loss, expected))
    )
    probabilities = task.predict(outputs.detach())
    torch.testing.assert_close(probabilities[:, 1], outputs.detach().sigmoid().flatten())
    assert float(task.score(outputs, targets)) == 100


def test_the_brier_score_is_0_when_certain_and_right_and_2_when_wrong() -> None:
    certain = torch.eye(3)
    assert reliability.brier(certain, torch.tensor([0, 1, 2])) == 0
    assert reliability.brier(certain, torch.tensor([1, 2, 0])) == 2


def test_auroc_is_scikit_learn_s_ties_included() -> None:
    stream = torch.Generator().manual_seed(1)
    inside = torch.randint(0, 9, (200,), generator=stream)
    outside = torch.randint(3, 12, (150,), generator=stream)
    labels = [0] * 200 + [1] * 150
    expected = roc_auc_score(labels, torch.cat([inside, outside]).numpy())
    assert reliability.auroc(inside, outside) == pytest.approx(expected, abs=1e-12)
    assert reliability.auroc(torch.zeros(5), torch.zeros(4)) == 0.5


def test_rejection_begins_at_the_accuracy_and_drops_the_uncertain_first() -> None:
    probabilities = torch.tensor([[0.99, 0.01]] * 15 + [[0.6, 0.4]] * 5)
    targets = torch.tensor([0] * 15 + [1] * 5)  # all of the uncertain ones are wrong
    curve = reliability.curves(probabilities, targets, 10)["rejection"]
    assert curve["rate"][0] == 0
    assert curve["accuracy"][0] == 75
    assert curve["accuracy"][curve["rate"].index(0.25)] == 100
    assert len(curve["rate"]) == len(curve["accuracy"])


def test_reliability_adds_up_to_the_calibration_error() -> None:
    probabilities = drawn(500)
    targets = drawn(500, seed=2).argmax(1)
    task = Classification(ece_bins=7)
    bins = reliability.curves(probabilities, targets, 7)["reliability"]
    assert sum(bins["count"]) == 500
    gaps = [
        n * abs(a - c)
        for n, a, c in zip(bins["count"], bins["accuracy"], bins["confidence"], strict=True)
        if n
    ]
    assert sum(gaps) / 500 == pytest.approx(task.measure(probabilities, targets)["ece"])


def test_mutual_information_is_0_where_draws_agree_and_log_2_where_they_are_certain_and_differ():
    agree = torch.tensor([[0.3, 0.7]])
    predictive, mutual = reliability.scores_of_draws([agree, agree])
    assert float(mutual) == pytest.approx(0, abs=1e-12)
    assert float(predictive) == pytest.approx(float(reliability.entropy(agree)))
    _, mutual = reliability.scores_of_draws(iter(torch.eye(2)[:, None]))
    assert float(mutual) == pytest.approx(math.log(2))


def test_draws_that_agree_have_no_mutual_information_to_the_bit() -> None:
    same = drawn(300)
    predictive, mutual = reliability.scores_of_draws([same] * 7)
    assert not mutual.any()
    assert torch.equal(predictive, reliability.entropy(same))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_others_are_told_by_the_entropy_of_the_prediction_as_it_was_averaged(average: str) -> None:
    torch.manual_seed(0)
    own, shifted = ((torch.randn(40, 6) + k, torch.arange(40) % 3) for k in (0, 1))
    trainer = bnnrepro.Trainer(nn.Linear(6, 3, bias=False), device="cpu")
    trainer.compile("bayesbinn", lr=1e-3, temperature=1.0, init=0.2)
    trainer.fit(own, batch_size=20)

    def detected(how: str) -> dict:
        return trainer.task.ood_scores(trainer, own, shifted, samples=4, average=how)["mean"]

    entropies = [
        reliability.entropy(trainer.predict(inputs, samples=4, average=average).mean)
        for inputs, _ in (own, shifted)
    ]
    assert detected(average)["entropy"] == pytest.approx(reliability.auroc(*entropies))
    assert detected("logits")["entropy"] != detected("probabilities")["entropy"]
    mutual = {detected(how)["mutual_information"] for how in ("logits", "probabilities")}
    assert len(mutual) == 1
