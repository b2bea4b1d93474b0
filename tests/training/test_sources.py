"""Data sets of tensors move to the device once, and only where they fit."""

import pytest
import torch
from torch.utils.data import TensorDataset

from bnnrepro.training import sources

DEVICE = torch.device("meta")  # in the place of a GPU
DATA = torch.arange(40.0).view(10, 4), torch.arange(10)
BYTES = 10 * 4 * 4 + 10 * 8


def source_of(data):
    return sources.as_source(data, batch_size=4, seed=0, shuffle=True, device=DEVICE)


@pytest.mark.parametrize("data", [DATA, TensorDataset(*DATA)], ids=["tuple", "TensorDataset"])
@pytest.mark.parametrize("room", [BYTES, BYTES - 1])
def test_tensors_move_to_a_device_that_has_room(data, room, monkeypatch):
    monkeypatch.setattr(sources, "_room", lambda device: room)
    batches = list(source_of(data).epoch(0))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
    expected = "meta" if room == BYTES else "cpu"
    assert {tensor.device.type for batch in batches for tensor in batch} == {expected}


def test_only_a_gpu_has_room():
    assert sources._room(torch.device("cpu")) == 0
    assert sources._room(DEVICE) == 0


def test_the_order_is_the_seeds_wherever_the_tensors_are():
    batches = list(source_of(DATA).epoch(0))
    assert torch.equal(torch.cat([targets for _, targets in batches]).sort().values, DATA[1])
    for inputs, targets in batches:
        assert torch.equal(inputs, DATA[0][targets])
    assert list(source_of(TensorDataset(*(part.to(DEVICE) for part in DATA))).epoch(0))
