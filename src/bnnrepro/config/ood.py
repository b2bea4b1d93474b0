"""The data set that ``evaluate.ood`` names: read from ``conf/dataset``, without composing."""

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config import datasets, validation
from bnnrepro.config.location import conf_dir
from bnnrepro.errors import UserError, nearest

KEY = "evaluate.ood"


def foreign_set(name: str) -> Any:
    """Return the typed config of a data set of images, with its own defaults.

    Raises:
        UserError: there is no such data set, it is not of images, or it needs a value.
    """
    names = sorted(path.stem for path in (conf_dir() / "dataset").glob("*.yaml"))
    if name not in names:
        raise _refused(name, names)
    part = _read(name)
    if not isinstance(part, datasets.ImageSet):
        raise _refused(name, names)
    return part


def _refused(name: str, names: list[str]) -> UserError:
    fitting = [each for each in names if _fits(each)]
    allowed = f"must be null or a data set of images: {', '.join(fitting)}{nearest(name, fitting)}"
    return UserError(KEY, name, allowed)


def _fits(name: str) -> bool:
    try:
        return isinstance(_read(name), datasets.ImageSet)
    except UserError:
        return False


def _read(name: str) -> Any:
    try:
        content = OmegaConf.load(conf_dir() / "dataset" / f"{name}.yaml")
        values = OmegaConf.to_container(content, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = f"its {error.full_key} needs a value, which cannot be given here"
        raise UserError(KEY, name, reason) from error
    assert isinstance(values, dict)
    values.pop("defaults", None)
    return validation.part("dataset", values)
