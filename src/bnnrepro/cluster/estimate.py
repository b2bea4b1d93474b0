"""``--dry-run``: the runs of a sweep, how each stands, and the hours that are left."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from bnnrepro.cluster.plan import Planned
from bnnrepro.cluster.waiting import counts
from bnnrepro.store.finding import Run, find
from bnnrepro.store.overview import seconds_an_epoch

_LOOKED_AT = 20  # measured runs of a kind: more would not change the median


def dry_run(planned: Sequence[Planned]) -> str:
    """Return the runs, what each would do, and the estimated hours."""
    paces = _paces(planned)
    lines, seconds, unknown = [], 0.0, set[str]()
    for each in planned:
        left = 0.0
        if each.todo and each.run.outlook.state != "done":
            left = (each.config.effective_epochs - (each.run.status.epoch or 0)) * (
                paces.get(_kind(each.run)) or 0.0
            )
            if _kind(each.run) not in paces:
                unknown.add("/".join(_kind(each.run)))
        seconds += left
        what = "start" if each.todo else "leave"
        time = f"  {_hours(left)}" if left else ""
        lines.append(f"{what}  {each.run.outlook.state:<11}  {each.run.name}  {each.label}{time}")
    todo = sum(each.todo for each in planned)
    hours = f"about {_hours(seconds)} of computing, by measured epochs"
    if unknown:
        hours = "" if not seconds else f"{hours}, "
        hours += f"no epoch was measured of {', '.join(sorted(unknown))}"
    return "\n".join([*lines, f"{todo} of {len(planned)} to start ({counts(planned)}); {hours}"])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds / 60:.1f} min"


def _kind(run: Run) -> tuple[str, ...]:
    return run.folder.path.parts[-4:-1]


def _paces(planned: Sequence[Planned]) -> dict[tuple[str, ...], float]:
    """Return the median seconds an epoch of each data set, model and method, where measured."""
    places = {each.run.folder.path.parent for each in planned if each.todo}
    measured: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for place in [each for each in places if each.is_dir()]:
        for run in find([place], {})[0]:
            kind = _kind(run)
            if len(measured[kind]) < _LOOKED_AT and (pace := seconds_an_epoch(run)):
                measured[kind].append(pace)
    return {kind: statistics.median(paces) for kind, paces in measured.items() if paces}
