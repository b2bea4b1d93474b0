"""Reproduce a table or figure from nothing: plan, question, sweep, report."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bnnrepro.config.compose import hydra_session
from bnnrepro.errors import UserError, nearest
from bnnrepro.launch.costs import Cost, measured_costs
from bnnrepro.launch.launchers import launcher_keys, make_submitter
from bnnrepro.launch.local_jobs import LocalJobs, visible_gpus
from bnnrepro.launch.submitter import Submitter
from bnnrepro.report.cells import Cell, cells
from bnnrepro.report.figures import FIGURES, Figure
from bnnrepro.report.found import found_in
from bnnrepro.report.plan import Plans, hours, plan_cells, plan_table
from bnnrepro.report.tables import Table, table_of_sweep, tables, tables_of_sweeps
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.screen import confirmed, printable

SEEDS: Mapping[str, int] = {"paper": 5, "quick": 2}
"""Default number of seeds by preset; 1 for any other."""

MAX_SEEDS = 1000

RUNS_PER_JOB: Mapping[str, int] = {"smoke": 5}
"""Runs that share a process, at presets where starting a process takes longer than a run."""

LAUNCHERS = ("local", "slurm")


@dataclass(frozen=True)
class Request:
    """A table or figure to reproduce or report, with options.

    Attributes:
        kind: ``table`` or ``figure``.
        name: the paper's number, or a figure's own name.
        starts: run what is missing; else report finished runs only.
        preset: the part of the protocol that is run.
        seeds: runs of a cell; None: the preset's number.
        launcher: ``local`` or ``slurm``; None: slurm with ``cluster=``, else local.
        overrides: Hydra's, which change no run's numbers.
        yes: answer questions with yes.
        detach: return once the runs are submitted.
        plan: only show the plan; start and write nothing.
        only: of the cells those with these values, ``mnist,ste``; empty: all.
        source: a folder whose runs, of any version, are reported; None: this version's runs.
    """

    kind: str
    name: str
    starts: bool = False
    preset: str = "paper"
    seeds: int | None = None
    launcher: str | None = None
    overrides: Sequence[str] = field(default_factory=tuple)
    yes: bool = False
    detach: bool = False
    plan: bool = False
    only: str = ""
    source: str | None = None

    @property
    def label(self) -> str:
        """Kind and name: ``table 2``."""
        return f"{self.kind} {self.name}"


def reproduce(request: Request) -> int:
    """Run what is missing of a table or figure, then report; return the exit code.

    Raises:
        UserError: the request is not allowed, or a question needs an answer and nobody can give it.
    """
    launcher, requested = _launcher_overrides(request), requested_cells(request)
    first = requested[0]  # whose keys the overrides may name
    words = [f"sweep={first.sweep}", *first.words, *launcher, *request.overrides]
    submitter = make_submitter(launcher_keys(words))
    submitter.check()
    plans = plan_cells(requested)
    left = {name: runs for name, runs in plans.items() if any(run.todo for run in runs)}
    threads = submitter.threads if isinstance(submitter, LocalJobs) else None
    known = measured_costs(left, threads)
    print(f"{request.label}, preset {request.preset}, seeds 0 to {len(requested[0].runs) - 1}")
    print(plan_table(plans, known))
    print(_summary(plans, known, submitter), flush=True)
    if request.plan:
        return 0
    if left and request.preset == "paper" and not _gpu_here(requested):
        _ask(request, *hours(plans, known))
    code = 0
    if left or any(run.run.state.name in ACTIVE for runs in plans.values() for run in runs):
        code = _start(request, _sweep(request, requested, launcher))
        if code not in (0, 1):
            return code
    if request.detach:
        print(f"once runs are done: bnnrepro {request.label} --preset {request.preset}")
        return code
    _report(request, requested)
    return code


def report(request: Request) -> int:
    """Report the finished runs, and start nothing."""
    _report(request, requested_cells(request))
    return 0


def requested_cells(request: Request) -> list[Cell]:
    """Return the cells of a table or figure, with the requested runs.

    Raises:
        UserError: the request is not allowed.
    """
    target = _target(request)
    if request.source is not None and not request.source.strip():
        raise UserError("--from", request.source, "must be the path of a folder")
    seeds = request.seeds
    if seeds is None:
        full = getattr(target, "seeds", SEEDS["paper"])
        seeds = full if request.preset == "paper" else SEEDS.get(request.preset, 1)
    if not 1 <= seeds <= MAX_SEEDS:
        raise UserError("seeds", seeds, f"must be a whole number from 1 to {MAX_SEEDS}")
    found = cells(
        target.sweep,
        where=getattr(target, "where", None),
        preset=request.preset,
        seeds=seeds,
        out="multirun",
        overrides=[*_launcher_overrides(request), *request.overrides],
    )
    return _only(found, request.only.split(",")) if request.only else found


def _only(found: Sequence[Cell], wanted: Sequence[str]) -> list[Cell]:
    """Return the cells with one of the wanted values of each key that has any."""
    facts = [{"dataset": cell.dataset, "method": cell.method, **cell.choices} for cell in found]
    values = {key: {fact[key] for fact in facts} for key in facts[0]}
    chosen: dict[str, set[str]] = {}
    for word in wanted:
        key = next((key for key in values if word in values[key]), None)
        if key is None:
            known = [value for key in values for value in sorted(values[key])]
            raise UserError(
                "--only", word, f"must be among {', '.join(known)}{nearest(word, known)}"
            )
        chosen.setdefault(key, set()).add(word)
    pairs = zip(found, facts, strict=True)
    kept = [cell for cell, fact in pairs if all(fact[key] in chosen[key] for key in chosen)]
    if not kept:
        raise UserError("--only", ",".join(wanted), "no cell has all of these")
    return kept


def _target(request: Request) -> Table | Figure:
    """Return the requested table or figure."""
    targets: Mapping[str, Table | Figure] = tables() if request.kind == "table" else FIGURES
    own = table_of_sweep(request.name) if request.kind == "table" else None
    if request.name not in targets and own is not None:
        return own
    if request.name not in targets:
        names = [*targets, *(tables_of_sweeps() if request.kind == "table" else ())]
        allowed = f"must be one of {', '.join(names)}{nearest(request.name, names)}"
        raise UserError(request.kind, request.name, allowed)
    return targets[request.name]


def _launcher_overrides(request: Request) -> list[str]:
    """Return the overrides that choose the launcher."""
    clusters = [word for word in request.overrides if word.lstrip("+").startswith("cluster=")]
    if request.launcher not in (None, *LAUNCHERS):
        allowed = (
            f"must be one of {', '.join(LAUNCHERS)}{nearest(str(request.launcher), LAUNCHERS)}"
        )
        raise UserError("launcher", request.launcher, allowed)
    if clusters and request.launcher == "local":
        raise UserError("launcher", "local", f"contradicts {clusters[0]}, which chooses slurm")
    given = any(word.startswith("hydra/launcher=") for word in request.overrides)
    if clusters or (given and request.launcher is None):
        return []
    return [f"hydra/launcher={request.launcher or 'local'}"]


def _gpu_here(requested: Sequence[Cell]) -> bool:
    device = requested[0].runs[0].config.device
    return device.startswith("cuda") or (device == "auto" and bool(visible_gpus()))


def _summary(plans: Plans, known: Mapping[str, Cost], submitter: Submitter) -> str:
    total, counted, unknown = hours(plans, known)
    if not counted and not unknown:
        return "nothing is left to start"
    parts = []
    if counted:
        parts.append(f"{counted} runs to start, about {_in_words(total)} of computing")
        parts[0] += _where(submitter, total)
    if unknown:
        parts.append(f"{unknown} runs whose cost is not known (they are started, and may fail)")
    return "; ".join(parts)


def _where(submitter: Submitter, total: float) -> str:
    if not isinstance(submitter, LocalJobs):
        return " as measured on this machine; the cluster's may differ"
    together = f", {_in_words(total / submitter.slots)} with {submitter.slots} at a time"
    cores = os.cpu_count() or 1
    return f" on this machine ({cores} cores){together if submitter.slots > 1 else ''}"


def _in_words(hours: float) -> str:
    if hours >= 48:
        return f"{hours:,.0f} hours ({hours / 24:.0f} days)"
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _ask(request: Request, total: float, counted: int, unknown: int) -> None:
    """Ask for confirmation.

    Raises:
        UserError: there is no terminal to ask at.
        SystemExit: the answer is no.
    """
    if request.yes:
        return
    cost = f"{counted} runs, about {_in_words(total)}" if counted else "none measured"
    more = f" and {unknown} of unknown cost" if unknown else ""
    if not sys.stdin.isatty():
        allowed = (
            f"the whole protocol without a GPU ({cost}{more}) needs a yes, and there is no terminal"
            " to ask at: YES=1 or --yes, or PRESET=quick"
        )
        raise UserError("preset", request.preset, allowed)
    question = f"This machine has no GPU: {cost}{more}. Start the whole protocol?"
    if not confirmed(question):
        print("nothing was started")
        raise SystemExit(0)


def _sweep(request: Request, requested: Sequence[Cell], launcher: Sequence[str]) -> list[str]:
    """Return the sweep's overrides; seeds vary slowest, so that a whole table is there early."""
    seeds = len(requested[0].runs)
    where: dict[str, Sequence[str]] = dict(getattr(_target(request), "where", None) or {})
    if request.only:
        keys = requested[0].choices
        where = {key: [*dict.fromkeys(cell.choices[key] for cell in requested)] for key in keys}
    return [
        f"sweep={requested[0].sweep}",
        *(f"{key}={','.join(values)}" for key, values in where.items()),
        f"seed=range({seeds})" if seeds > 1 else "seed=0",
        f"preset={request.preset}",
        f"hydra.launcher.runs_per_job={RUNS_PER_JOB.get(request.preset, 1)}",
        *launcher,
        *request.overrides,
    ]


