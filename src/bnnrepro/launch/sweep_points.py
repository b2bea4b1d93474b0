"""Compose the points of a sweep: once for each choice of groups, then changed by their values.

Hydra composes a point in two steps. It merges the files that the chosen groups name, which takes
nearly all of the time; then it applies the other overrides one by one, and none of them can change
a choice. The first step's result is kept, the second is Hydra's own function on a copy of it.
"""

import math
import pickle
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, DecimalException
from functools import cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bnnrepro.config.compose import CONFIG_NAME, complete, explain, load
from bnnrepro.config.protocol import check_section
from bnnrepro.config.schema import Config
from bnnrepro.config.validation import check
from bnnrepro.errors import UserError

MAX_POINTS = 10_000
"""Largest sweep: all points are composed and checked, in some 4 ms each, before the first run."""

_ENDLESS = 10**15
"""Any number of values from this one on, infinity included."""


def load_master(
    loader: ConfigLoader, overrides: Sequence[str], config_name: str = CONFIG_NAME
) -> DictConfig:
    """Compose a sweep's master config: that of its first point.

    Hydra would compose the defaults of the swept keys instead, and so refuse
    ``method=pmf,full_precision method.weight_decay=1e-4``, whose key the default method lacks.

    Raises:
        UserError: an override is not allowed, or the sweep is empty or too large.
    """
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    except Exception as error:
        raise explain(error, loader, overrides, config_name) from error
    for override in parsed:  # the product is the sweeper's matter: a search has none
        check_sweep_size([override])
    swept = _of_file(loader, parsed, config_name)
    first = [_first_value(override) for override in [*swept, *parsed]]
    master = load(loader, first, config_name, RunMode.MULTIRUN)
    lines = [str(override.input_line) for override in parsed if not override.is_hydra_override()]
    master.hydra.overrides.task = lines
    return master


def _of_file(loader: ConfigLoader, given: Sequence[Override], config_name: str) -> list[Override]:
    """Return the values that a file of ``conf/sweep/`` sweeps, without keys given otherwise."""
    chosen = [str(o.input_line) for o in given if o.get_key_element() == "sweep"]
    if not chosen:
        return []
    keys = {override.get_key_element() for override in given}
    params = load(loader, chosen[-1:], config_name).hydra.sweeper.get("params") or {}
    lines = [f"{key}={value}" for key, value in params.items() if key not in keys]
    return OverridesParser.create(config_loader=loader).parse_overrides(lines)


def _first_value(override: Override) -> str:
    line = str(override.input_line)
    key, _, value = line.partition("=")
    if not override.is_sweep_override():
        return line
    if override.is_hydra_override():
        raise UserError(key, value, "Hydra's own settings cannot be swept")
    if override.is_interval_sweep():
        return f"{override.get_key_element()}={override.value().start}"  # type: ignore[union-attr]
    first = next(iter(override.sweep_string_iterator()), None)
    if first is None:
        raise UserError(key, value, "the sweep is empty: nothing matches")
    return f"{override.get_key_element()}={first}"


def merged(
    parser: OverridesParser, params: Mapping[str, Any], given: Sequence[str]
) -> list[Override]:
    """Return a sweep's overrides: a file's keep their places, the command line's values win."""
    lines = [f"{key}={value}" for key, value in params.items()]
    parsed = (parser.parse_overrides(list(each)) for each in (lines, given))
    swept, typed = ({each.get_key_element(): each for each in part} for part in parsed)
    return list({**swept, **typed}.values())


def check_sweep_size(overrides: Iterable[Override]) -> None:
    """Refuse a sweep too large to list; its points are counted without listing them.

    Raises:
        UserError: there are more points than ``MAX_POINTS``; names the longest choice.
    """
    last = {override.get_key_element(): override for override in overrides}  # a key's last counts
    sizes = {key: _n_values(override) for key, override in last.items()}
    points = math.prod(sizes.values())
    if points > MAX_POINTS:
        key = max(sizes, key=lambda key: sizes[key])
        number = f"{points:,}" if points < _ENDLESS else "no end of them"
        allowed = f"a sweep has at most {MAX_POINTS:,} points; this one has {number}"
        raise UserError(key, last[key].get_value_string(), allowed)


