"""Runs in processes of their own, and runs that are struck by a signal at a given step."""

import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from bnnrepro.cli.run import main
from bnnrepro.training.loop import TrainingLoop

# A fork of a process that has everything imported: a start costs 0.1 s instead of 5.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "bnnrepro.cli.run",
        "bnnrepro.experiment",
    ]
)


def start(out: Path, *overrides: str) -> multiprocessing.Process:
    """Start ``run.py`` with results under ``out``."""
    process = FORKS.Process(target=main, args=([f"out={out}", *overrides],))
    process.start()
    return process


def struck(out: Path, *overrides: str, step: int, number: int) -> int:
    """Run until the signal comes right after training step ``step``; return the exit code."""
    process = FORKS.Process(target=_strike, args=([f"out={out}", *overrides], step, number))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def on_screen(where: str, script: Path, *words: str) -> multiprocessing.Process:
    """Start a script whose standard streams are a file, a pipe or a terminal; "": closed."""
    process = FORKS.Process(target=_show, args=(where, script, words))
    process.start()
    return process


def _show(where: str, script: Path, words: tuple[str, ...]) -> None:
    os.setsid()  # the terminal that is opened next becomes its own
    if where:
        streams = os.open(where, os.O_RDWR if where.startswith("/dev/") else os.O_WRONLY)
    for number in range(3):
        os.dup2(streams, number) if where else os.close(number)
    if not where:
        sys.stdin = sys.stdout = sys.stderr = None
    sys.argv = [str(script), *words]
    runpy.run_path(str(script), run_name="__main__")


def _strike(argv: list[str], step: int, number: int) -> None:
    """Run as ``start`` does, until the signal.

    A parent that watches files and then signals may be too late: the run has ended meanwhile.
    """
    with pytest.MonkeyPatch.context() as patch:
        strike_at(patch, step, number)
        main(argv)


def strike_at(patch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Have this process send itself the signal right after so many training steps."""
    train_batch, done = TrainingLoop._train_batch, 0

    def counted(self: TrainingLoop, *batch: Any) -> None:
        nonlocal done
        assert done < step, "the run trains on after the signal"
        train_batch(self, *batch)
        done += 1
        if done == step:
            signal.raise_signal(number)

    patch.setattr(TrainingLoop, "_train_batch", counted)
