"""Controls of training: each does what it says, alone, and survives a break between two steps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from bnnrepro import Trainer
from bnnrepro.optim import BayesBiNN, FullPrecision, param_groups, schedules
from bnnrepro.seeds import derive
from bnnrepro.tasks import Classification, Regression
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.controls import class_weights, stopped_early

COUNT = 37
X = torch.randn(COUNT, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 1)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3))


def fitted(method: str = "full_precision", *data: Any, compiled=None, task=None, **settings: Any):
    model = network()
    trainer = Trainer(model, task, device="cpu").compile(method, **(compiled or {}))
    trainer.fit(*(data or (X, Y)), **{"batch_size": 8, "epochs": 2} | settings)
    return trainer


def weights(trainer: Any) -> Tensor:
    return nn.utils.parameters_to_vector(trainer.model.parameters()).detach()


# -- parts of a batch ---------------------------------------------------------------------------


def test_a_step_of_unequal_parts_is_the_step_of_their_batch() -> None:
    whole = fitted(compiled={"lr": 1e-2})
    parts = fitted(compiled={"lr": 1e-2, "accumulate": 3})
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-4, atol=1e-5)
    for key, value in whole.rows[0].items():
        if key != "seconds":
            assert parts.rows[0][key] == pytest.approx(value, rel=1e-4), key


def test_every_part_has_its_own_draw_and_n_stays_the_training_sets() -> None:
    settings: Any = {"lr": 1e-3, "temperature": 1.0, "init": 0.3}
    trainer = fitted("bayesbinn", compiled=settings | {"accumulate": 3}, batch_size=COUNT, epochs=1)
    model = network()
    source = torch.Generator().manual_seed(derive(0, "method"))
    groups = param_groups(model)
    optimizer = BayesBiNN(groups, train_set_size=COUNT, generator=source, **settings)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(derive(0, "order", 0)))
    for part in order.tensor_split(3):
        with optimizer.sampled_params(train=True):
            (cross_entropy(model(X[part]), Y[part]) * (3 * len(part) / COUNT)).backward()
    optimizer.step()
    for own, other in zip(trainer.model.parameters(), model.parameters(), strict=True):
        found = trainer.optimizer.state[own].get("natural_parameter", own)
        expected = optimizer.state[other].get("natural_parameter", other)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


# -- clipping, warm-up --------------------------------------------------------------------------


def test_the_gradient_is_clipped_before_the_rule() -> None:
    trainer = fitted(compiled={"clip_norm": 1e-3}, batch_size=COUNT, epochs=1)
    first = [trainer.optimizer.state[p]["exp_avg"] / 0.1 for p in trainer.model.parameters()]
    norm = torch.cat([each.flatten() for each in first]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("stepped", ["before", "after"])
def test_warm_up_is_linear_in_the_steps_and_then_the_schedule_is_as_it_was(stepped: str) -> None:
    optimizer = FullPrecision([nn.Parameter(torch.ones(2, 2))], lr=0.5)
    warm, plain = (
        schedules.Cosine(stepped=stepped, warmup=w).attach(optimizer, 10, 4) for w in (2, 0)
    )
    for step in range(40):
        plain.move_to(*divmod(step, 4))
        expected = plain.current * min(1.0, (step + 1) / 8)
        warm.move_to(*divmod(step, 4))
        assert warm.current == pytest.approx(expected, rel=1e-12)


# -- early stopping -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "patience", "stopped"),
    [
        ([1.0, 2.0, 2.0], 2, False),
        ([1.0, 3.0, 2.0, 3.0], 2, True),
        ([3.0, 2.0, 4.0], 2, False),
        ([3.0, 2.0, 4.0], None, False),
        ([], 1, False),
    ],
)
def test_training_stops_after_so_many_epochs_that_are_no_better(values, patience, stopped) -> None:
    rows = [{"epoch": e, "validation_accuracy": v} for e, v in enumerate(values, start=1)]
    assert stopped_early(rows, Classification(), patience) is stopped
    rows = [{"epoch": e, "validation_rmse": -v} for e, v in enumerate(values, start=1)]
    assert stopped_early(rows, Regression(), patience) is stopped


def test_a_second_fit_stays_stopped_until_the_patience_is_raised() -> None:
    options: Any = {"validation_data": (X, Y), "epochs": 9, "batch_size": 8}
    trainer = Trainer(network(), device="cpu").compile("full_precision", lr=1e-12)
    for _ in range(2):
        assert len(trainer.fit(X, Y, early_stopping=2, **options).rows) == 3
    assert len(trainer.fit(X, Y, **options).rows) == 9


# -- the average of real-valued weights ---------------------------------------------------------


class Steps(Callback):
    """The real-valued weights after every step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_batch_end(self, training: Any) -> None:
        self.seen.append(training.model[2].bias.detach().clone())


def test_the_average_follows_every_step_and_stands_in_the_model_between_epochs() -> None:
    steps, start = Steps(), network()[2].bias.detach()
    trainer = fitted("ste", compiled={"ema": 0.9}, callbacks=[steps], validation_data=(X, Y))
    for weight in steps.seen:
        start = 0.9 * start + 0.1 * weight
    torch.testing.assert_close(trainer.model[2].bias.detach(), start)
    assert set(trainer.model[0].weight.unique().tolist()) == {-1.0, 1.0}
    plain = Steps()
    fitted("ste", callbacks=[plain])
    assert all(map(torch.equal, steps.seen, plain.seen)), "the average changed training"
    (accuracy,) = [trainer.rows[-1]["validation_accuracy"]]
    assert trainer.evaluate((X, Y))["accuracy"] == pytest.approx(accuracy)


