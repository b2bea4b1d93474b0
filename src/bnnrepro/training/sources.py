"""What training reads from: anything that gives an epoch's batches, and adapters to it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from bnnrepro.data.source import Source
from bnnrepro.seeds import derive


class LoaderSource:
    """A DataLoader as a source; its own shuffling is not part of a run's saved state."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    @property
    def n_samples(self) -> int:
        """The size of the loader's data set."""
        return len(self.loader.dataset)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the loader's batches, skipping the first ``start``."""
        return islice(iter(self.loader), start, None)


class DatasetSource:
    """A map-style torch Dataset as a source, its order driven by the seed.

    A last batch of a single sample joins the one before it when shuffled: BatchNorm cannot train
    on one.
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, seed: int, shuffle: bool) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._fetch: Callable[[Tensor], Any] = self._collate
        self._device = torch.device("cpu")  # of the places in the data set
        if isinstance(dataset, TensorDataset):
            self._device = dataset.tensors[0].device
            self._fetch = lambda picked: tuple(t.index_select(0, picked) for t in dataset.tensors)

    def _collate(self, picked: Tensor) -> Any:
        return default_collate([self.dataset[index] for index in picked.tolist()])

    @property
    def n_samples(self) -> int:
        """The size of the data set."""
        return len(self.dataset)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._cuts())

    def _cuts(self) -> list[int]:
        cuts = list(range(0, self.n_samples, self.batch_size))
        if self.shuffle and len(cuts) > 1 and self.n_samples - cuts[-1] == 1:
            cuts.pop()
        return cuts

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over an epoch's batches from batch ``start`` on."""
        order = torch.arange(self.n_samples)
        if self.shuffle:
            stream = torch.Generator().manual_seed(derive(self.seed, "order", number))
            order = torch.randperm(self.n_samples, generator=stream)
        order = order.to(self._device)
        cuts = [*self._cuts(), self.n_samples]
        for first, last in zip(cuts[start:-1], cuts[start + 1 :], strict=True):
            yield self._fetch(order[first:last])


def _room(device: torch.device) -> int:
    """Return how many bytes of data may be moved to a GPU, half of what is free; else 0."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0


def _moved(dataset: TensorDataset, device: torch.device) -> TensorDataset:
    """Return tensors on the device, where they have room: a batch at a time takes far longer."""
    if sum(tensor.nbytes for tensor in dataset.tensors) > _room(device):
        return dataset
    return TensorDataset(*(tensor.to(device) for tensor in dataset.tensors))


def as_source(
    data: Any, *, batch_size: int, seed: int, shuffle: bool, device: torch.device
) -> Source:
    """Adapt tensors ``(inputs, targets)``, a Dataset or a DataLoader; a source stays as it is.

    Tensors are moved to the device where it has room; anything else gives its batches where it
    likes.

    Raises:
        TypeError: for anything else.
        ValueError: for no samples, or tensors of different lengths.
    """
    if isinstance(data, tuple) and len(data) == 2:
        inputs, targets = (torch.as_tensor(part) for part in data)
        if len(inputs) != len(targets):
            raise ValueError(f"data: {len(inputs)} inputs, but {len(targets)} targets")
        data = TensorDataset(inputs, targets)
    source: Source
    if isinstance(data, DataLoader):
        source = LoaderSource(data)
    elif isinstance(data, Dataset):
        if isinstance(data, TensorDataset):
            data = _moved(data, device)
        source = DatasetSource(data, batch_size, seed, shuffle)
    elif hasattr(data, "epoch") and hasattr(data, "n_samples"):
        source = data
    else:
        raise TypeError(
            f"data={type(data).__name__}: must be (inputs, targets), a Dataset or a DataLoader"
        )
    if source.n_samples == 0:
        raise ValueError("data: has no samples")
    return source
