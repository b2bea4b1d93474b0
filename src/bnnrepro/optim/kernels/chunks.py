"""Walk through large tensors in blocks that stay in the processor's cache.

A method's update is a handful of element-wise passes over a few tensors of the weights' size. Each
pass over a whole tensor goes to memory and back. Taken block by block, all passes but the first
find their operands in the cache, so the update costs one pass over memory. No digit changes:
nothing element-wise depends on how the elements are grouped. On a GPU, where the number of kernel
launches counts, there is one block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1 << 19  # elements; four float32 operands of this size fill a quarter of a 32 MiB cache


def blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return an iterator over flat, aligned views of the tensors, in the order of memory.

    Tensors that do not share one dense layout come whole, as they are.
    """
    if not alike(*tensors):
        yield tensors
        return
    size = BLOCK if tensors[0].device.type == "cpu" else max(tensors[0].numel(), 1)
    yield from zip(*(torch.split(flat(tensor), size) for tensor in tensors), strict=True)


def flat(tensor: Tensor) -> Tensor:
    """Return a dense tensor's elements in the order of memory, as a view of shape (n,)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def dense(tensor: Tensor) -> bool:
    """Return whether a tensor fills one piece of memory, each element once, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def alike(*tensors: Tensor) -> bool:
    """Return whether all tensors have one shape and one dense layout."""
    first = tensors[0]
    return dense(first) and all(
        t.shape == first.shape and t.stride() == first.stride() for t in tensors
    )


def like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Return the tensor in the layout of another of its shape; itself where it has that layout."""
    same = tensor.stride() == pattern.stride()
    return tensor if same else torch.empty_like(pattern).copy_(tensor)
