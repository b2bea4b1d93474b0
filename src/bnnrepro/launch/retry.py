"""Restart, from their folders alone, runs that did not finish."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bnnrepro.config.stored import Targets, check_stored, offered_targets
from bnnrepro.errors import UserError
from bnnrepro.launch.launchers import check_recorded, launcher_keys, make_submitter
from bnnrepro.launch.plan import PlannedRun, run_folder_of
from bnnrepro.launch.submission import Submission, submission_folder
from bnnrepro.launch.submitter import Submitter
from bnnrepro.launch.wait import reason
from bnnrepro.runs.liveness import ACTIVE, PRUNED
from bnnrepro.runs.query import Run
from bnnrepro.runs.stored_config import read_config

RETRIED = ("failed", "stale", "interrupted", "damaged")
"""The states that are restarted."""


def retry(
    runs: Sequence[Run],
    overrides: Sequence[str],
    *,
    detach: bool = False,
    words: Sequence[str] = (),
    config_dir: str | None = None,
) -> int:
    """Restart runs that failed, were interrupted, or whose process is gone; return the exit code.

    A run is started by the launcher that it was last submitted with, or else by the local one.

    Args:
        runs: with their states set by ``update_states``.
        overrides: another launcher for all, with its keys: ``hydra/launcher=local``.
        detach: return once they are submitted.
        words: of the whole command line, which may allow a ``_target_``.
        config_dir: a folder of config files searched before ``conf/``.
    """
    targets = offered_targets(config_dir, words)
    fingerprints: dict[str, str | None] = {}  # data given by a path are read once for all runs
    stopped = [run for run in runs if run.state.name in RETRIED]
    pruned = [run for run in stopped if run.state.note.startswith(PRUNED)]
    for run in pruned:
        print(f"not retried: {run.name}: {run.state.note}", file=sys.stderr)
    stopped = [run for run in stopped if run not in pruned]
    plan = [planned for run in stopped if (planned := _plan_again(run, targets, fingerprints))]
    for planned in plan:
        if reason(planned) is None:
            limit = f"stopped as configured, stop_after={planned.config.stop_after}"
            print(f"not retried: {planned.run.name}: {limit}", file=sys.stderr)
    plan = [planned for planned in plan if reason(planned) is not None]
    if not plan:
        waiting = sum(run.state.name in ACTIVE for run in runs)
        among = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
        print(f"nothing to retry among {among}, {waiting} of them queued or running")
        return 0
    groups = _groups(
        plan, _chosen_launcher(overrides, config_dir) if overrides else None, config_dir
    )
    if detach and any(submitter.kind == "local" for submitter, _ in groups):
        raise UserError("--detach", "", "needs a cluster; some of these runs start on this machine")
    for submitter, members in groups:
        submitter.detach = detach or submitter.kind == "slurm"
        submitter.start(members)
    if detach:
        return 0
    for submitter, members in groups:
        if submitter.kind == "slurm":
            submitter.wait(members)
    failed = [pair for submitter, members in groups for pair in submitter.unfinished(members)]
    for planned, why in failed:
        print(f"failed: {planned.label}: {' '.join(why.split())}", file=sys.stderr)
    return 1 if failed else 0


def _plan_again(
    run: Run, targets: Targets, fingerprints: dict[str, str | None]
) -> PlannedRun | None:
    try:
        config = check_stored(read_config(run.folder.config), targets)
        config = replace(
            config, out=str(run.folder.path.parents[3]), on_failed="retry", on_done="skip"
        )
        if run_folder_of(config, fingerprints).path.name != run.folder.path.name:
            raise UserError(
                "config",
                str(run.folder.config),
                "does not match the folder's name, or the data changed",
            )
    except UserError as error:
        print(f"not retried: {run.name}: {error}", file=sys.stderr)
        return None
    return PlannedRun(config, [], run)


def _groups(
    plan: Sequence[PlannedRun], chosen: dict[str, Any] | None, config_dir: str | None
) -> list[tuple[Submitter, list[PlannedRun]]]:
    """Group runs by their launcher; SLURM comes first, since it needs no waiting."""
    by_launcher: dict[str, tuple[dict[str, Any], list[PlannedRun]]] = {}
    last = cache(_last_launcher)  # once per sweep, not once per run
    for planned in plan:
        recorded = chosen or last(submission_folder(planned.run), config_dir)
        values = recorded or launcher_keys(["hydra/launcher=local"])
        key = repr(sorted(values.items(), key=str))
        by_launcher.setdefault(key, (values, []))[1].append(planned)
    groups = [(make_submitter(values), members) for values, members in by_launcher.values()]
    return sorted(groups, key=lambda group: group[0].kind != "slurm")


def _last_launcher(folder: Path | None, config_dir: str | None) -> dict[str, Any] | None:
    """Return the launcher of a sweep's record, None without a sweep."""
    if folder is None:
        return None
    values = Submission.read(folder).launcher
    check_recorded(values, config_dir)
    return values


def _chosen_launcher(overrides: Sequence[str], config_dir: str | None) -> dict[str, Any]:
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if not key.replace("/", ".").startswith(("hydra.launcher", "cluster")):
            allowed = "only a launcher may be chosen: cluster=…, hydra/launcher=…, hydra.launcher.…"
            raise UserError("override", override, allowed)
    return launcher_keys(overrides, config_dir)
