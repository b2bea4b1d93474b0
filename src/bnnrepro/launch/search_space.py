"""What a search varies and optimises: the space of its keys, the objective, Optuna's parts."""

import inspect
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from bnnrepro.config import Config
from bnnrepro.constraints import refuse_unknown, shown
from bnnrepro.errors import UserError, nearest
from bnnrepro.launch.settings import Search
from bnnrepro.launch.sweep_points import check_sweep_size
from bnnrepro.runs.query import Run
from bnnrepro.runs.results import table
from bnnrepro.tasks import task_named

KEY = "hydra.sweeper"
Space = Mapping[str, BaseDistribution]

_PROBES = 2  # asks of a new sampler: the second shows what it needs besides random numbers


def space_of(overrides: Iterable[Override]) -> dict[str, BaseDistribution]:
    """Return the distribution of each key whose override gives more than one value.

    Raises:
        UserError: there is none, or Optuna refuses one.
    """
    space = {}
    for override in overrides:
        if override.is_sweep_override():
            key, text = override.get_key_element(), override.get_value_string()
            try:
                space[key] = _distribution(override)
            except (ValueError, IndexError) as error:
                raise UserError(key, text, f"cannot be searched: {_line(error)}") from error
    if not space:
        allowed = (
            "the search space is empty; give a range: 'method.lr=tag(log,interval(1e-5,1e-2))'"
        )
        raise UserError(f"{KEY}.params", "", allowed)
    return space


def _distribution(override: Override) -> BaseDistribution:
    value: Any = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        kind: Any = IntDistribution if whole else FloatDistribution
        distribution: BaseDistribution = kind(value.start, value.end, log=log)
        return distribution
    check_sweep_size([override])
    numbers = value.range() if isinstance(value, RangeSweep) else None
    if isinstance(numbers, range) and numbers.step > 0:
        return IntDistribution(numbers[0], numbers[-1], log=log, step=numbers.step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def ends(distribution: BaseDistribution) -> list[Any]:
    """Return the values that show whether all are allowed: both ends, or every choice."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """Yield the first value of all keys, then each key's others beside the first ones."""
    first = {key: ends(distribution)[0] for key, distribution in space.items()}
    yield first
    for key, distribution in space.items():
        yield from ({**first, key: value} for value in ends(distribution)[1:])


def words(values: Mapping[str, Any]) -> list[str]:
    """Return values as overrides; a choice is text as it was typed, a number all its digits."""
    return [f"{key}={value}" for key, value in values.items()]


def label(values: Mapping[str, Any]) -> str:
    """Return values for the eye, with four digits."""
    short = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in values.items()}
    return " ".join(words(short))


@dataclass(frozen=True)
class Objective:
    """The figure that is optimised, as a row of the results table names it."""

    text: str
    selection: str | None
    split: str
    prediction: str
    metric: str
    maximize: bool

    @classmethod
    def of(cls, settings: Search, config: Config) -> "Objective":
        """Return the objective of a search's keys, by default that of a run's ``best``.

        Raises:
            UserError: it is no figure of a run, or its direction is not known.
        """
        key, task = f"{KEY}.objective", config.dataset.task
        metric = task_named(task).metric if task is not None else None
        text = settings.objective or f"validation.{metric}"
        parts = text.split(".")
        selection = parts.pop(0) if parts[0] in ("best", "final") else None
        split = parts.pop(0) if parts else ""
        prediction = parts.pop(0) if parts and parts[0] in ("mode", "mean") else "mode"
        if text != "seconds" and (split not in ("train", "validation", "test", "ood") or not parts):
            allowed = (
                "must be seconds or [best|final.]split.[mode|mean.]metric: validation.accuracy"
            )
            raise UserError(key, text, allowed)
        if split == "validation" and not getattr(config.dataset, "validation_split", 0):
            allowed = f"dataset={config.dataset.name} has no validation split; choose a figure"
            raise UserError(
                key, settings.objective or "null", f"{allowed}: test.{metric or 'accuracy'}"
            )
        if split == "ood" and config.evaluate.ood is None:
            raise UserError(key, text, "needs out-of-distribution data: evaluate.ood=mnist")
        direction = settings.direction
        if direction is None and (task is None or parts != [metric]):
            raise UserError(f"{KEY}.direction", "null", f"must be minimize or maximize for {text}")
        maximize = direction == "maximize" if direction else task_named(str(task)).higher_is_better
        return cls(text, selection, split, prediction, ".".join(parts), maximize)

    @property
    def column(self) -> str:
        """Its column in ``metrics.csv``, by which trials are pruned."""
        return f"{self.split}_{self.metric}"

    def value(self, run: Run) -> float:
        """Return a finished run's value, NaN where its result cannot be read.

        Raises:
            UserError: runs like this one have no such figure.
        """
        rows = table([run])
        if self.text == "seconds" or rows["state"].iloc[0] != "done":
            return float(rows["seconds"].iloc[0] or math.nan)
        names = rows["split"] + "." + rows["metric"]
        own = rows[(names == f"{self.split}.{self.metric}")]
        own = own[own["prediction"].fillna(self.prediction) == self.prediction]
        moment = self.selection or ("best" if "best" in set(own["selection"]) else "final")
        own = own[own["selection"] == moment]
        if own.empty:
            known = list(dict.fromkeys(names.dropna()))
            allowed = f"{run.name} has {', '.join(known)}{nearest(self.text, known)}"
            raise UserError(f"{KEY}.objective", self.text, f"no such figure: {allowed}")
        return float(own["value"].iloc[-1])  # of the last evaluation


def sampler_of(settings: Search, space: Space) -> optuna.samplers.BaseSampler:
    """Return the sampler, after it has sampled the space for nobody.

    Raises:
        UserError: Optuna has none of this name, or it refuses its arguments or the space.
    """
    arguments = {"seed": 0, **(settings.sampler_args or {})}
    chosen = ("sampler", optuna.samplers, settings.sampler, arguments)
    study = optuna.create_study(sampler=_part(*chosen))
    try:
        for number in range(_PROBES):
            study.tell(study.ask(dict(space)), float(number))
    except RuntimeError:  # a list of points has ended: Study.stop, which is for optimize() alone
        pass
    except (ImportError, ValueError, TypeError) as error:
        raise UserError(f"{KEY}.sampler", settings.sampler, _line(error)) from error
    sampler: optuna.samplers.BaseSampler = _part(*chosen)
    return sampler


def pruner_of(settings: Search) -> optuna.pruners.BasePruner:
    """Return the pruner; without one, ``NopPruner``."""
    chosen = settings.pruner or "NopPruner"
    pruner: optuna.pruners.BasePruner = _part(
        "pruner", optuna.pruners, chosen, settings.pruner_args or {}
    )
    return pruner


def _part(kind: str, module: ModuleType, name: str, arguments: Mapping[str, Any]) -> Any:
    suffix = kind.capitalize()
    names = [n for n in module.__all__ if n.endswith(suffix) and not n.startswith("Base")]
    if name not in names:
        allowed = f"must be one of {', '.join(names)}{nearest(name, names)}"
        raise UserError(f"{KEY}.{kind}", name, allowed)
    cls = getattr(module, name)
    known = inspect.signature(cls).parameters
    given = {key: value for key, value in arguments.items() if key != "seed" or key in known}
    refuse_unknown(f"{KEY}.{kind}_args", given, list(known))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return cls(**given)
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"{KEY}.{kind}_args", shown(dict(arguments)), _line(error)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
