"""Tasks: the loss, the metrics and the prediction of each kind of problem."""

from bnnrepro.tasks.base import Task
from bnnrepro.tasks.classification import Classification

__all__ = ["Classification", "Task"]
