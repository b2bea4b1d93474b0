"""Data sets of tensors move to the device once; a source tells how many samples an epoch draws."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from bnnrepro import Trainer
from bnnrepro.training import sources

DEVICE = torch.device("meta")  # instead of a GPU
DATA = torch.arange(40.0).view(10, 4), torch.arange(10)
BYTES = 10 * 4 * 4 + 10 * 8


def source_of(data, device=DEVICE):
    options = {"batch_size": 4, "seed": 0, "shuffle": True, "device": device}
    return sources.as_source(data, convert=sources.Converter(torch.float32), **options)


@pytest.mark.parametrize("data", [DATA, TensorDataset(*DATA)], ids=["tuple", "TensorDataset"])
@pytest.mark.parametrize("room", [BYTES, BYTES - 1])
def test_tensors_move_to_a_device_that_has_room(data, room, monkeypatch):
    monkeypatch.setattr(sources, "_free_bytes", lambda device: room)
    batches = list(source_of(data).epoch(0))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
    expected = "meta" if room == BYTES else "cpu"
    assert {tensor.device.type for batch in batches for tensor in batch} == {expected}


def test_only_a_gpu_has_room():
    assert sources._free_bytes(torch.device("cpu")) == 0
    assert sources._free_bytes(DEVICE) == 0


def test_the_order_is_the_seeds_wherever_the_tensors_are():
    batches = list(source_of(DATA).epoch(0))
    assert torch.equal(torch.cat([targets for _, targets in batches]).sort().values, DATA[1])
    for inputs, targets in batches:
        assert torch.equal(inputs, DATA[0][targets])


class Doubled(TensorDataset):
    """Changes what it holds when it is asked for it."""

    def __getitem__(self, place):
        inputs, target = super().__getitem__(place)
        return 2 * inputs, target


def test_a_data_set_that_changes_its_tensors_is_asked_for_them():
    for inputs, targets in source_of(Doubled(*DATA)).epoch(0):
        assert torch.equal(inputs, 2 * DATA[0][targets])


# -- how many samples an epoch draws -------------------------------------------------------------

FIFTY = TensorDataset(torch.randn(50, 8), torch.arange(50) % 3)


class Stream(IterableDataset):
    """Samples without places."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(list(FIFTY))


class LongStream(Stream):
    def __len__(self) -> int:
        return 50


