"""A search: Optuna asks for settings, a launcher runs them, Optuna is told the figure.

``study.db`` in the search's folder, ``<out>/.hydra/search-<hash>/``, holds every trial. The hash is
that of the fixed settings, the space and the objective, so that the same command, after whatever
end, continues: trials that had been asked for are waited for, or started again, and resume from
their checkpoints. How many trials there are, how many at a time, sampler and pruner may change.
"""

import math
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from optuna.distributions import distribution_to_json
from optuna.trial import TrialState

from bnnrepro.config import Config
from bnnrepro.config.compose import load
from bnnrepro.config.validation import check
from bnnrepro.constraints import build
from bnnrepro.errors import RunFailedError, UserError
from bnnrepro.launch.cancel import cancel
from bnnrepro.launch.launchers import keys_of, make_submitter
from bnnrepro.launch.plan import PlannedRun, make_plan, refresh
from bnnrepro.launch.search_space import (
    KEY,
    Objective,
    Space,
    corners,
    label,
    pruner_of,
    sampler_of,
    space_of,
    words,
)
from bnnrepro.launch.settings import Search
from bnnrepro.launch.signals import terminated_as_interrupted
from bnnrepro.launch.submission import SCRATCH, Submission
from bnnrepro.launch.submitter import Submitter, shown, submitting
from bnnrepro.launch.sweep_points import Points, merged
from bnnrepro.launch.wait import GRACE, reason
from bnnrepro.runs import lock, status
from bnnrepro.runs.liveness import ACTIVE, PRUNED
from bnnrepro.runs.results import read_columns
from bnnrepro.runs.signature import signature
from bnnrepro.runs.stored_config import settings_of
from bnnrepro.screen import printable

_ONE_BY_ONE = {"kind": "local", "name": "local", "processes": 1, "threads": None}
_ONE_BY_ONE |= {"gpus": None, "runs_per_gpu": 1}
_LONGEST = {"local": 1.0, "slurm": 10.0}  # seconds between two looks at the runs
SEEDS = 5  # of the line that reruns the best settings


@dataclass
class _Trial:
    """A trial in progress, its run, and the epoch after which it was pruned."""

    trial: optuna.Trial
    planned: PlannedRun
    pruned: int | None = None
    quiet_since: float | None = None


def search(sweeper: Any, arguments: Sequence[str]) -> None:
    """Search as ``hydra.sweeper`` says, until it has so many trials; print the best.

    Args:
        sweeper: Hydra's, which was set up.
        arguments: the overrides of all trials, and the space.

    Raises:
        UserError: a setting is not allowed; nothing was started, nothing is left behind.
        RunFailedError: no trial has a value.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    loader, master = sweeper.hydra_context.config_loader, sweeper.config
    settings = build(KEY, sweeper.keys, Search)
    parser = OverridesParser.create(config_loader=loader)
    overrides = merged(parser, settings.params or {}, arguments)
    space, points = space_of(overrides), Points(loader, master)
    fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
    pruner, sampler = pruner_of(settings), sampler_of(settings, space)
    submitter, at_once = _launcher(master, settings)
    first = points.check([*fixed, *words(values)] for values in corners(space))[0]
    objective = Objective.of(settings, first)
    name = f"search-{_hash(first, space, objective)}"
    with _folder(Path(str(first.out)) / SCRATCH / name) as folder:
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{folder / 'study.db'}",
            sampler=sampler,
            pruner=pruner,
            direction="maximize" if objective.maximize else "minimize",
            load_if_exists=True,
        )
        if study.get_trials(deepcopy=False):
            sampler.reseed_rng()  # else it would draw the first trials once more
        submitter.submission = _submission(folder.absolute(), submitter)
        print(
            f"{name}: {settings.n_trials} trials, {at_once} at a time, {_seen(study)}", flush=True
        )
        work = _Search(study, space, fixed, points, objective, submitter)
        work.run(settings.n_trials, at_once)
        print(_summary(study, objective, shown(folder)))
    best = [*fixed, *words(_best(study).params)]
    line = _rerun(loader, points.compose(best), sweeper.options)
    print(f"the best with {SEEDS} seeds:\n  {line}")


def _hash(first: Config, space: Space, objective: Objective) -> str:
    """Return what names the search: its first settings, with the data's content, space and aim."""
    run = make_plan([first], [[]])[0].run
    searched = {key: distribution_to_json(value) for key, value in space.items()}
    aim = [objective.text, objective.maximize]
    return signature({"first": run.name, "space": searched, "objective": aim})[:8]