def _n_values(override: Override) -> int:
    """Return the number of values that an override takes, at most ``_ENDLESS``."""
    if not override.is_discrete_sweep():
        return 1
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    try:
        numbers = value.range()
        start, stop, step = map(Decimal, (numbers.start, numbers.stop, numbers.step))
        return min(max(0, math.ceil((stop - start) / step)), _ENDLESS)
    except (DecimalException, ValueError, OverflowError):  # a step of 0, an end of inf or nan
        return _ENDLESS


class Points:
    """The points of a sweep, each composed to the config that Hydra would make of it alone.

    Config files are read once: the runs use the files that were checked, however long the sweep
    takes.

    Args:
        loader: Hydra's.
        master: the sweep's config.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._composed: dict[tuple[str, ...], bytes] = {}
        parser = OverridesParser.create()
        self._parse = cache(lambda line: parser.parse_overrides([line])[0])
        self._is_group = cache(loader.repository.group_exists)  # type: ignore[attr-defined]

    def check(self, points: Iterable[Sequence[str]]) -> list[Config]:
        """Return the typed config of every point.

        Raises:
            UserError: for the first point that is not allowed.
        """
        return [check(self.compose(point)) for point in points]

    def compose(self, point: Sequence[str]) -> DictConfig:
        """Return the config of a point's overrides, unchecked.

        Raises:
            UserError: Hydra refuses it.
        """
        if tuple(point) not in self._composed:
            try:
                return self._by_values(point)
            except Exception:  # of any kind: Hydra itself composes it, or says what is wrong
                self._composed[tuple(point)] = pickle.dumps(self._whole(point))
        return self._copy(point)

    def _by_values(self, point: Sequence[str]) -> DictConfig:
        """Return a point's config; its files may have been merged for another point already."""
        if self._master.hydra.searchpath:
            raise ValueError("only Hydra's own composing finds files in these folders")
        overrides = [self._parse(line) for line in point]
        choices = [str(o.input_line) for o in overrides if self._is_choice(o)]
        values = [o for o in overrides if not self._is_choice(o)]
        if tuple(choices) not in self._composed:
            self._composed[tuple(choices)] = pickle.dumps(self._whole(choices))
        cfg = self._copy(choices)
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        check_section(cfg, self._loader)
        cfg.hydra.overrides.task = list(point)
        form = OmegaConf.to_container(cfg.hydra.job.config.override_dirname)
        cfg.hydra.job.override_dirname = get_overrides_dirname(overrides, **form)  # type: ignore[arg-type]
        return cfg

    def _is_choice(self, override: Override) -> bool:
        """Return whether an override chooses files.

        Raises:
            ValueError: it concerns Hydra itself, or is a sweep: only Hydra can apply it.
        """
        if override.key_or_group.startswith("hydra") or override.is_sweep_override():
            raise ValueError(override.input_line)
        return not isinstance(override.value(), dict) and self._is_group(override.key_or_group)

    def _whole(self, point: Sequence[str]) -> DictConfig:
        """Let Hydra compose a point from its files."""
        try:
            cfg = self._loader.load_sweep_config(self._master, list(point))
        except Exception as error:
            hydra = self._master.hydra
            lines = [*map(str, hydra.overrides.hydra), *point]
            raise explain(error, self._loader, lines, hydra.job.config_name) from error
        complete(cfg, self._loader)
        return cfg

    def _copy(self, point: Sequence[str]) -> DictConfig:
        cfg: DictConfig = pickle.loads(self._composed[tuple(point)])
        return cfg