def test_all_binary_weights_leave_nothing_to_average() -> None:
    trainer = Trainer(nn.Linear(6, 3, bias=False), device="cpu").compile("ste", ema=0.9)
    with pytest.raises(ValueError, match=r"ema=0\.9: all parameters are binary"):
        trainer.fit(X, Y)


class Stop(Callback):
    def on_batch_end(self, training: Any) -> None:
        if training.epoch == 1 and training.batch == 2:
            self.state = torch.save(training.state_dict(), self.file)

    def __init__(self, file: Any) -> None:
        self.file = file


def test_a_state_saved_between_two_steps_goes_on_to_the_same_bits(tmp_path) -> None:
    compiled: Any = {
        "ema": 0.9,
        "accumulate": 2,
        "clip_norm": 0.1,
        "scheduler": schedules.Cosine(warmup=2),
    }
    options: Any = {
        "epochs": 4,
        "batch_size": 8,
        "validation_split": 0.2,
        "early_stopping": 3,
        "class_weight": "balanced",
        "sample_weight": torch.rand(COUNT, generator=torch.Generator().manual_seed(2)),
    }
    task = Classification(label_smoothing=0.1)
    whole = fitted(
        "bayesbinn", compiled=compiled, task=task, callbacks=[Stop(tmp_path / "state")], **options
    )
    other = Trainer(network(), task, device="cpu").compile("bayesbinn", **compiled)
    other.build_optimizer(29)
    other.load_state_dict(torch.load(tmp_path / "state"))
    other.fit(X, Y, **options)
    assert torch.equal(weights(other), weights(whole))
    rows = [[{**row, "seconds": 0} for row in each.rows] for each in (other, whole)]
    assert rows[0] == rows[1]


# -- losses -------------------------------------------------------------------------------------


def test_smoothing_and_weights_are_of_the_training_loss_alone() -> None:
    outputs, factors = torch.randn(COUNT, 3), torch.rand(COUNT)
    task = Classification(label_smoothing=0.3)
    target = torch.full((COUNT, 3), 0.1).scatter(1, Y[:, None], 0.8)
    losses = -(target * outputs.log_softmax(1)).sum(1)
    torch.testing.assert_close(task.training_loss(outputs, Y), losses.mean())
    torch.testing.assert_close(task.training_loss(outputs, Y, factors), (losses * factors).mean())
    torch.testing.assert_close(task.loss(outputs, Y), cross_entropy(outputs, Y))


def test_balanced_weights_give_every_class_the_same_part_of_the_loss() -> None:
    found = class_weights("balanced", torch.tensor([1, 3, 0, 4]))
    assert found is not None
    torch.testing.assert_close(found * torch.tensor([1, 3, 0, 4]), torch.tensor([8, 8, 0, 8]) / 3)
    assert class_weights({2: 5.0}, torch.tensor([1, 1, 1, 1])).tolist() == [1, 1, 5, 1]


@pytest.mark.parametrize("data", [(X, Y), (TensorDataset(X, Y),), (X.numpy(), Y.numpy())])
def test_samples_of_weight_0_teach_nothing(data: Any) -> None:
    factors = torch.arange(COUNT) % 3 / 2
    other = torch.where(factors == 0, 2 - Y, Y)
    changed = (TensorDataset(X, other),) if len(data) == 1 else (X, other)
    one, two = (fitted("full_precision", *d, sample_weight=factors) for d in (data, changed))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(fitted("full_precision", *data)))


@pytest.mark.parametrize("setting", ["balanced", {0: 2.0}, [1.0, 2.0, 3.0]])
def test_class_weights_are_weights_of_the_samples(setting: Any) -> None:
    by_class = class_weights(setting, Y.bincount())
    one = fitted(class_weight=setting)
    two = fitted(sample_weight=by_class[Y])
    assert torch.equal(weights(one), weights(two))


# -- Keras's ways of calling fit ----------------------------------------------------------------


def test_the_last_samples_are_the_validation_data() -> None:
    one = fitted("ste", X, Y, validation_split=0.25)
    two = fitted("ste", (X[:27], Y[:27]), validation_data=(X[27:], Y[27:]))
    three = fitted("ste", TensorDataset(X, Y), validation_split=0.25)
    assert torch.equal(weights(one), weights(two))
    for key in ("train_loss", "validation_loss", "validation_accuracy"):
        assert one.rows[1][key] == two.rows[1][key] == pytest.approx(three.rows[1][key])


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose_shows_every_epoch_or_nothing(verbose: Any, capsys) -> None:
    fitted("ste", verbose=verbose)
    shown = capsys.readouterr().out
    assert [f"epoch {k}/2" in shown for k in (1, 2)] == [verbose > 0] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"early_stopping": 3}, "early_stopping=3: needs validation data"),
        ({"early_stopping": 0, "validation_split": 0.5}, "early_stopping=0: must be"),
        ({"validation_split": 1.0}, "validation_split=1.0: must be"),
        ({"validation_split": 0.99}, "validation_split=0.99: leaves 0 of 37"),
        ({"validation_split": 0.2, "validation_data": (X, Y)}, "there is validation_data"),
        ({"sample_weight": torch.ones(3)}, "sample_weight: 37 finite numbers"),
        ({"sample_weight": -torch.ones(COUNT)}, "sample_weight: 37 finite numbers >= 0"),
        ({"class_weight": [1.0]}, "class_weight=.*each of 3 classes"),
        ({"class_weight": "even"}, "class_weight=even: must be balanced"),
        ({"verbose": 3}, "verbose=3: must be one of 0, 1, 2"),
    ],
)
def test_what_cannot_be_takes_one_line(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fitted("ste", **options)
