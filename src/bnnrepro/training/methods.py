"""From a method's name or class to a function that makes the optimizer for a model."""

import inspect
from collections.abc import Callable
from typing import Any

import bnnrepro.optim as optim
from bnnrepro.errors import nearest
from bnnrepro.optim import BinaryOptimizer

Factory = Callable[..., BinaryOptimizer]


def method_names() -> dict[str, type[BinaryOptimizer]]:
    """Return the methods of ``bnnrepro.optim`` by the names that ``Trainer.compile`` takes."""
    classes = (getattr(optim, name) for name in optim.__all__)
    return {
        inspect.getmodule(cls).__name__.rpartition(".")[2]: cls  # type: ignore[union-attr]
        for cls in classes
        if inspect.isclass(cls) and cls is not BinaryOptimizer
    }


def method_factory(method: str | Factory, settings: dict[str, Any]) -> Factory:
    """Return ``make(groups, train_set_size=…, generator=…)`` for a method and its settings.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(method, str):
        known = method_names()
        if method not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"method={method}: must be one of {allowed}{nearest(method, known)}")
        method = known[method]
    build = method

    def make(groups: Any, **available: Any) -> BinaryOptimizer:
        accepted = inspect.signature(build).parameters
        given = {name: value for name, value in available.items() if name in accepted}
        return build(groups, **{**given, **settings})

    return make
