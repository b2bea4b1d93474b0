"""Points: the toys' data sets, and batches of points."""

from pathlib import Path

import pytest
import torch

from bnnrepro.data import snelson, toy_regression, two_moons
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.points import PointSet, standardised
from bnnrepro.errors import UserError

GENERATED = [two_moons.load, toy_regression.load]


def training(count: int, batch_size: int, seed: int = 0):
    """Batches of points whose class is their number."""
    samples = Samples(torch.arange(float(count))[:, None], torch.arange(count))
    data = PointSet(Arrays(samples, None), name="x")
    return data.training(data.train, batch_size=batch_size, seed=seed)


def sources(data, validation_split=0.0, **settings):
    data.validation_split = validation_split
    return data.sources(**{"seed": 0, "device": "cpu", "batch_size": 200} | settings)


def written(folder: Path, inputs: str = "0\n1\n2\n", outputs: str = "3\n5\n4\n") -> Path:
    (folder / "train_inputs").write_text(inputs)
    (folder / "train_outputs").write_text(outputs)
    return folder


@pytest.mark.parametrize("load", GENERATED)
def test_generated_sets_are_the_same_every_time_and_standardised(load) -> None:
    first, second = load(), load()
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert len(first.train) == 200
    torch.testing.assert_close(
        first.train.inputs.mean(0), torch.zeros(first.facts.shape), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(first.train.inputs.std(0), torch.ones(first.facts.shape))


@pytest.mark.parametrize("load", GENERATED)
def test_no_test_point_is_a_training_point(load) -> None:
    data = load(points=200, test_points=200)
    assert not (data.train.inputs[:, None] == data.test.inputs).all(2).any()


def test_regression_targets_are_standardised_too() -> None:
    data = toy_regression.load()
    assert abs(float(data.train.targets.mean())) < 1e-5
    assert float(data.train.targets.std()) == pytest.approx(1)
    assert data.facts.about()["target_std"] > 0


def test_the_test_points_take_the_training_points_scale() -> None:
    (train, test), mean, std = standardised(torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0]]))
    assert float(test) == pytest.approx((4 - float(mean)) / float(std))
    assert train.dtype == test.dtype == torch.float32


def test_snelson_is_read_from_two_text_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snelson, "DIGEST", snelson.digest([0, 1, 2], [3, 5, 4]))
    byte_order_mark = "\ufeff"
    data = snelson.load(root=written(tmp_path, f"{byte_order_mark}  0.0e+00\n  1.0\n2\n"))
    assert data.train.inputs.flatten().tolist() == pytest.approx([-1, 0, 1])
    assert data.train.targets.flatten().tolist() == pytest.approx([-1, 1, 0])
    assert (data.test, data.facts.fingerprint) == (None, None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ("1\nnan\n", "1\n2\n", "train_inputs.*number 2 is 'nan'.*finite"),
        ("1\n2\n", "1\ninf\n", "train_outputs.*finite"),
        ("1\ntwo\n", "1\n2\n", "number 2 is 'two'"),
        ("1\n2\n", "1\n", "2 numbers in train_inputs, but 1 in train_outputs"),
        ("", "1\n", "train_inputs: is empty"),
        ("1\n2\n", "1\n2\n", "not Snelson's 200.*SPGP demo"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, inputs: str, outputs: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        snelson.load(root=written(tmp_path, inputs, outputs))


def test_missing_files_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no train_inputs; .*SPGP demo of Snelson"):
        snelson.load(root=tmp_path)


@pytest.mark.realdata
def test_the_real_snelson_set(real_data: Path) -> None:
    data = snelson.load(root=real_data / "snelson")
    assert len(data.train) == 200
    assert data.facts.mean[0] == pytest.approx(2.98, abs=0.01)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1), torch.zeros(2)),
        (torch.zeros(2, 1), torch.zeros(3, dtype=torch.int64)),
        (torch.full((2, 1), float("nan")), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1), torch.full((2, 1), float("inf"))),
    ],
)
def test_points_that_are_none_are_refused(inputs: torch.Tensor, targets: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"inputs|targets"):
        Samples(inputs, targets)


def test_a_constant_column_is_refused() -> None:
    with pytest.raises(ValueError, match="a column is constant"):
        standardised(torch.ones(3, 1, dtype=torch.float64))


@pytest.mark.parametrize("count", [6, 7, 8])
def test_an_epoch_has_each_point_once_and_no_batch_of_one(count: int) -> None:
    batches = training(count, 3)
    epoch = [targets for _, targets in batches.epoch(4)]
    assert len(epoch) == len(batches)
    assert min(map(len, epoch)) > 1
    assert sorted(torch.cat(epoch).tolist()) == list(range(count))


def test_an_epoch_entered_late_goes_on_as_it_would_have() -> None:
    batches = training(9, 3, seed=5)
    whole, late = list(batches.epoch(2)), list(batches.epoch(2, 1))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(whole[1:], late, strict=True))
    assert not torch.equal(whole[0][1], next(batches.epoch(3))[1])


@pytest.mark.parametrize("size", [8, 9])
def test_a_full_batch_is_in_the_data_s_order(size: int) -> None:
    batches = training(9, size)
    ((_, targets),) = batches.epoch(7)
    assert targets.tolist() == list(range(9))


def test_sources_are_batches_of_points() -> None:
    limited = sources(two_moons.load(), test_limit=50)
    assert (limited.train.n_samples, limited.validation, limited.test.n_samples) == (200, None, 50)
    assert sources(two_moons.load(), validation_split=0.1).validation.n_samples == 20
    assert len(sources(two_moons.load(), train_limit=30).train) == 1
    assert len(sources(two_moons.load(), batch_size=201).train) == 1
