"""Composing for tests: config files are merged once for a choice of groups, not once a case."""

from functools import cache

from hydra._internal.config_repository import CachingConfigRepository

from bnnrepro.config import Config, check
from bnnrepro.config.compose import hydra_session
from bnnrepro.launch.sweep_points import Points, load_master


@cache
def points() -> Points:
    """What composes the points of a sweep; test_points.py compares it with Hydra.

    The files of ``conf/`` are read and listed once.
    """
    with hydra_session() as hydra:
        loader = hydra.config_loader
        loader.repository = CachingConfigRepository(loader.repository)
        loader.get_group_options = cache(loader.get_group_options)
        return Points(loader, load_master(loader, []))


def composed(*overrides: str) -> Config:
    """Return what ``compose`` returns, a new object at each call.

    Raises:
        UserError: an override, or what they add up to, is not allowed.
    """
    return check(points().compose(overrides))