def _launcher(master: DictConfig, settings: Search) -> tuple[Submitter, int]:
    """Return the launcher, each trial in a process or job of its own, and the trials at a time."""
    keys = keys_of(master)
    at_once = settings.n_jobs
    if keys["kind"] is None:
        if at_once not in (None, 1):
            allowed = "needs a launcher that runs several at a time: hydra/launcher=local or slurm"
            raise UserError(f"{KEY}.n_jobs", at_once, allowed)
        keys = _ONE_BY_ONE
    if keys["kind"] == "local" and keys["processes"] is None and at_once is not None:
        keys = {**keys, "processes": at_once}
    submitter = make_submitter({**keys, "runs_per_job": 1})
    submitter.check()
    return submitter, at_once or int(getattr(submitter, "slots", 1))


@contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """Make and hold the search's folder.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock.hold(folder))
        except lock.HeldError as error:
            who = error.owner or "another process"
            raise UserError("search", shown(folder), f"is being run by {who} already") from None
        except OSError as error:
            reason = f"must be a folder that can be written ({error.strerror}: {folder})"
            raise UserError("out", str(folder.parents[1]), reason) from error
        yield folder


def _submission(folder: Path, submitter: Submitter) -> Submission:
    launcher = {"kind": submitter.kind, **submitter.settings()}
    fresh = Submission(folder.name, folder, launcher, [], grows=True)
    fresh.stopped.unlink(missing_ok=True)
    with suppress(UserError):  # not there yet
        fresh.earlier.extend(Submission.read(folder).jobs)
    fresh.write()
    return fresh


class _Search:
    """The trials in progress of a study.

    Args:
        study: Optuna's.
        space: the distribution of each key.
        fixed: overrides of all trials.
        points: composes a trial's config.
        objective: the figure told.
        submitter: the launcher; it has a submission that grows.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        fixed: Sequence[str],
        points: Points,
        objective: Objective,
        submitter: Submitter,
    ) -> None:
        self.study, self.space, self.fixed = study, space, fixed
        self.points, self.objective, self.submitter = points, objective, submitter
        self.prunes = not isinstance(study.pruner, optuna.pruners.NopPruner)
        self.active: list[_Trial] = []
        self._exhausted = False

    def run(self, n_trials: int, at_once: int) -> None:
        """Run what is missing of so many trials, so many at a time."""
        pause, longest = 1.0, _LONGEST[self.submitter.kind]
        try:
            with terminated_as_interrupted():
                self._start(self._left())
                while self._fill(n_trials, at_once) or self.active:
                    self.submitter.tick()
                    refresh([each.planned for each in self.active])
                    ended = [each for each in self.active if self._has_ended(each)]
                    for each in ended:
                        self.active.remove(each)
                        self._tell(each)
                    pause = 1.0 if ended else min(1.3 * pause, longest)
                    time.sleep(0 if ended else pause)
        except BaseException as error:
            self.submitter.stop()
            if isinstance(error, KeyboardInterrupt):
                print(f"\n{self.submitter.interrupted()}; the same command continues the search")
            raise

    def _left(self) -> list[optuna.Trial]:
        """Return the trials that the search's end left in progress."""
        left = []
        for each in self.study.get_trials(states=(TrialState.RUNNING,)):
            if each.params.keys() == self.space.keys():
                left.append(optuna.Trial(self.study, each._trial_id))
            else:  # killed while it was asked for: another takes its place
                self.study.tell(each.number, state=TrialState.FAIL)
        return left

    def _fill(self, n_trials: int, at_once: int) -> bool:
        """Ask for trials until enough are in progress or there are enough; return if any began."""
        trials = self.study.get_trials(deepcopy=False)
        asked = sum(trial.params.keys() == self.space.keys() for trial in trials)
        count = min(n_trials - asked, at_once - len(self.active))
        if self._exhausted or count <= 0:
            return False
        self._start([self.study.ask(dict(self.space)) for _ in range(count)])
        return True

    def _start(self, trials: Sequence[optuna.Trial]) -> None:
        """Submit trials, unless their runs are in progress or done already."""
        begun = []
        for trial in trials:
            values = words(trial.params)
            try:
                planned = make_plan(self.points.check([[*self.fixed, *values]]), [values])[0]
            except UserError as error:  # values that exclude each other
                self._told(trial, f"failed: {error}", state=TrialState.FAIL)
                continue
            trial.set_user_attr("run", str(planned.run.folder.path))
            begun.append(_Trial(trial, planned))
        self.active += begun
        plan = [each.planned for each in begun]
        todo: list[PlannedRun] = []
        if any(planned.todo for planned in plan):
            with submitting(Path(plan[0].config.out)):
                todo = self.submitter.submit_left(plan)
        for each in begun:
            what = "submitted" if each.planned in todo else "there already"
            print(f"trial {each.trial.number} {what}: {label(each.trial.params)}", flush=True)

    def _has_ended(self, each: _Trial) -> bool:
        state = each.planned.run.state.name
        if state in ACTIVE:
            each.quiet_since = None
            self._prune(each)
            return False
        if state in ("done", "failed") or each.pruned is not None:
            return True
        now = time.monotonic()
        each.quiet_since = each.quiet_since or now
        return now - each.quiet_since >= GRACE

    def _prune(self, each: _Trial) -> None:
        """Report the new epochs of a trial; stop it if the pruner says so."""
        if not self.prunes or each.pruned is not None:
            return
        columns = read_columns(each.planned.run.folder.metrics) or {}
        if columns and self.objective.column not in columns:
            allowed = f"reads metrics.csv, which has no {self.objective.column}; must be null"
            raise UserError(f"{KEY}.pruner", type(self.study.pruner).__name__, allowed)
        known = self.study.get_trials(deepcopy=False)[each.trial.number].intermediate_values
        for epoch, value in zip(
            columns.get("epoch", ()), columns.get(self.objective.column, ()), strict=True
        ):
            if epoch in known or not math.isfinite(value):
                continue
            each.trial.report(float(value), int(epoch))
            if each.trial.should_prune():
                each.pruned = int(epoch)
                cancel([each.planned.run])
                return

    def _tell(self, each: _Trial) -> None:
        """Tell Optuna how a trial ended.

        Raises:
            UserError: runs like this one do not have the objective.
            RunFailedError: it failed, and ``fail_fast`` is set.
        """
        planned = each.planned
        if planned.run.state.name == "done":
            value = self.objective.value(planned.run)
            text = f"{self.objective.text} {value:.6g}"
            if math.isfinite(value):
                self._told(each.trial, text, values=value)
            else:
                self._told(each.trial, f"failed: {text}", state=TrialState.FAIL)
        elif each.pruned is not None:
            text = f"{PRUNED} {each.pruned}"
            with suppress(OSError, lock.LostError):
                error = f"{text} by {self.study.study_name}"
                status.write(planned.run.folder, "interrupted", error=error)
            self._told(each.trial, text, state=TrialState.PRUNED)
        else:
            why = reason(planned) or "stopped by stop_after"
            self._told(each.trial, why, state=TrialState.FAIL)
            if planned.config.fail_fast:
                raise RunFailedError(f"fail_fast: trial {each.trial.number} {why}")

    def _told(self, trial: optuna.Trial, text: str, **how: Any) -> None:
        try:
            self.study.tell(trial.number, **how)
        except RuntimeError:  # the sampler's list of points has ended: it would stop optimize()
            self._exhausted = True
        print(printable(f"trial {trial.number} {text}: {label(trial.params)}"), flush=True)


