"""The seam between training and what is learnt: a task knows its loss and its metrics."""

from abc import ABC, abstractmethod

from torch import Tensor


class Task(ABC):
    """Loss, metrics and prediction of one kind of problem.

    Attributes:
        name: the kind, as results name it.
        metric: name of the metric that stands beside the loss in every row, and that selects the
            best epoch on validation.
        higher_is_better: the direction of that selection.
    """

    name: str
    metric: str
    higher_is_better: bool

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the metric summed over the samples of a batch, a scalar on their device."""

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Return what is averaged over draws by default, one row a sample."""

    @abstractmethod
    def from_outputs(self, averaged: Tensor) -> Tensor:
        """Return predictions from outputs that were averaged over draws instead."""

    @abstractmethod
    def measure(self, predictions: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the task's metrics of predictions, one row a sample."""

    def better(self, new: float, old: float) -> bool:
        """Return whether a value of the metric beats another."""
        return new > old if self.higher_is_better else new < old
