"""A step asks the device for nothing: no operation in it needs a value on the host.

Seen without a GPU: on one, each of these operations would wait for it.
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bnnrepro import Trainer
from bnnrepro.data.batches import Samples
from bnnrepro.data.dataset import Arrays
from bnnrepro.data.images import Augment, ImageSet
from bnnrepro.optim.kernels import noise
from bnnrepro.optim.kernels.relaxation import ActiveSets
from bnnrepro.training.methods import method_names

WAITING = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.item.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.masked_select.default",
    "aten.unique2.default",
}


class Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def batches():
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 6, 6), dtype=torch.uint8, generator=source)
    samples = Samples(images, torch.randint(2, (60,), generator=source))
    augment = Augment(pad=1, flip=True)
    data = ImageSet(Arrays(samples, None, ("a", "b")), name="x", augment=augment)
    return data.training(samples, batch_size=20, seed=0)


@pytest.mark.parametrize("method", sorted(method_names()))
def test_no_operation_of_a_step_needs_the_host(method, monkeypatch):
    monkeypatch.setattr(ActiveSets, "pays", staticmethod(lambda *_: False))  # as on a GPU
    monkeypatch.setattr(noise, "on_host", lambda device: False)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8, bias=False), nn.Dropout(0.2))
    settings = {"lr": 1e-3} if method == "bayesbinn" else {}
    trainer = Trainer(model, device="cpu").compile(method, **settings)
    trainer.fit(batches(), epochs=1)
    source = batches().epoch(1)
    first, second = next(source), None
    with Watch() as watch:
        trainer._train_batch(*first)
        second = next(source)
        trainer._train_batch(*second)
    assert len(watch.seen) > 20
    assert not WAITING & set(watch.seen)


def test_what_the_watch_would_see():
    values = torch.arange(3)
    with Watch() as watch:
        float(values[1])
        values[values > 1]
    assert {"aten._local_scalar_dense.default"} <= WAITING & set(watch.seen)
    assert any("index" in name or "nonzero" in name for name in watch.seen)
