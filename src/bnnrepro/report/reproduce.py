"""From nothing to a table or a figure: plan, question, sweep, report."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from bnnrepro.config.compose import hydra_session
from bnnrepro.errors import UserError, nearest
from bnnrepro.launch.launchers import launcher_keys, make_submitter
from bnnrepro.launch.local_jobs import LocalJobs, visible_gpus
from bnnrepro.launch.submitter import Submitter
from bnnrepro.report import plan as outline
from bnnrepro.report.cells import Cell, cells
from bnnrepro.report.costs import Cost, costs
from bnnrepro.screen import printable

SEEDS: Mapping[str, int] = {"paper": 5, "quick": 2}
"""Seeds of a preset unless another number is asked for; 1 of any other."""

MOST_SEEDS = 1000

RUNS_PER_JOB: Mapping[str, int] = {"smoke": 5}
"""Runs that share a process, where starting it takes longer than they do."""

LAUNCHERS = ("local", "slurm")


@dataclass(frozen=True)
class Wish:
    """What is to be reproduced, and how.

    Attributes:
        kind: ``table`` or ``figure``.
        name: the paper's number, or a figure's own name.
        starts: what is missing is run; else only what is there is reported.
        preset: how much of the protocol is run.
        seeds: runs of a cell; None: the preset's number.
        launcher: ``local`` or ``slurm``; None: what ``cluster=`` brings, else this machine.
        overrides: Hydra's, such as change no run's numbers.
        yes: questions are answered.
        detach: return once the runs are submitted.
        plan: show the plan alone; nothing is started or written.
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

    @property
    def label(self) -> str:
        """What it is, in words."""
        return f"{self.kind} {self.name}"


def reproduce(wish: Wish) -> int:
    """Run what is missing of a table or figure, then report; return the exit code.

    Raises:
        UserError: the wish is not allowed, or a question needs an answer and nobody can give it.
    """
    chosen, wanted = _launcher_words(wish), wanted_cells(wish)
    first = f"experiment={wanted[0].name}"  # whose keys the overrides may name
    submitter = make_submitter(launcher_keys([first, *chosen, *wish.overrides]))
    submitter.check()
    outlined = outline.outline(wanted)
    left = [each for each in outlined if each.todo]
    known = costs([each.cell for each in left], _threads(submitter)) if left else {}
    print(f"{wish.label}, preset {wish.preset}, seeds 0 to {len(wanted[0].runs) - 1}")
    print(outline.table(outlined, known))
    print(_summary(outlined, known, submitter), flush=True)
    if wish.plan:
        return 0
    if left and wish.preset == "paper" and not _gpu_here(wanted):
        _ask(wish, outline.hours(outlined, known))
    code = 0
    if left or any(each.at_work for each in outlined):
        code = _start(wish, _sweep(wish, wanted, chosen))
        if code not in (0, 1):
            return code
    if wish.detach:
        print(f"once runs are done: bnnrepro {wish.label} --preset {wish.preset}")
        return code
    _report(wish, wanted)
    return code


def report(wish: Wish) -> int:
    """Make the report of what is there, and start nothing."""
    _report(wish, wanted_cells(wish))
    return 0


def wanted_cells(wish: Wish) -> list[Cell]:
    """Return the cells of a table or figure, with the runs that the wish asks for.

    Raises:
        UserError: the wish is not allowed.
    """
    wanted = _found(wish)
    seeds = wish.seeds
    if seeds is None:
        whole = getattr(wanted, "seeds", SEEDS["paper"])
        seeds = whole if wish.preset == "paper" else SEEDS.get(wish.preset, 1)
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError("seeds", seeds, f"must be a whole number from 1 to {MOST_SEEDS}")
    return cells(
        wanted.cells,
        preset=wish.preset,
        seeds=seeds,
        out="multirun",
        overrides=[*_launcher_words(wish), *wish.overrides],
    )


def _found(wish: Wish) -> Any:
    """Return the table or figure of a name."""
    module, register = {
        "table": ("bnnrepro.report.tables", "TABLES"),
        "figure": ("bnnrepro.report.figures", "FIGURES"),
    }[wish.kind]
    known: Mapping[str, Any] = getattr(import_module(module), register)
    if wish.name not in known:
        allowed = f"must be one of {', '.join(known)}{nearest(wish.name, known)}"
        raise UserError(wish.kind, wish.name, allowed)
    return known[wish.name]


