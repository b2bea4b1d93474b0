"""One integer seed, many independent streams.

Every source of chance in a run (split, initial weights, order of batches, augmentation, dropout,
sampling of weights) has a stream of its own, so that asking for more of one never moves another.
A stream's seed is a hash of the run's seed and the stream's name: nothing to carry, nothing to
save; the order of epoch 17 is known without epochs 1 to 16.
"""

import hashlib


def derive(seed: int, *words: str | int) -> int:
    """Return the seed in [0, 2**63) of the stream that the words name, for a run's seed."""
    text = "\x1f".join([str(seed), *map(str, words)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
