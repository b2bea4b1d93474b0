"""Turn a method's name or class into a function that builds the optimizer for a model."""

import inspect
from collections.abc import Callable
from typing import Any

import bnnrepro.optim as optim
from bnnrepro.errors import nearest
from bnnrepro.optim import BinaryOptimizer

Factory = Callable[..., BinaryOptimizer]


def method_names() -> dict[str, type[BinaryOptimizer]]:
    """Return the methods of ``bnnrepro.optim`` by the names that ``Trainer.compile`` takes."""
    exported: list[Any] = [getattr(optim, name) for name in optim.__all__]
    return {
        cls.__module__.rpartition(".")[2]: cls
        for cls in exported
        if isinstance(cls, type) and issubclass(cls, BinaryOptimizer) and cls is not BinaryOptimizer
    }


def method_factory(method: str | Factory, settings: dict[str, Any]) -> Factory:
    """Return ``make(groups, train_set_size=…, total_steps=…, generator=…)`` for a method.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(method, str):
        classes = method_names()
        if method not in classes:
            allowed = ", ".join(sorted(classes))
            raise ValueError(f"method={method}: must be one of {allowed}{nearest(method, classes)}")
        method = classes[method]
    build = method

    def make(groups: Any, **available: Any) -> BinaryOptimizer:
        accepted = inspect.signature(build).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
            return build(groups, **{**available, **settings})
        available = {name: value for name, value in available.items() if name in accepted}
        return build(groups, **{**available, **settings})

    return make