def _launcher_words(wish: Wish) -> list[str]:
    """Return the overrides that choose the launcher."""
    clusters = [each for each in wish.overrides if each.lstrip("+").startswith("cluster=")]
    if wish.launcher not in (None, *LAUNCHERS):
        allowed = f"must be one of {', '.join(LAUNCHERS)}{nearest(str(wish.launcher), LAUNCHERS)}"
        raise UserError("launcher", wish.launcher, allowed)
    if clusters and wish.launcher == "local":
        raise UserError("launcher", "local", f"contradicts {clusters[0]}, which chooses slurm")
    given = any(each.startswith("hydra/launcher=") for each in wish.overrides)
    if clusters or (given and wish.launcher is None):
        return []
    return [f"hydra/launcher={wish.launcher or 'local'}"]


def _threads(submitter: Submitter) -> int | None:
    return submitter.threads if isinstance(submitter, LocalJobs) else None


def _gpu_here(wanted: Sequence[Cell]) -> bool:
    device = wanted[0].runs[0].config.device
    return device.startswith("cuda") or (device == "auto" and bool(visible_gpus()))


def _summary(
    outlined: Sequence[outline.Outlined], known: Mapping[str, Cost], submitter: Submitter
) -> str:
    total, counted, unknown = outline.hours(outlined, known)
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
        return " on a machine like this one, which was measured; the cluster's may differ"
    together = f", {_in_words(total / submitter.slots)} with {submitter.slots} at a time"
    cores = os.cpu_count() or 1
    return f" on this machine ({cores} cores){together if submitter.slots > 1 else ''}"


def _in_words(hours: float) -> str:
    if hours >= 48:
        return f"{hours:,.0f} hours ({hours / 24:.0f} days)"
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _ask(wish: Wish, left: tuple[float, int, int]) -> None:
    """Go on only if somebody says so.

    Raises:
        UserError: nobody can be asked.
        SystemExit: the answer is no.
    """
    if wish.yes:
        return
    hours, counted, unknown = left
    cost = f"{counted} runs, about {_in_words(hours)}" if counted else "none measured"
    more = f" and {unknown} of unknown cost" if unknown else ""
    if not sys.stdin.isatty():
        allowed = (
            f"the whole protocol without a GPU ({cost}{more}) needs a yes, and there is no terminal"
            " to ask at: YES=1 or --yes, or PRESET=quick"
        )
        raise UserError("preset", wish.preset, allowed)
    question = f"This machine has no GPU: {cost}{more}. Start the whole protocol? [y/N] "
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        print("nothing was started")
        raise SystemExit(0)


def _sweep(wish: Wish, wanted: Sequence[Cell], chosen: Sequence[str]) -> list[str]:
    """Return the sweep's line; seeds go outside, so that a first whole table is there early."""
    seeds = len(wanted[0].runs)
    return [
        f"seed=range({seeds})" if seeds > 1 else "seed=0",
        f"experiment={','.join(cell.name for cell in wanted)}",
        f"preset={wish.preset}",
        f"runs_per_job={RUNS_PER_JOB.get(wish.preset, 1)}",
        *chosen,
        *wish.overrides,
    ]


def _start(wish: Wish, overrides: Sequence[str]) -> int:
    from bnnrepro.launch.sweep import SweepLine, sweep

    with hydra_session() as hydra:
        return sweep(hydra, SweepLine(tuple(overrides)), detach=wish.detach)


def _report(wish: Wish, wanted: Sequence[Cell]) -> None:
    from bnnrepro.report.collect import collect
    from bnnrepro.report.render.layout import told, unused_of

    collected = collect(wanted)
    place = Path(wanted[0].runs[0].config.out) / ".tables"
    if wish.kind == "table":
        from bnnrepro.report.render import text, write_table

        files = write_table(_found(wish), collected, place / f"{wish.name}_{wish.preset}")
        print(text(_found(wish), collected))
    else:
        folder = place / f"figure{wish.name.removeprefix('figure')}_{wish.preset}"
        files = _found(wish).draw(collected, folder)
        for line in told([issue for each in collected for issue in unused_of(each)]):
            print(printable(f"not in the figure: {line}"))
    for file in files:
        print(f"{wish.kind}: {file}")
