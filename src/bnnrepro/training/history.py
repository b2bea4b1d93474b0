"""What training adds up: the rows of finished epochs, and the sums of the present one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnnrepro.training.task import EpochRow


class History:
    """The rows of training, one an epoch, in the columns of ``metrics.csv``."""

    def __init__(self, rows: Sequence[EpochRow]) -> None:
        self.rows = list(rows)

    @property
    def epoch(self) -> list[int]:
        """The epochs, from 1."""
        return [row["epoch"] for row in self.rows]

    @property
    def history(self) -> dict[str, list[Any]]:
        """The columns, each a list with one entry an epoch.

        An epoch that lacks a column, as one that had no validation data lacks theirs, has NaN in
        it: all columns are of one length.
        """
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [row.get(name, math.nan) for row in self.rows] for name in names}


@dataclass
class Running:
    """Where training stands within an epoch: batches done, and sums over their samples.

    ``sums`` holds loss, metric and number of samples, on the device (float64), ``bad_step`` the
    first step (from 1) whose loss was not finite, 0 while there is none.
    """

    device: torch.device
    batch: int = 0
    seconds: float = 0.0
    sums: Tensor = field(init=False)
    bad_step: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=self.device)

    def add(self, loss: Tensor, score: Tensor, count: int) -> None:
        """Count a batch in, without waiting for the device."""
        self.batch += 1
        self.sums[0] += loss * count
        self.sums[1] += score
        self.sums[2] += count
        first = (self.bad_step == 0) & ~torch.isfinite(loss)
        self.bad_step += first * self.batch
