"""One run: built from its configuration, trained, evaluated, recorded."""

from bnnrepro.errors import RunFailedError
from bnnrepro.experiment.execution import Result, run
from bnnrepro.experiment.parts import Parts, build

__all__ = ["Parts", "Result", "RunFailedError", "build", "run"]
