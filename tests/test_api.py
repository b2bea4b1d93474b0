"""The facade: training and prediction without Hydra."""

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bnnrepro import Trainer
from bnnrepro.optim import Bop
from bnnrepro.optim.schedules import Cosine
from bnnrepro.tasks import Classification
from bnnrepro.training.callbacks import Callback, Interrupted
from bnnrepro.training.interrupts import StopRequest
from bnnrepro.training.methods import method_names

SETTINGS = {"bayesbinn": {"lr": 1e-3, "temperature": 1.0}, "bop": {}, "ste": {"lr": 1e-2}}
METHODS = sorted(method_names())


def points(count: int = 90, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three clouds in eight dimensions, one a class."""
    stream = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = torch.eye(8)[:3] * 4
    return centres[labels] + torch.randn(count, 8, generator=stream), labels


def network(dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(5)
    norm = nn.BatchNorm1d(16, affine=False)
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(8, 16, bias=False),
        norm,
        nn.ReLU(),
        nn.Linear(16, 3, bias=False),
        nn.BatchNorm1d(3, affine=False),
    )


def trainer(method: Any = "bayesbinn", seed: int = 0, **settings: Any) -> Trainer:
    chosen = settings or (SETTINGS.get(method, {"lr": 1e-3}) if isinstance(method, str) else {})
    schedule = Cosine(final=0.0) if method != "bop" else None
    made = Trainer(network(), device="cpu", seed=seed)
    made.compile(method, scheduler=schedule, **chosen)
    return made


def weights(of: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in of.model.state_dict().items()}


def figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(one: Trainer, other: Trainer) -> None:
    assert figures(one.rows) == figures(other.rows)
    expected = weights(other)
    assert all(torch.equal(value, expected[name]) for name, value in weights(one).items())


# -- fit ----------------------------------------------------------------------------------------


class Pairs(Dataset):
    """A map-style data set that is no TensorDataset."""

    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.inputs, self.labels = data

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self.inputs[place], self.labels[place]


FORMS: dict[str, Callable[[tuple[Tensor, Tensor]], Any]] = {
    "tensors": lambda data: data,
    "arrays": lambda data: (data[0].numpy(), data[1].numpy()),
    "TensorDataset": lambda data: TensorDataset(*data),
    "Dataset": Pairs,
    "DataLoader": lambda data: DataLoader(TensorDataset(*data), batch_size=20),
}


@pytest.mark.parametrize("form", FORMS)
def test_fit_takes_every_form_of_data(form: str) -> None:
    made = trainer("ste")
    history = made.fit(
        FORMS[form](points()),
        validation_data=FORMS[form](points(31, seed=1)),
        epochs=3,
        batch_size=20,
    )
    assert history.epoch == [1, 2, 3]
    columns = {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"}
    assert columns <= set(history.history)
    assert all(len(values) == 3 for values in history.history.values())
    last = made.evaluate(FORMS[form](points(31, seed=1)))
    assert history.history["validation_accuracy"][-1] == pytest.approx(last["accuracy"])


def test_tensors_and_data_sets_give_the_same_bits() -> None:
    one, other = trainer(), trainer()
    one.fit(points(), epochs=2, batch_size=20)
    other.fit(Pairs(points()), epochs=2, batch_size=20)
    assert_same(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_by_name(method: str) -> None:
    settings: dict[str, Any] = {
        "pmf": {"lr": 1e-1},
        "bop": {"threshold": 1e-6, "adaptivity_rate": 1e-2},
        "bop2": {"threshold": 1e-6},
    }
    made = trainer(method, **settings.get(method, SETTINGS.get(method, {"lr": 1e-2})))
    made.fit(points(300), epochs=30, batch_size=20)
    assert made.evaluate(points(seed=1))["accuracy"] > 80
    values = torch.cat([value.flatten() for value in made.model.parameters()])
    assert (values.abs() == 1).all() == (method != "full_precision")


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"method=bayesbin: must be one of .*did you mean 'bayes"):
        trainer("bayesbin")


class Reluctant(Bop):
    """A user's own method: Bop that moves in every second step only."""

    def __init__(self, params: Any, generator: torch.Generator | None = None) -> None:
        super().__init__(params, threshold=0.0, adaptivity_rate=0.5, generator=generator)
        self.steps = 0

    def _update(self, params: Any, gradients: Any, group: Any) -> None:
        self.steps += 1
        if self.steps % 2 == 0:
            super()._update(params, gradients, group)


def test_a_users_own_optimizer() -> None:
    made = Trainer(network(), device="cpu").compile(Reluctant)
    made.fit(points(90), epochs=1, batch_size=30)
    assert made.optimizer.steps == 3
    assert all((value.abs() == 1).all() for value in made.model.parameters())
    built = Trainer(network(), device="cpu").compile(lambda groups: Bop(groups, threshold=1e-6))
    assert built.fit(points(), epochs=2).epoch == [1, 2]


def test_an_optimizer_of_another_kind_is_refused() -> None:
    made = Trainer(network(), device="cpu").compile(torch.optim.Adam, lr=1e-3)
    with pytest.raises(TypeError, match=r"method=Adam: must make a .*BinaryOptimizer"):
        made.fit(points())


def test_integers_may_be_numpy_s() -> None:
    made = trainer()
    history = made.fit(points(), epochs=np.int64(2), batch_size=np.uint8(30))
    assert history.epoch == [1, 2]
    assert made.batches == 3
    expected = made.evaluate(points(), samples=3)
    assert made.evaluate(points(), samples=np.int32(3)) == expected


def test_columns_that_come_later_have_nan_before() -> None:
    made, held_out = trainer(), points(30, seed=1)
    made.fit(points(), epochs=1)
    made.fit(points(), validation_data=held_out, epochs=2)
    columns = made.fit(points(), test_data=held_out, epochs=3).history
    assert {len(values) for values in columns.values()} == {3}
    there = {
        name: [not math.isnan(value) for value in columns[name]]
        for name in ("train_loss", "validation_loss", "validation_accuracy", "test_loss")
    }
    assert there["train_loss"] == [True, True, True]
    assert there["validation_loss"] == there["validation_accuracy"] == [False, True, False]
    assert there["test_loss"] == [False, False, True]
    assert columns["validation_loss"][1] == made.rows[1]["validation_loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"epochs": "2"}, "epochs=2"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"train_data": "text"}, "data=str"),
        ({"train_data": (torch.zeros(3, 8), torch.zeros(2))}, "3 inputs, but 2 targets"),
        ({"train_data": (torch.zeros(0, 8), torch.arange(0))}, "no samples"),
    ],
)
def test_fit_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        trainer().fit(**{"train_data": points(), **arguments})


