"""Progress: a live bar on a terminal, one line per epoch elsewhere."""

import io
import re
import sys
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from bnnrepro import Trainer
from bnnrepro.training import progress as module
from bnnrepro.training.callbacks import Callback
from bnnrepro.training.progress import Bar, Lines, duration, epoch_line, progress


def train(callback: Callback, epochs: int = 3) -> None:
    torch.manual_seed(0)
    data = torch.randn(40, 4), torch.arange(40) % 2
    trainer = Trainer(nn.Linear(4, 2, bias=False), device="cpu").compile("ste", lr=1e-2)
    trainer.fit(data, validation_data=data, epochs=epochs, batch_size=10, callbacks=[callback])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal for the bar, where every batch counts as later than the one before."""
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    console = Console(file=screen, force_terminal=True, width=140)
    monkeypatch.setattr(module, "Console", lambda: console)
    ticks = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(ticks)))
    return screen


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


class Slowly(Bar):
    """The bar, drawn after every batch and not ten times a second."""

    def on_batch_end(self, trainer: Any) -> None:
        super().on_batch_end(trainer)
        self._progress.refresh()


def test_the_bar_shows_epoch_batch_figures_speed_and_time_left(terminal: Terminal) -> None:
    train(Slowly())
    shown = plain(terminal.getvalue())
    bar = r"epoch 2/3 batch 3/4 .* loss \d+\.\d{4} accuracy \d+\.\d\d [\d,]+ samples/s left "
    assert re.search(bar + r"(-:--:--|\d+:\d\d:\d\d)", shown)
    for epoch in (1, 2, 3):
        line = rf"epoch {epoch}/3  loss \d\.\d+  train \d+\.\d\d  validation \d+\.\d\d"
        assert len(re.findall(line, shown)) == 1
    for share in (8, 50, 83):  # of twelve batches the first, the sixth and the tenth
        assert f"{share}%" in shown


def test_the_bar_is_taken_away_after_an_error(terminal: Terminal) -> None:
    class Fails(Slowly):
        def on_epoch_end(self, trainer: Any, row: dict[str, Any]) -> None:
            raise OSError("no space")

    bar = Fails()
    with pytest.raises(OSError, match="no space"):
        train(bar)
    assert not bar._progress.finished
    bar.close(1)
    assert not bar._progress.live.is_started


def test_a_bar_on_a_terminal_and_lines_elsewhere(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal)  # pytest sets its own after the fixtures
    assert isinstance(progress(), Bar)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(progress(), Lines)


def test_lines_are_one_an_epoch_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    train(Lines())
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    form = r".*loss .*train .*validation .*flipped .* %  \d+\.\d s  left \d+:\d\d:\d\d"
    assert all(re.fullmatch(form, line) for line in lines)
    assert lines[-1].endswith("left 0:00:00")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00:00"), (59.6, "0:01:00"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_epochs_line_has_only_what_there_is() -> None:
    row = {"epoch": 7, "train_loss": 0.5, "train_error": 1.0, "seconds": 2.0}
    assert epoch_line(row, 500, "error") == "epoch   7/500  loss 0.5000  train 1.00  2.0 s"