def _seen(study: optuna.Study) -> str:
    """Return the number of trials by state, in words."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.params]
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "in progress"}
    count = Counter(names.get(trial.state.name, "waiting") for trial in trials)
    return ", ".join(f"{count[name]} {name}" for name in count) or "none so far"


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    try:
        return study.best_trial
    except ValueError:
        raise RunFailedError(f"{study.study_name}: no trial has a value ({_seen(study)})") from None


def _summary(study: optuna.Study, objective: Objective, folder: str) -> str:
    """Return the best trial, and by each of its settings the importance of the key."""
    best = _best(study)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # too few trials, or all with one value
        shares = {}
    width = max(map(len, words(best.params)))
    lines = [f"{_seen(study)}; {folder}/study.db has them all"]
    lines.append(f"best: trial {best.number}, {objective.text} {best.value:.6g}")
    for key, word in zip(best.params, words(best.params), strict=True):
        share = f"{shares[key]:.2f}" if key in shares else "unknown, of too few trials"
        lines.append(f"  {word:<{width}}  importance {share}")
    return printable("\n".join([*lines, f"its run: {best.user_attrs['run']}"]), lines=True)


def _rerun(loader: Any, cfg: DictConfig, options: Sequence[str]) -> str:
    """Return a command line that composes a config, with several seeds.

    It names the options and keys in which the config differs from the defaults, so that it holds
    without the file of the search.
    """
    wanted = cfg.hydra.runtime.choices
    first = ("experiment", "dataset", "method")  # the others may follow from these
    rest = (key for key in wanted if "/" not in key and key not in (*first, "sweep", "protocol"))
    line: list[str] = []
    composed = load(loader, line)
    for group in (*first, *rest):
        if wanted[group] not in (None, composed.hydra.runtime.choices[group]):
            line.append(f"{group}={wanted[group]}")
            composed = load(loader, line)
    present = settings_of(check(composed).to_dict())
    for key, value in settings_of(check(cfg).to_dict()).items():
        if key != "seed" and (key not in present or present[key] != value):
            line.append(f"{key}={Override._get_value_element_as_str(value)}")
    chosen = [word for word in cfg.hydra.overrides.hydra if word.startswith("hydra/launcher=")]
    chosen += [word for word in cfg.hydra.overrides.hydra if word.startswith("hydra.launcher.")]
    seeds = f"seed=range({SEEDS})"
    return shlex.join(["python", "run.py", "-m", *options, *chosen, *line, seeds])