@pytest.mark.parametrize("use", ["evaluate", "predict", "save"])
def test_nothing_works_before_fit(use: str, tmp_path: Path) -> None:
    made = trainer()
    with pytest.raises(RuntimeError, match="compile"):
        {
            "evaluate": lambda: made.evaluate(points(), samples=2),
            "predict": lambda: made.predict(points()[0], samples=2),
            "save": lambda: made.save(tmp_path / "state.pt"),
        }[use]()


# -- going on -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed() -> Trainer:
    made = trainer()
    made.fit(points(), validation_data=points(30, seed=1), epochs=4, batch_size=20)
    return made


class StopAfter(Callback):
    """Stop after an epoch, or ask for an interruption after a batch of it."""

    def __init__(self, epoch: int, batch: int | None = None) -> None:
        self.epoch, self.batch = epoch, batch

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        trainer.stop = self.batch is None and trainer.epoch == self.epoch

    def on_batch_end(self, trainer: Any) -> None:
        if (trainer.epoch, trainer.running.batch) == (self.epoch, self.batch):
            import signal

            trainer.stop_request.signal = signal.SIGTERM


def fit(made: Trainer, *callbacks: Callback, epochs: int = 4) -> None:
    made.fit(
        points(),
        validation_data=points(30, seed=1),
        epochs=epochs,
        batch_size=20,
        callbacks=callbacks,
    )


