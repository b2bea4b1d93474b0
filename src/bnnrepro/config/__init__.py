"""What a run is: composed from ``conf/``, checked against a schema, built part by part."""

from bnnrepro.config.building import instantiate
from bnnrepro.config.checking import check, typed
from bnnrepro.config.schema import Config, schema

__all__ = ["Config", "check", "instantiate", "schema", "typed"]
