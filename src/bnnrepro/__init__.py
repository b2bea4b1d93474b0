"""bnnrepro: training rules for binary-weight networks, compared under one protocol.

The top level is a small facade whose names are imported when used, so importing it is cheap:

- ``Trainer(model).compile(method="bayesbinn", lr=1e-4).fit(...)``: training without Hydra;
- ``run("method=ste", "epochs=3")``: one run, as by ``run.py``;
- ``load(folder)``: a finished run's model and posterior;
- ``export(folder)``: a finished run as packed files, and ``load_packed(file)``, the network of one;
- ``results(folder, filters)``, ``curves(folder, filters)``: all runs' figures as pandas DataFrames;
- ``optim``: the methods as torch optimizers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Trainer": "bnnrepro.api",
    "curves": "bnnrepro.runs.results",
    "load": "bnnrepro.api",
    "load_packed": "bnnrepro.export",
    "results": "bnnrepro.runs.results",
    "run": "bnnrepro.api",
}

_ROOMS = ("export", "optim")

__all__ = ["Trainer", "curves", "export", "load", "load_packed", "optim", "results", "run"]

if TYPE_CHECKING:
    from bnnrepro import export, optim
    from bnnrepro.api import Trainer, load, run
    from bnnrepro.export import load_packed
    from bnnrepro.runs.results import curves, results


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"bnnrepro.{name}")
    raise AttributeError(f"module 'bnnrepro' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