def _start(request: Request, overrides: Sequence[str]) -> int:
    from bnnrepro.launch.sweep import SweepLine, sweep

    with hydra_session() as hydra:
        return sweep(hydra, SweepLine(tuple(overrides)), detach=request.detach)


def _report(request: Request, requested: Sequence[Cell]) -> None:
    from bnnrepro.report.collect import collect, issue_lines, issues

    folder = _report_folder(request, requested)
    notes = []
    if request.source is not None:
        found = found_in(Path(request.source), requested)
        requested, notes = found.cells, found.notes
    target, collected = _target(request), collect(requested)
    if isinstance(target, Table):
        from bnnrepro.report.render.document import terminal, write
        from bnnrepro.report.table_report import document

        names = {cell.name for cell in requested}
        if request.only:
            kept = tuple(entry for entry in target.entries if entry.cell in names)
            target = replace(target, entries=kept)
        content = document(target, collected)
        if request.source is not None:
            content = replace(content, about=f"{content.about} Runs found in {request.source}.")
        files = _written(folder, lambda: write(content, folder))
        print(terminal(content))
    else:
        files = _written(folder, lambda: target.plot(collected, folder))
        for line in issue_lines(issues(collected)):
            print(printable(f"not in the figure: {line}"))
    for note in notes:
        print(printable(f"note: {note}"))
    for file in files:
        print(f"{request.kind}: {file}")


def _report_folder(request: Request, requested: Sequence[Cell]) -> Path:
    """Return the folder of a report; it need not exist."""
    name = request.name
    if request.kind == "figure" or name.isdecimal():
        name = f"{request.kind}{name}"
    part = f"_{request.only.replace(',', '_')}" if request.only else ""
    source = "" if request.source is None else f"_from_{Path(request.source).resolve().name}"
    reports = Path(requested[0].runs[0].config.out).parent / "reports"
    return reports / f"{name}_{request.preset}{part}{source}"


def _written(folder: Path, write: Callable[[], list[Path]]) -> list[Path]:
    """Return the files that a function writes into a folder.

    Raises:
        UserError: it cannot be written.
    """
    try:
        return write()
    except OSError as error:
        allowed = f"must be a folder that can be written ({error.strerror}: {folder})"
        raise UserError("out", str(folder.parent), allowed) from error
