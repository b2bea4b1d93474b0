"""Starting again, from the folders alone, what did not come to its end."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bnnrepro.config.stored import Targets, check_stored, offered_targets
from bnnrepro.errors import UserError
from bnnrepro.launch import submission
from bnnrepro.launch.launchers import check_recorded, launcher_keys, make_submitter
from bnnrepro.launch.launching import Submitter
from bnnrepro.launch.plan import Planned, folder_of
from bnnrepro.launch.wait import reason
from bnnrepro.runs.liveness import ACTIVE
from bnnrepro.runs.query import Run
from bnnrepro.runs.stored_config import read_config

LEFT = ("failed", "stale", "interrupted", "damaged")
"""The states that are started again."""


def retry(
    runs: Sequence[Run],
    overrides: Sequence[str],
    *,
    detach: bool = False,
    words: Sequence[str] = (),
    config_dir: str | None = None,
) -> int:
    """Start again what failed, was interrupted, or is gone; return the exit code.

    A run goes where it was submitted to last, and one that never was to this machine's processes.

    Args:
        runs: with their states set by ``look_up``.
        overrides: another launcher for all, and its keys: ``hydra/launcher=local``.
        detach: return once they are submitted.
        words: all of the command line, which may offer a ``_target_``.
        config_dir: a folder of config files searched before ``conf/``.
    """
    targets = offered_targets(config_dir, words)
    read: dict[str, str | None] = {}  # data known by content are read once for all runs
    stopped_runs = [run for run in runs if run.state.name in LEFT]
    left = [each for run in stopped_runs if (each := _planned(run, targets, read))]
    for each in left:
        if reason(each) is None:
            stopped = f"stopped where it should, stop_after={each.config.stop_after}"
            print(f"left alone: {each.run.name}: {stopped}", file=sys.stderr)
    left = [each for each in left if reason(each) is not None]
    if not left:
        waiting = sum(run.state.name in ACTIVE for run in runs)
        among = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
        print(f"nothing to retry among {among}, {waiting} of them queued or running")
        return 0
    groups = _groups(left, _chosen(overrides, config_dir) if overrides else None, config_dir)
    if detach and any(submitter.kind == "local" for submitter, _ in groups):
        raise UserError("--detach", "", "serves a cluster; some of these go to this machine")
    for submitter, planned in groups:
        submitter.detach = detach or submitter.kind == "slurm"
        submitter.start(planned)
    if detach:
        return 0
    for submitter, planned in groups:
        if submitter.kind == "slurm":
            submitter.wait(planned)
    failed = [each for submitter, planned in groups for each in submitter.tell(planned)]
    for planned_run, why in failed:
        print(f"failed: {planned_run.label}: {' '.join(why.split())}", file=sys.stderr)
    return 1 if failed else 0


def _planned(run: Run, targets: Targets, fingerprints: dict[str, str | None]) -> Planned | None:
    try:
        config = check_stored(read_config(run.folder.config), targets)
        config = replace(
            config, out=str(run.folder.path.parents[3]), on_failed="retry", on_done="skip"
        )
        if folder_of(config, fingerprints).path.name != run.folder.path.name:
            raise UserError(
                "config",
                str(run.folder.config),
                "is not what the folder's name says, or the data changed",
            )
    except UserError as error:
        print(f"left alone: {run.name}: {error}", file=sys.stderr)
        return None
    return Planned(config, [], run)


def _groups(
    planned: Sequence[Planned], chosen: dict[str, Any] | None, config_dir: str | None
) -> list[tuple[Submitter, list[Planned]]]:
    """Return the runs by what starts them; SLURM first, since nobody has to wait for it."""
    found: dict[str, tuple[dict[str, Any], list[Planned]]] = {}
    last = cache(_last)  # once a sweep, not once a run
    for each in planned:
        before = chosen or last(submission.folder_of(each.run), config_dir)
        values = before or launcher_keys(["hydra/launcher=local"])
        found.setdefault(repr(sorted(values.items(), key=str)), (values, []))[1].append(each)
    groups = [(make_submitter(values), members) for values, members in found.values()]
    return sorted(groups, key=lambda group: group[0].kind != "slurm")


def _last(folder: Path | None, config_dir: str | None) -> dict[str, Any] | None:
    """Return the launcher of a sweep's record, None without a sweep."""
    if folder is None:
        return None
    values = submission.read(folder).launcher
    check_recorded(values, config_dir)
    return values


def _chosen(overrides: Sequence[str], config_dir: str | None) -> dict[str, Any]:
    for each in overrides:
        key = each.lstrip("+").partition("=")[0]
        if not key.replace("/", ".").startswith(("hydra.launcher", "cluster")):
            allowed = "only a launcher may be chosen: cluster=…, hydra/launcher=…, hydra.launcher.…"
            raise UserError("override", each, allowed)
    return launcher_keys(overrides, config_dir)
