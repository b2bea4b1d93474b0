"""A run's configuration: composed from ``conf/``, checked against a schema, built part by part."""

from bnnrepro.config.instantiation import instantiate
from bnnrepro.config.schema import Config
from bnnrepro.config.validation import check, typed

__all__ = ["Config", "check", "instantiate", "typed"]
