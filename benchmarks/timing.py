"""Comparable times: measured in one process, in turn, as medians with quartiles."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of repetitions."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return median(self.seconds)

    def over(self, other: "Times") -> "Ratio":
        """Return the ratio of these times to others, by repetition."""
        ratios = [a / b for a, b in zip(self.seconds, other.seconds, strict=True)]
        low, _, high = quantiles(ratios, n=4)
        return Ratio(median(ratios), low, high)


@dataclass(frozen=True)
class Ratio:
    """A median and its quartiles."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def interleaved(
    tasks: Mapping[str, Callable[[], object]],
    repetitions: int,
    device: torch.device,
    warm_up: int = 2,
    settle: bool = False,
) -> dict[str, Times]:
    """Run all tasks in turn, and return their times without the warm-up's.

    Other load on the machine thus affects all tasks alike. With ``settle`` each turn begins with
    an unmeasured run, as the task before may have changed the state of the memory.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repetition in range(warm_up + repetitions):
        for name, task in tasks.items():
            if settle:
                task()
            wait(device)
            started = time.perf_counter()
            task()
            wait(device)
            if repetition >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(times)) for name, times in seconds.items()}


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
