"""A task's hooks around epochs; a resumed run calls them as if it had never stopped."""

import signal

import pytest
import torch
from torch import nn

from bnnrepro import Trainer
from bnnrepro.optim.schedules import Cosine
from bnnrepro.tasks import Classification
from bnnrepro.training.callbacks import Callback, Interrupted

EPOCHS, PERIOD, BATCHES = 5, 2, 4


class Counting(Classification):
    """Notes what it is asked, and carries how many epochs it saw begin."""

    period = PERIOD

    def __init__(self):
        super().__init__()
        self.begun, self.told = 0, []

    def before_epoch(self, trainer):
        self.begun += 1
        self.told.append(("before", trainer.epoch, trainer.running.batch))

    def after_epoch(self, trainer, held_out):
        self.told.append(("after", trainer.epoch, tuple(held_out)))
        return {"begun": self.begun}

    def state_dict(self):
        return {"begun": self.begun}

    def load_state_dict(self, state):
        self.begun = state["begun"]


class StopAt(Callback):
    """Asks to stop after so many steps, as a signal would."""

    def __init__(self, step):
        self.left = step

    def on_batch_end(self, trainer):
        self.left -= 1
        if self.left == 0:
            trainer.stop_request.signal = signal.SIGTERM


def data():
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long()


def trainer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False))
    made = Trainer(model, Counting(), device="cpu", seed=1)
    return made.compile("bayesbinn", lr=1e-2, scheduler=Cosine(stepped="after"))


def fit(counting, *callbacks):
    return counting.fit(
        data(), test_data=data(), epochs=EPOCHS, batch_size=32 // BATCHES, callbacks=callbacks
    ).rows


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_hooks_come_once_an_epoch_and_their_columns_stand_in_the_row():
    counting = trainer()
    rows = fit(counting)
    assert counting.task.told == [
        call
        for epoch in range(EPOCHS)
        for call in (("before", epoch, 0), ("after", epoch, ("test",)))
    ]
    assert [row["begun"] for row in rows] == [1, 2, 3, 4, 5]


def test_the_schedule_begins_anew_after_a_period():
    rates = [row["lr"] for row in fit(trainer())]
    assert rates[0] == rates[2] == rates[4] == 1e-2
    assert rates[1] == rates[3] == pytest.approx(5e-3)


@pytest.mark.parametrize("step", [1, BATCHES, BATCHES + 2, 2 * BATCHES, 3 * BATCHES + 1])
def test_a_resumed_run_repeats_no_hook_and_ends_alike(tmp_path, step):
    whole = without_seconds(fit(trainer()))
    first = trainer()
    with pytest.raises(Interrupted):
        fit(first, StopAt(step))
    first.save(tmp_path / "state.pt")
    second = trainer().load(tmp_path / "state.pt")
    assert without_seconds(fit(second)) == whole
    told = [call[:2] for call in first.task.told + second.task.told]
    assert told == [(when, epoch) for epoch in range(EPOCHS) for when in ("before", "after")]