def disturb() -> None:
    """Draw random numbers, as a notebook may between two cells."""
    torch.manual_seed(99)
    torch.rand(7)


def test_a_second_fit_goes_on(undisturbed: Trainer) -> None:
    made = trainer()
    fit(made, StopAfter(2))
    assert made.epoch == 2
    disturb()
    made.predict(points()[0], samples=3)
    fit(made)
    assert_same(made, undisturbed)
    fit(made)
    assert_same(made, undisturbed)


def test_compile_starts_afresh(undisturbed: Trainer) -> None:
    made = trainer()
    fit(made, epochs=2)
    made.model.load_state_dict(network().state_dict())
    made.compile("bayesbinn", scheduler=Cosine(final=0.0), **SETTINGS["bayesbinn"])
    fit(made)
    assert_same(made, undisturbed)


def test_save_and_load_go_on_to_the_same_bits(undisturbed: Trainer, tmp_path: Path) -> None:
    """Dropout, a schedule and random draws: each would show a state that was left out."""
    first = trainer()
    fit(first, StopAfter(2))
    first.save(tmp_path / "state.pt")
    disturb()
    second = trainer().load(tmp_path / "state.pt")
    assert_same(second, first)
    disturb()
    fit(second)
    assert_same(second, undisturbed)


def test_a_state_saved_before_training_is_the_start(undisturbed: Trainer, tmp_path: Path) -> None:
    first = trainer()
    first.build_optimizer(90)
    first.save(tmp_path / "state.pt")
    second = trainer().load(tmp_path / "state.pt")
    fit(second)
    assert_same(second, undisturbed)


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_an_interruption_inside_an_epoch_changes_nothing(
    undisturbed: Trainer, tmp_path: Path, batch: int
) -> None:
    first = trainer()
    with pytest.raises(Interrupted) as caught:
        fit(first, StopAfter(1, batch))
    assert caught.value.exit_code == 143
    first.save(tmp_path / "state.pt")
    disturb()
    second = trainer().load(tmp_path / "state.pt")
    assert (second.epoch, second.running.batch) == ((1, batch) if batch < 5 else (2, 0))
    for made in (first, second):
        made.stop_request = StopRequest()
        fit(made)
        assert_same(made, undisturbed)


def test_load_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trainer().load(tmp_path / "nothing.pt")


# -- callbacks ----------------------------------------------------------------------------------