class Odd(Sampler):
    """The caller's own: batches of odd places, in two sizes."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[1, 3, 5], [7, 9]])

    def __len__(self) -> int:
        return 2


class Endless(Sampler):
    """Does not tell its length."""

    def __iter__(self) -> Iterator[int]:
        return itertools.cycle(range(50))


class EndlessBatches(Sampler):
    """Likewise, of batches."""

    def __iter__(self) -> Iterator[list[int]]:
        return itertools.repeat([1, 2])


LOADERS = {
    "all": lambda: DataLoader(FIFTY, 20),
    "shuffled": lambda: DataLoader(FIFTY, 20, shuffle=True),
    "the rest is dropped": lambda: DataLoader(FIFTY, 20, drop_last=True),
    "sampler": lambda: DataLoader(FIFTY, 5, sampler=SubsetRandomSampler(range(12))),
    "sampler, the rest is dropped": lambda: DataLoader(
        FIFTY, 5, sampler=SubsetRandomSampler(range(12)), drop_last=True
    ),
    "more than there are": lambda: DataLoader(
        FIFTY, 20, sampler=WeightedRandomSampler([1.0] * 50, 130)
    ),
    "subset": lambda: DataLoader(Subset(FIFTY, range(7)), 5),
    "batch sampler": lambda: DataLoader(
        FIFTY, batch_sampler=BatchSampler(SequentialSampler(range(30)), 8, drop_last=True)
    ),
    "own batch sampler": lambda: DataLoader(FIFTY, batch_sampler=Odd()),
    "stream": lambda: DataLoader(LongStream(), 20),
    "stream, the rest is dropped": lambda: DataLoader(LongStream(), 20, drop_last=True),
}


@pytest.mark.parametrize("name", LOADERS)
def test_n_is_what_an_epoch_draws(name):
    batches = list(LOADERS[name]())
    drawn = sum(len(targets) for _, targets in batches)
    source = source_of(LOADERS[name]())
    assert (source.n_samples, len(source)) == (drawn, len(batches))
    trainer = Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("bayesbinn", lr=1e-4)
    trainer.fit(LOADERS[name]())
    assert trainer.optimizer.param_groups[0]["train_set_size"] == drawn


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataLoader(Stream(), 20), "data=DataLoader: .*must have a length"),
        (lambda: DataLoader(FIFTY, 20, sampler=Endless()), "data=DataLoader: .*must have a length"),
        (lambda: DataLoader(FIFTY, batch_sampler=EndlessBatches()), "must have a length"),
        (lambda: DataLoader(LongStream(), None), "data=DataLoader: must make batches"),
        (lambda: DataLoader(FIFTY, None), "data=DataLoader: must make batches"),
        (lambda: DataLoader(FIFTY, 51, drop_last=True), "no samples"),
        (lambda: DataLoader(FIFTY, 5, sampler=SubsetRandomSampler([])), "no samples"),
        (lambda: DataLoader(FIFTY, batch_sampler=[]), "no samples"),
        (lambda: Subset(FIFTY, []), "no samples"),
        (Stream, "data=Stream: must be"),
        (lambda: TensorDataset(FIFTY.tensors[0]), "data=tuple: must be"),
        (lambda: DataLoader(TensorDataset(FIFTY.tensors[0])), "must give pairs"),
    ],
)
@pytest.mark.parametrize("use", ["fit", "evaluate"])
def test_data_that_give_no_known_number_of_pairs_are_refused(use, make, message):
    trainer = Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("bayesbinn", lr=1e-4)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        getattr(trainer, use)(make())
    assert "\n" not in str(caught.value)


def sizes(trainer: Trainer) -> list[int]:
    return [group["train_set_size"] for group in trainer.optimizer.param_groups]


def test_n_follows_the_data_of_a_later_fit(tmp_path: Path) -> None:
    trainer = Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("bayesbinn", lr=1e-4)
    trainer.fit(FIFTY)
    trainer.fit(Subset(FIFTY, range(30)), epochs=2)
    assert sizes(trainer) == [30]
    trainer.save(tmp_path / "state.pt")
    again = Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("bayesbinn", lr=1e-4)
    assert sizes(again.load(tmp_path / "state.pt")) == [30]
    again.fit(FIFTY, epochs=3)
    assert sizes(again) == [50]


@pytest.mark.parametrize("size", [1000, 50])
@pytest.mark.parametrize("reload", [False, True])
def test_a_given_n_stays(tmp_path: Path, reload: bool, size: int) -> None:
    def new() -> Trainer:
        made = Trainer(nn.Linear(8, 3, bias=False), device="cpu")
        return made.compile("bayesbinn", lr=1e-4, train_set_size=size)

    trainer = new()
    trainer.fit(FIFTY)
    if reload:
        trainer.save(tmp_path / "state.pt")
        trainer = new().load(tmp_path / "state.pt")
    trainer.fit(Subset(FIFTY, range(30)), epochs=2)
    assert sizes(trainer) == [size]


def lengths(trainer: Trainer) -> list[int]:
    return [group["total_steps"] for group in trainer.optimizer.param_groups]


def test_annealing_spans_the_whole_fit_and_follows_a_longer_one(tmp_path: Path) -> None:
    def new() -> Trainer:
        return Trainer(nn.Linear(8, 3, bias=False), device="cpu").compile("md_tanh")

    trainer = new()
    history = trainer.fit(FIFTY, epochs=4, batch_size=10).history
    assert lengths(trainer) == [20]
    assert history["beta"][-1] == pytest.approx(1e4)
    trainer.save(tmp_path / "state.pt")
    again = new().load(tmp_path / "state.pt")
    assert lengths(again) == [20]
    again.fit(FIFTY, epochs=6, batch_size=10)
    assert lengths(again) == [30]


def test_a_given_number_of_steps_stays() -> None:
    trainer = Trainer(nn.Linear(8, 3, bias=False), device="cpu")
    trainer.compile("md_tanh", total_steps=7).fit(FIFTY, epochs=2, batch_size=10)
    assert lengths(trainer) == [7]
