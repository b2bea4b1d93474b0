"""A network that raises, or eats memory, as long as a file says so; copied beside the runs."""

from pathlib import Path

import torch

from bnnrepro.models.mlp import MLP

STEPS = 20


class Faulty(MLP):
    """Trains ``STEPS`` steps, then looks for ``raise-<units>`` and ``eat-<units>``."""

    def __init__(self, shape, classes, hidden: list[int], **settings):
        super().__init__(shape, classes, hidden, **settings)
        self.units, self.steps, self.eaten = hidden[0], 0, []

    def forward(self, inputs):
        self.steps += self.training
        if self.steps > STEPS:
            if Path(f"raise-{self.units}").exists():
                raise RuntimeError("the file says so")
            while Path(f"eat-{self.units}").exists():
                self.eaten.append(torch.ones(25_000_000))  # 100 MB
        return super().forward(inputs)
