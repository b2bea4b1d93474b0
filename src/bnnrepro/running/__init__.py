"""One run: built from its configuration, trained, judged, recorded."""

from bnnrepro.running.building import Parts, build
from bnnrepro.running.execution import Result, run
from bnnrepro.running.lock import BusyError
from bnnrepro.running.records import RunFailedError

__all__ = ["BusyError", "Parts", "Result", "RunFailedError", "build", "run"]
