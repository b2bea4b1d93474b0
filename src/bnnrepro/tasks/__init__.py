"""Tasks: loss, metrics and prediction of each kind of problem, one file per task."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bnnrepro.training.task import Task

if TYPE_CHECKING:
    from bnnrepro.tasks.classification import Classification
    from bnnrepro.tasks.continual import Continual
    from bnnrepro.tasks.regression import Regression
    from bnnrepro.tasks.segmentation import Segmentation

__all__ = ["Classification", "Continual", "Regression", "Segmentation", "Task", "task_named"]


def task_named(name: str) -> type[Task]:
    """Return the task class of a data set's ``task``: ours, or any imported subclass.

    Raises:
        KeyError: no task has this name.
    """
    if name not in Task.by_name and find_spec(f"bnnrepro.tasks.{name}"):
        import_module(f"bnnrepro.tasks.{name}")
    return Task.by_name[name]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bnnrepro.tasks' has no attribute '{name}'")
    return task_named(name.lower())
