"""Random bits for drawing weights: 16 a weight.

A relaxed draw's noise has 2^16 values, of one probability each and symmetric about 0:

    delta = logit((k + 1/2) / 2^16) / 2,   k uniform in 0 ... 2^16 - 1

so |delta| <= log(2^17 - 1) / 2 = 5.89, where a uniform number of float32 would reach 8.32 once in
8 million draws. The distribution function of delta is exact at each (k / 2^16), and off by less
than 2^-16 between. A draw of w = +-1 has a probability that is a multiple of 2^-16.

On the CPU the bits are the words of NumPy's SFC64, a stream for each key and block of 2^18 weights;
the key is one number from torch's generator. So torch's state decides everything, blocks may be
filled in any order by any number of threads, and no other state has to be saved. On other devices
the bits are torch's own.
"""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnrepro.optim.kernels.chunks import flat, like

BITS = 16
LEVELS = 1 << BITS
BLOCK = 1 << 18  # weights of a stream
_A_WORD = 64 // BITS  # weights of one of SFC64's words
_HALF = LEVELS // 2


def random_bits(pattern: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return uniform int16 numbers in [-2^15, 2^15), shaped and laid out like a tensor.

    Args:
        pattern: the tensor; its device decides the source.
        generator: on that device; torch's global one if None. On the CPU one number is drawn
            from it, none for an empty tensor.
    """
    bits = torch.cat([*_flat_blocks(pattern, generator)]).view(pattern.shape)
    return like(bits, torch.empty_like(pattern, dtype=torch.int16))


def bit_blocks(pattern: Tensor, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Yield the same numbers in flat blocks of ``BLOCK``, in the order of the pattern's memory.

    Those of a contiguous tensor on the CPU are drawn as they are asked for, each while it is in
    the cache; with several threads, ahead of that.
    """
    if on_host(pattern.device) and pattern.is_contiguous():
        yield from _flat_blocks(pattern, generator)
    else:
        yield from torch.split(flat(random_bits(pattern, generator)), BLOCK)


def _flat_blocks(pattern: Tensor, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Yield the bits of a tensor's elements, in their logical order."""
    count, device = pattern.numel(), pattern.device
    if not on_host(device):
        kind: dict[str, Any] = {"generator": generator, "dtype": torch.int16, "device": device}
        yield torch.randint(-_HALF, _HALF, (count,), **kind)
        return
    sizes = [min(BLOCK, count - start) for start in range(0, count, BLOCK)]
    if not sizes:
        yield torch.empty(0, dtype=torch.int16)
        return
    key = int(torch.randint(2**63 - 1, (), generator=generator))
    words = partial(_words, key)
    threads = min(torch.get_num_threads(), len(sizes))
    ways = map if threads == 1 else _workers(threads, os.getpid()).map
    yield from ways(words, range(len(sizes)), sizes)


def on_host(device: torch.device) -> bool:
    """Return whether a device's bits are NumPy's: on another their key would be waited for."""
    return device.type == "cpu"


def source(device: torch.device) -> str:
    """Return the name of the bits' source on a device, for a run's result."""
    name = "numpy SFC64" if on_host(device) else f"torch {device.type}"
    return f"{name}, {BITS} bits a weight"


def delta(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the noise that belongs to random bits, in their shape and dense layout."""
    places = flat(bits).view(torch.uint16).to(torch.int32)
    found = deltas(dtype, bits.device).index_select(0, places)
    return found.as_strided(bits.shape, bits.stride())


@cache
def deltas(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the 2^16 values of delta; that of the bits b is at b modulo 2^16."""
    odd = np.arange(1, 2 * LEVELS, 2, dtype=np.float64)
    values = np.log(odd / (2 * LEVELS - odd)) / 2
    symmetric = torch.from_numpy((values - values[::-1]) / 2)
    return symmetric.roll(-_HALF).to(device, dtype)


@cache
def largest(dtype: torch.dtype) -> float:
    """Return the largest |delta| in a dtype: 5.89, rounded to it."""
    return float(torch.tensor(math.log(2 * LEVELS - 1) / 2, dtype=dtype))


def _words(key: int, block: int, count: int) -> Tensor:
    """Return the first bits of a stream; NumPy lets other threads run meanwhile."""
    stream = np.random.SFC64(np.random.SeedSequence(key, spawn_key=(block,)))
    words = stream.random_raw(-(-count // _A_WORD))
    return torch.from_numpy(words.astype("<u8", copy=False).view("<i2")[:count])


@cache
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process: a fork has none of those of its parent."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"noise-{process}")
