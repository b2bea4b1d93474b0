"""Tasks: the loss, the metrics and the prediction of each kind of problem."""

from bnnrepro.tasks.classification import Classification
from bnnrepro.tasks.continual import Continual
from bnnrepro.tasks.regression import Regression
from bnnrepro.tasks.segmentation import Segmentation
from bnnrepro.training.task import Task

__all__ = ["TASKS", "Classification", "Continual", "Regression", "Segmentation", "Task"]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Classification, Continual, Regression, Segmentation)
}
"""The tasks by their names; a data set's ``task`` chooses."""
