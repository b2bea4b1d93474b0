"""The state of every source of chance, as tensors and numbers that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch

from bnnrepro.seeds import derive


def seed_generators(seed: int, stream: str) -> None:
    """Seed torch's, NumPy's and Python's own generators from a run's seed, for one stream of it."""
    torch.manual_seed(derive(seed, stream))
    np.random.seed(derive(seed, stream, "numpy") % 2**32)
    random.seed(derive(seed, stream, "python"))


def random_state(generator: torch.Generator) -> dict[str, Any]:
    """Return the states of a method's generator and of torch's, NumPy's and Python's own."""
    name, keys, *rest = np.random.get_state()
    return {
        "method": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """Go back to states that ``random_state`` returned."""
    generator.set_state(state["method"].cpu())
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
