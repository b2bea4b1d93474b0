"""Adapt tensors, a Dataset or a DataLoader to a source, which yields an epoch's batches."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from bnnrepro.data.batches import Batches, Changes, Indices, Pair, Source
from bnnrepro.training.task import Task


class Converter:
    """Converts a caller's data to the form that model and task take.

    Floating inputs get the model's dtype; targets are converted and checked by the task.

    Args:
        dtype: of the model's parameters.
        task: checks the targets; None leaves them as they are.

    Attributes:
        highest: the highest class number so far, -1 before the first. The model's outputs are
            checked against it, so that no step has to read targets from a device.
    """

    def __init__(self, dtype: torch.dtype, task: Task | None = None) -> None:
        self.dtype, self.task, self.highest = dtype, task, -1

    def __call__(self, pair: Any) -> Pair:
        """Return the inputs and targets of a batch, or of a whole data set.

        Raises:
            TypeError: for anything but a pair.
            ValueError: for different lengths, or targets that the task refuses.
        """
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"data: gives {type(pair).__name__}, must give pairs (inputs, targets)")
        inputs, targets = (torch.as_tensor(part) for part in pair)
        if len(inputs) != len(targets):
            raise ValueError(f"data: {len(inputs)} inputs, but {len(targets)} targets")
        if inputs.is_floating_point():
            inputs = inputs.to(self.dtype)
        if self.task is not None:
            targets = self.task.accept(targets)
        if targets.dtype == torch.int64 and targets.numel():
            self.highest = max(self.highest, int(targets.max()))
        return inputs, targets


class LoaderSource:
    """A source around a DataLoader, whose own shuffling is not part of a run's saved state."""

    def __init__(self, loader: DataLoader[Any], convert: Converter) -> None:
        self.loader, self.convert = loader, convert
        self.n_samples = samples_per_epoch(loader)

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Pair]:
        """Return an iterator over the loader's batches, skipping the first ``start``."""
        return map(self.convert, islice(iter(self.loader), start, None))


def samples_per_epoch(loader: DataLoader[Any]) -> int:
    """Return the number of samples that a loader draws in an epoch, by its sampler's length.

    Raises:
        ValueError: if the loader cannot tell.
    """
    data, batches = loader.dataset, cast(Any, loader.batch_sampler)
    try:
        if batches is None:
            raise TypeError("batch_size=None")
        if type(batches) is not BatchSampler:  # the caller's own
            return sum(len(batch) for batch in islice(batches, len(batches)))
        drawn: Any = data if isinstance(data, IterableDataset) else batches.sampler
        count = len(drawn)
    except (TypeError, NotImplementedError) as error:
        allowed = "must make batches, and its sampler or IterableDataset must have a length"
        raise ValueError(f"data=DataLoader: {allowed} ({error})") from error
    return count - count % batches.batch_size if batches.drop_last else count


def _free_bytes(device: torch.device) -> int:
    """Return the bytes of data that may be moved to a GPU, half of its free memory; else 0."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0


def _to_device(pair: Pair, device: torch.device) -> Pair:
    """Return tensors on the device if they fit: moving batch by batch takes far longer."""
    inputs, targets = pair
    if inputs.nbytes + targets.nbytes > _free_bytes(device):
        return pair
    return inputs.to(device), targets.to(device)


def _sample_weights(weights: Any, count: int) -> Tensor:
    """Return the samples' weights, float32 (N,); ValueError if one is negative or not finite."""
    factors = torch.as_tensor(weights).float()
    if factors.shape != (count,) or not factors.isfinite().all() or (factors < 0).any():
        raise ValueError(f"sample_weight: {count} finite numbers >= 0 are needed, one a sample")
    return factors


def last_fraction(data: Any, fraction: float, weights: Any) -> tuple[Any, Any, Any]:
    """Return the data without its last samples, these, and the weights of the others.

    Raises:
        ValueError: for data of no known length, or too few samples.
    """
    whole = data[0] if isinstance(data, tuple) else data
    try:
        count = len(whole)
        if isinstance(data, DataLoader):
            raise TypeError
    except TypeError:
        allowed = "needs (inputs, targets) or a Dataset with a length"
        raise ValueError(f"validation_split={fraction}: {allowed}") from None
    kept = int(count * (1 - fraction))
    if not 0 < kept < count:
        raise ValueError(f"validation_split={fraction}: leaves {kept} of {count} samples")
    if weights is not None:
        weights = weights[:kept]
    if isinstance(data, tuple):
        return tuple(part[:kept] for part in data), tuple(part[kept:] for part in data), weights
    return Subset(data, range(kept)), Subset(data, range(kept, count)), weights


def as_source(
    data: Any,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    device: torch.device,
    convert: Converter,
    weights: Any = None,
) -> Source:
    """Adapt tensors ``(inputs, targets)``, a Dataset or a DataLoader; return a source unchanged.

    Tensors are converted once, and moved to the device if they fit; a Dataset's or DataLoader's
    batches are converted one by one, on whatever device they are. Weights (N,) of the samples,
    which a DataLoader cannot have, are a third part of every batch.

    Raises:
        TypeError: for anything else.
        ValueError: for no samples, tensors of different lengths, or targets that the task refuses.
    """

    def batches(count: int, fetch: Callable[[Tensor], Pair], device: torch.device) -> Batches:
        numbers = torch.arange(count, device=device)
        factors = None if weights is None else _sample_weights(weights, count).to(device)

        def copied(indices: Indices, changes: Changes) -> Pair:
            # Also of a slice: a model may change its inputs in place.
            indices = numbers[indices] if isinstance(indices, slice) else indices
            pair = fetch(indices)
            return pair if factors is None else cast(Pair, (*pair, factors[indices]))

        return Batches(count, copied, batch_size, seed=seed, shuffle=shuffle, device=device)

    if type(data) is TensorDataset:  # a subclass may do more than to index
        data = data.tensors
    if isinstance(data, tuple) and len(data) == 2:
        inputs, targets = _to_device(convert(data), device)
        return batches(
            len(inputs),
            lambda indices: (inputs.index_select(0, indices), targets.index_select(0, indices)),
            inputs.device,
        )
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return batches(
            len(data),  # type: ignore[arg-type]
            lambda indices: convert(default_collate([data[index] for index in indices.tolist()])),
            torch.device("cpu"),
        )
    if weights is not None:
        raise ValueError("sample_weight: needs (inputs, targets) or a Dataset with a length")
    source: Source
    if isinstance(data, DataLoader):
        source = LoaderSource(data, convert)
    elif hasattr(data, "epoch") and hasattr(data, "n_samples"):
        source = data
    else:
        raise TypeError(
            f"data={type(data).__name__}: must be (inputs, targets), a Dataset with a length, "
            "or a DataLoader"
        )
    if source.n_samples == 0:
        raise ValueError("data: an epoch of it has no samples")
    return source
