"""Adapt tensors, a Dataset or a DataLoader to a source, which yields an epoch's batches."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

import numpy as np
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

TARGETS = ("label", "labels", "target", "targets", "y")  # what a mapping calls its targets


class Converter:
    """Converts a caller's data to the form that model and task take.

    Inputs get the model's dtype; targets are converted and checked by the task.

    Args:
        dtype: of the model's parameters.
        task: checks the targets; None leaves them as they are.
        places: whether integer inputs stay integers, as places in an embedding.

    Attributes:
        highest: the highest class number so far, -1 before the first. The model's outputs are
            checked against it, so that no step has to read targets from a device.
    """

    def __init__(
        self, dtype: torch.dtype, task: Task | None = None, *, places: bool = False
    ) -> None:
        self.dtype, self.task, self.places, self.highest = dtype, task, places, -1

    def __call__(self, pair: Any) -> Pair:
        """Return the inputs and targets of a batch, or of a whole data set.

        Raises:
            TypeError: for anything but a pair of numbers.
            ValueError: for different lengths, inputs that the dtype cannot hold, or targets that
                the task refuses.
        """
        inputs, targets = tensors_of(pair)
        if not (inputs.ndim and targets.ndim):
            raise TypeError("data: is one number, must be arrays with an entry for each sample")
        if len(inputs) != len(targets):
            raise ValueError(f"data: {len(inputs)} inputs, but {len(targets)} targets")
        if inputs.is_floating_point():
            inputs = inputs.to(self.dtype)
        elif not (inputs.is_complex() or self.places):
            inputs = exactly(inputs, self.dtype)
        if self.task is not None:
            targets = self.task.accept(targets)
        if targets.dtype == torch.int64 and targets.numel():
            self.highest = max(self.highest, int(targets.max()))
        return inputs, targets


def tensors_of(pair: Any) -> Pair:
    """Return the tensors of a pair (inputs, targets), or of a mapping that names the targets.

    Raises:
        TypeError: for anything else.
        ValueError: for two tables of the same rows in different orders.
    """
    if isinstance(pair, Mapping):
        names = [name for name in pair if name in TARGETS]
        if len(names) != 1 or len(pair) != 2:
            allowed = f"must be two, and one of them {', '.join(TARGETS)}"
            raise TypeError(f"data: has the keys {', '.join(map(str, pair))}; {allowed}")
        pair = [pair[name] for name in sorted(pair, key=lambda name: name in TARGETS)]
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"data: gives {type(pair).__name__}, must give pairs (inputs, targets)")
    rows = [part.index for part in pair if hasattr(getattr(part, "index", None), "sort_values")]
    differ = len(rows) == 2 and not rows[0].equals(rows[1])
    if differ and rows[0].sort_values().equals(rows[1].sort_values()):
        raise ValueError("data: inputs and targets have their rows in different orders")
    return as_tensor("inputs", pair[0]), as_tensor("targets", pair[1])


def as_tensor(name: str, values: Any) -> Tensor:
    """Return the numbers of an array, list, table or number, of any byte order and strides.

    Raises:
        TypeError: for anything but numbers, or lists of different lengths.
    """
    if isinstance(values, Tensor):
        return values
    picture = type(values).__module__.startswith("PIL.")  # its array has no channels, or last
    try:
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
        if array.dtype == object:  # numbers of several kinds
            array = np.array(array.tolist())
    except ValueError as error:
        raise TypeError(f"{name}: rows of different lengths, must be one array") from error
    if array.dtype.kind not in "biufc" or picture:
        text = any(isinstance(value, str) for value in array.flat)
        hint = "; numpy.unique(targets, return_inverse=True)[1] has numbers for classes"
        allowed = f"must be numbers{hint * (text and name == 'targets')}"
        raise TypeError(f"{name}={'text' if text else type(values).__name__}: {allowed}")
    if not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return torch.as_tensor(array)


def exactly(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Return integers or booleans as floating numbers; ``ValueError`` if one is not held."""
    floating = inputs.to(dtype)
    if inputs.dtype.itemsize > 1 and not torch.equal(floating.double(), inputs.double()):
        integer, model_s = (str(kind).removeprefix("torch.") for kind in (inputs.dtype, dtype))
        raise ValueError(f"inputs={integer}: not all are numbers that the model's {model_s} holds")
    return floating


class LoaderSource:
    """A source around a DataLoader, whose own shuffling is not part of a run's saved state."""

    def __init__(self, loader: DataLoader[Any], convert: Converter) -> None:
        self.loader, self.convert = loader, convert
        self.n_samples = samples_per_epoch(loader)

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Pair]:
        """Return an iterator over the loader's batches, skipping the first ``start``.

        Raises:
            TypeError: samples of lists, which torch's collation turns around.
            ValueError: the loader gives no batch, like one of an exhausted generator.
        """
        collated = self.loader.collate_fn is default_collate
        batch = None
        for batch in islice(iter(self.loader), start, None):
            parts = batch.values() if isinstance(batch, Mapping) else batch
            if collated and any(isinstance(p, list) and isinstance(p[0], Tensor) for p in parts):
                raise TypeError("data: its samples hold lists, must hold numbers or arrays")
            yield self.convert(batch)
        if batch is None and start == 0:
            raise ValueError("data: gives no batch; it must begin anew in each epoch")


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
    factors = as_tensor("sample_weight", weights).float()
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

    Arrays, tables (DataFrame and Series) and lists count as tensors, and a mapping as a pair if one
    of its two keys names the targets. Tensors are converted once, and moved to the device if they
    fit; a Dataset's or DataLoader's batches are converted one by one, on whatever device they are.
    Weights (N,) of the samples, which a DataLoader cannot have, are a third part of every batch.

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
    if isinstance(data, Mapping) or (isinstance(data, tuple) and len(data) == 2):
        inputs, targets = _to_device(convert(data), device)
        return batches(
            len(inputs),
            lambda indices: (inputs.index_select(0, indices), targets.index_select(0, indices)),
            inputs.device,
        )
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return batches(
            len(data),  # type: ignore[arg-type]
            lambda indices: convert(
                default_collate([tensors_of(data[index]) for index in indices.tolist()])
            ),
            torch.device("cpu"),
        )
    if weights is not None:
        raise ValueError("sample_weight: needs (inputs, targets) or a Dataset with a length")
    if isinstance(data, IterableDataset) and hasattr(data, "__len__"):
        data = DataLoader(data, batch_size)
    source: Source
    if isinstance(data, DataLoader):
        source = LoaderSource(data, convert)
    elif hasattr(data, "epoch") and hasattr(data, "n_samples"):
        source = data
    else:
        raise TypeError(
            f"data={type(data).__name__}: must be (inputs, targets), a Dataset that has a length, "
            "or a DataLoader"
        )
    if source.n_samples == 0:
        raise ValueError("data: an epoch of it has no samples")
    return source
