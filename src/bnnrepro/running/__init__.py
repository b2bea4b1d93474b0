"""One run: built from its configuration, trained, judged, recorded."""

from bnnrepro.errors import RunFailedError
from bnnrepro.running.building import Parts, build
from bnnrepro.running.execution import Result, run

__all__ = ["Parts", "Result", "RunFailedError", "build", "run"]
