"""Plan of a table or figure: its cells, runs done and missing, and their cost on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnnrepro.launch.plan import PlannedRun, make_plan
from bnnrepro.report.cells import Cell
from bnnrepro.report.costs import Cost
from bnnrepro.runs.liveness import ACTIVE

HEADER = ("cell", "runs", "done", "active", "missing", "s/step", "s/epoch", "hours")


@dataclass(frozen=True)
class CellPlan:
    """A cell with the state of its runs."""

    cell: Cell
    planned: list[PlannedRun]

    @property
    def done(self) -> int:
        """Number of runs that have their result."""
        return sum(planned.run.state.name == "done" for planned in self.planned)

    @property
    def todo(self) -> list[PlannedRun]:
        """Runs that ``reproduce`` would start."""
        return [planned for planned in self.planned if planned.todo]

    @property
    def missing(self) -> int:
        """Number of runs neither finished nor in progress."""
        return len(self.planned) - self.done - self.active

    @property
    def active(self) -> int:
        """Number of runs in progress or queued."""
        return sum(planned.run.state.name in ACTIVE for planned in self.planned)

    def seconds(self, cost: Cost) -> float:
        """Return the computing time of the runs that are left."""
        left = [planned for planned in self.todo if planned.run.state.name != "done"]
        return sum(
            cost.seconds(max(0, planned.config.effective_epochs - (planned.run.status.epoch or 0)))
            for planned in left
        )


def plan_cells(cells: Sequence[Cell]) -> list[CellPlan]:
    """Return the plans of some cells; a cluster's queue is queried once."""
    configs = [run.config for cell in cells for run in cell.runs]
    labels = [[f"experiment={cell.name}", f"seed={r.seed}"] for cell in cells for r in cell.runs]
    runs = {planned.run.folder.path: planned for planned in make_plan(configs, labels)}
    return [CellPlan(cell, [runs[run.folder.path] for run in cell.runs]) for cell in cells]


def plan_table(plans: Sequence[CellPlan], costs: Mapping[str, Cost]) -> str:
    """Return the plans as text, a line per cell; then the reasons for unknown hours."""
    rows: list[tuple[str, ...]] = [HEADER]
    problems: dict[str, list[str]] = {}
    for cell_plan in plans:
        name, cost = cell_plan.cell.name, costs.get(cell_plan.cell.name)
        if cost is not None and cost.problem:
            problems.setdefault(cost.problem, []).append(name)
            cost = None
        rows.append(
            (
                name,
                *map(
                    str,
                    (len(cell_plan.planned), cell_plan.done, cell_plan.active, cell_plan.missing),
                ),
                f"{cost.step:.2g}" if cost and cost.step else "-",
                f"{cost.epoch:.3g}" if cost else "-",
                f"{cell_plan.seconds(cost) / 3600:.2g}" if cost else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for row in rows:
        texts = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *texts]))
    lines += [f"no hours of {', '.join(names)}: {why}" for why, names in problems.items()]
    return "\n".join(lines)


def hours(plans: Sequence[CellPlan], costs: Mapping[str, Cost]) -> tuple[float, int, int]:
    """Return the hours left, the number of runs they cover, and of runs whose cost is unknown."""
    seconds, known, unknown = 0.0, 0, 0
    for cell_plan in plans:
        cost = costs.get(cell_plan.cell.name)
        if cost is None or cost.problem:
            unknown += len(cell_plan.todo)
        else:
            seconds += cell_plan.seconds(cost)
            known += len(cell_plan.todo)
    return seconds / 3600, known, unknown
