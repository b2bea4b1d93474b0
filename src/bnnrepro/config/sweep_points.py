"""The points of a sweep: composed once for each choice of groups, then changed by their values.

Hydra composes a point in two steps. It merges the files that the chosen groups name, which takes
nearly all of the time; then it applies the other overrides one by one, and none of them can change
a choice. The first step's result is kept, the second is Hydra's own function on a copy of it.
"""

import pickle
from collections.abc import Iterable, Sequence
from functools import cache

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bnnrepro.config.compose import explain, refuse_unknown_protocol
from bnnrepro.config.schema import Config
from bnnrepro.config.validation import check


class Points:
    """Composes the points of a sweep; each is what Hydra makes of it alone.

    Config files are read once: what was checked is what runs, however long the sweep takes.

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
            except Exception:  # whatever it was: Hydra itself composes it, or says what is wrong
                self._composed[tuple(point)] = pickle.dumps(self._whole(point))
        return self._copy(point)

    def _by_values(self, point: Sequence[str]) -> DictConfig:
        """Return the config of a point, whose files may have been merged for another one."""
        if self._master.hydra.searchpath:
            raise ValueError("files of these folders are known to Hydra's own composing alone")
        overrides = [self._parse(line) for line in point]
        choices = [str(each.input_line) for each in overrides if self._is_choice(each)]
        values = [each for each in overrides if not self._is_choice(each)]
        if tuple(choices) not in self._composed:
            self._composed[tuple(choices)] = pickle.dumps(self._whole(choices))
        cfg = self._copy(choices)
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        cfg.hydra.overrides.task = list(point)
        form = OmegaConf.to_container(cfg.hydra.job.config.override_dirname)
        cfg.hydra.job.override_dirname = get_overrides_dirname(overrides, **form)  # type: ignore[arg-type]
        return cfg

    def _is_choice(self, override: Override) -> bool:
        """Tell whether an override chooses files.

        Raises:
            ValueError: it concerns Hydra itself, or is a sweep: it is not for us to apply.
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
        refuse_unknown_protocol(cfg, self._loader)
        return cfg

    def _copy(self, point: Sequence[str]) -> DictConfig:
        cfg: DictConfig = pickle.loads(self._composed[tuple(point)])
        return cfg
