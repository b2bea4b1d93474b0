"""Random streams: many independent ones from one integer seed, and the generators' states.

Every source of randomness in a run (split, initial weights, order of batches, augmentation,
dropout, sampling of weights) has its own stream, so that drawing more from one never shifts
another. A stream's seed is a hash of the run's seed and the stream's name: nothing to carry,
nothing to save; the order of epoch 17 is known without epochs 1 to 16.
"""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derive(seed: int, *words: str | int) -> int:
    """Return the seed in [0, 2**63) of the stream that the words name, for a run's seed."""
    text = "\x1f".join([str(seed), *map(str, words)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_generators(seed: int, stream: str) -> None:
    """Seed torch's, NumPy's and Python's global generators for one stream of a run's seed."""
    torch.manual_seed(derive(seed, stream))
    np.random.seed(derive(seed, stream, "numpy") % 2**32)
    random.seed(derive(seed, stream, "python"))


def rng_state(generator: torch.Generator) -> dict[str, Any]:
    """Return the states of a method's generator and of the global ones, fit for a checkpoint."""
    name, keys, *rest = np.random.get_state()
    return {
        "method": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any], generator: torch.Generator) -> None:
    """Restore states that ``rng_state`` returned."""
    generator.set_state(state["method"].cpu())
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
