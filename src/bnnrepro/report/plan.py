"""The plan of a table or figure: its cells, what is done, what is missing, what that costs here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bnnrepro.launch.plan import PlannedRun, make_plan
from bnnrepro.report.cells import Cell
from bnnrepro.report.costs import Cost

HEAD = ("cell", "runs", "done", "at work", "missing", "s/step", "s/epoch", "hours")


@dataclass(frozen=True)
class Outlined:
    """A cell with how its runs stand."""

    cell: Cell
    planned: list[PlannedRun]

    @property
    def done(self) -> int:
        """Runs that have their result."""
        return sum(each.run.state.name == "done" for each in self.planned)

    @property
    def todo(self) -> list[PlannedRun]:
        """Runs that a start would start."""
        return [each for each in self.planned if each.todo]

    @property
    def missing(self) -> int:
        """Runs that have no result and that nobody is at."""
        return len(self.planned) - self.done - self.at_work

    @property
    def at_work(self) -> int:
        """Runs that a process or job is at, or will be."""
        return sum(each.run.state.name in ("running", "queued") for each in self.planned)

    def seconds(self, cost: Cost) -> float:
        """Return what is left to compute."""
        left = [each for each in self.todo if each.run.state.name != "done"]
        return sum(
            cost.of(max(0, each.config.effective_epochs - (each.run.status.epoch or 0)))
            for each in left
        )


def outline(cells: Sequence[Cell]) -> list[Outlined]:
    """Return how the runs of cells stand; the queue of a cluster is asked once."""
    configs = [run.config for cell in cells for run in cell.runs]
    labels = [[f"experiment={cell.name}", f"seed={r.seed}"] for cell in cells for r in cell.runs]
    runs = {each.run.folder.path: each for each in make_plan(configs, labels)}
    return [Outlined(cell, [runs[run.folder.path] for run in cell.runs]) for cell in cells]


def table(outlined: Sequence[Outlined], costs: Mapping[str, Cost]) -> str:
    """Return the plan, a line a cell; then why some cells have no hours."""
    rows: list[tuple[str, ...]] = [HEAD]
    problems: dict[str, list[str]] = {}
    for each in outlined:
        cost = costs.get(each.cell.name)
        known = cost if cost is not None and not cost.problem else None
        if cost is not None and cost.problem:
            problems.setdefault(cost.problem, []).append(each.cell.name)
        rows.append(
            (
                each.cell.name,
                *map(str, (len(each.planned), each.done, each.at_work, each.missing)),
                f"{known.step:.2g}" if known and known.step else "-",
                f"{known.epoch:.3g}" if known else "-",
                f"{each.seconds(known) / 3600:.2g}" if known else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join([*lines, *(_no_hours(*each) for each in problems.items())])


def _no_hours(problem: str, names: Sequence[str]) -> str:
    return f"no hours of {', '.join(names)}: {problem}"


def hours(outlined: Sequence[Outlined], costs: Mapping[str, Cost]) -> tuple[float, int, int]:
    """Return the hours of what is left, of how many runs, and how many more have no hours."""
    seconds, known, unknown = 0.0, 0, 0
    for each in outlined:
        cost = costs.get(each.cell.name)
        if cost is None or cost.problem:
            unknown += len(each.todo)
        else:
            seconds += each.seconds(cost)
            known += len(each.todo)
    return seconds / 3600, known, unknown