class Scribe(Callback):
    """Records each hook's call, with epoch and batch."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_fit_start(self, trainer: Any) -> None:
        self.calls.append(("start", trainer.epoch))

    def on_batch_end(self, trainer: Any) -> None:
        self.calls.append(("batch", trainer.epoch, trainer.running.batch))

    def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
        assert row is trainer.rows[-1]
        self.calls.append(("epoch", row["epoch"]))

    def on_interrupt(self, trainer: Any) -> None:
        self.calls.append(("interrupt", trainer.epoch, trainer.running.batch))

    def on_fit_end(self, trainer: Any) -> None:
        self.calls.append(("end", trainer.epoch))


def test_callbacks_are_told_in_order() -> None:
    scribe = Scribe()
    trainer().fit(points(60), epochs=2, batch_size=30, callbacks=[scribe])
    assert scribe.calls == [
        ("start", 0),
        ("batch", 0, 1),
        ("batch", 0, 2),
        ("epoch", 1),
        ("batch", 1, 1),
        ("batch", 1, 2),
        ("epoch", 2),
        ("end", 2),
    ]


def test_an_interruption_is_told_to_all_and_ends_at_once() -> None:
    scribe = Scribe()
    with pytest.raises(Interrupted):
        trainer().fit(points(60), epochs=2, batch_size=20, callbacks=[StopAfter(0, 2), scribe])
    assert scribe.calls[-2:] == [("batch", 0, 2), ("interrupt", 0, 2)]


# -- evaluation and prediction ------------------------------------------------------------------


@pytest.fixture(scope="module")
def uncertain() -> Trainer:
    """A posterior that is far from certain."""
    made = trainer("bayesbinn", lr=1e-6, temperature=1.0, init=1.0)
    made.fit(points(), epochs=1, batch_size=20)
    return made


def test_predictions_are_probabilities_and_agree_with_evaluate(uncertain: Trainer) -> None:
    inputs, labels = points(50, seed=2)
    at_mode = uncertain.predict(inputs)
    assert at_mode.shape == (50, 3)
    assert torch.allclose(at_mode.sum(1), torch.ones(50))
    averaged = uncertain.predict(inputs, samples=20)
    assert averaged.mean.shape == averaged.std.shape == (50, 3)
    assert torch.allclose(averaged.mean.sum(1), torch.ones(50, dtype=torch.float64))
    assert (averaged.std >= 0).all()
    assert averaged.std.max() > 0.05
    task = Classification()
    for actual, metrics in (
        (at_mode, uncertain.evaluate((inputs, labels))),
        (averaged.mean, uncertain.evaluate((inputs, labels), samples=20)),
    ):
        assert task.measure(actual, labels) == pytest.approx(metrics)


def test_the_mean_is_that_of_the_draws(uncertain: Trainer) -> None:
    """Both averages, against draws that are made by hand from the posterior's own stream."""
    from bnnrepro.seeds import derive

    inputs = points(40, seed=2)[0]
    outputs = []
    previous = uncertain.optimizer.generator
    uncertain.optimizer.generator = torch.Generator().manual_seed(derive(0, "evaluate"))
    uncertain.model.eval()
    with torch.no_grad():
        for _ in range(8):
            with uncertain.optimizer.sampled_params():
                outputs.append(uncertain.model(inputs).double())
    uncertain.optimizer.generator = previous
    logits = torch.stack(outputs)
    averaged = uncertain.predict(inputs, samples=8)
    assert torch.allclose(averaged.mean, logits.softmax(2).mean(0), atol=1e-6)
    assert torch.allclose(averaged.std, logits.softmax(2).std(0, correction=0), atol=1e-5)
    of_logits = uncertain.predict(inputs, samples=8, average="logits")
    assert torch.allclose(of_logits.mean, logits.mean(0).softmax(1), atol=1e-6)
    assert torch.allclose(of_logits.std, logits.std(0, correction=0), atol=1e-5)
    assert not torch.allclose(of_logits.mean, averaged.mean, atol=1e-3)


def test_predicting_moves_nothing(uncertain: Trainer) -> None:
    before, state = weights(uncertain), deepcopy(uncertain.optimizer.state_dict())
    one = uncertain.predict(points()[0], samples=5)
    other = uncertain.predict(points()[0], samples=5)
    assert torch.equal(one.mean, other.mean)
    assert all(torch.equal(value, before[name]) for name, value in weights(uncertain).items())
    after = uncertain.optimizer.state_dict()
    for place, values in state["state"].items():
        assert all(torch.equal(after["state"][place][name], v) for name, v in values.items())


@pytest.mark.parametrize(
    ("arguments", "message"), [({"samples": 0}, "samples=0"), ({"average": "mean"}, "average=mean")]
)
def test_predict_refuses(uncertain: Trainer, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        uncertain.predict(points()[0], **{"samples": 2, **arguments})


def test_summary_counts_what_the_method_binarises() -> None:
    total = 8 * 16 + 16 * 3
    made = trainer("ste")
    made.fit(points(), epochs=1)
    summary = made.summary((8,))
    assert (summary.binary, summary.real, summary.bits) == (total, 0, total)
    real = trainer("full_precision")
    real.fit(points(), epochs=1)
    summary = real.summary((8,))
    assert (summary.binary, summary.real, summary.bits) == (0, total, 32 * total)
    assert "16" in str(summary)
