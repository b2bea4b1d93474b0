"""Plan of a table or figure: its cells, runs done and missing, and their cost on this machine."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from bnnrepro.launch.costs import Cost
from bnnrepro.launch.plan import PlannedRun, make_plan
from bnnrepro.report.cells import Cell
from bnnrepro.runs.liveness import ACTIVE

HEADER = ("cell", "runs", "done", "active", "missing", "s/step", "s/epoch", "hours")

Plans = Mapping[str, Sequence[PlannedRun]]
"""The planned runs of each cell, by its name."""


def plan_cells(cells: Sequence[Cell]) -> Plans:
    """Return the plans of some cells; a cluster's queue is queried once."""
    configs = [run.config for cell in cells for run in cell.runs]
    labels = [[*cell.words, f"seed={run.seed}"] for cell in cells for run in cell.runs]
    runs = {planned.run.folder.path: planned for planned in make_plan(configs, labels)}
    return {cell.name: [runs[run.folder.path] for run in cell.runs] for cell in cells}


def plan_table(plans: Plans, costs: Mapping[str, Cost]) -> str:
    """Return the plans as text, a line per cell; then the reasons for unknown hours."""
    rows = []
    problems: dict[str, list[str]] = {}
    for name, planned in plans.items():
        cost = costs.get(name)
        if cost is not None and cost.problem:
            problems.setdefault(cost.problem, []).append(name)
            cost = None
        states = Counter(each.run.state.name for each in planned)
        active = sum(states[state] for state in ACTIVE)
        counts = (len(planned), states["done"], active, len(planned) - states["done"] - active)
        hours = sum(map(cost.of, planned)) / 3600 if cost else 0
        times = (f"{cost.epoch:.3g}", f"{hours:.2g}") if cost else ("-", "-")
        step = f"{cost.step:.2g}" if cost and cost.step else "-"
        rows.append([name, *map(str, counts), step, *times])
    columns = ["left", *["right"] * (len(HEADER) - 1)]
    text = tabulate(rows, HEADER, tablefmt="plain", disable_numparse=True, colalign=columns)
    reasons = [f"no hours of {', '.join(names)}: {why}" for why, names in problems.items()]
    return "\n".join([text, *reasons])


def hours(plans: Plans, costs: Mapping[str, Cost]) -> tuple[float, int, int]:
    """Return the hours left, the number of runs they cover, and of runs whose cost is unknown."""
    seconds, known, unknown = 0.0, 0, 0
    for name, planned in plans.items():
        cost, todo = costs.get(name), sum(each.todo for each in planned)
        if cost is None or cost.problem:
            unknown += todo
        else:
            seconds += sum(map(cost.of, planned))
            known += todo
    return seconds / 3600, known, unknown
