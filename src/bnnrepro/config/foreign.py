"""The data set that ``evaluate.ood`` names: read from ``conf/dataset``, without composing."""

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bnnrepro.config import checking, datasets
from bnnrepro.config.folder import conf_dir
from bnnrepro.errors import UserError, nearest

KEY = "evaluate.ood"


def foreign_set(name: str) -> Any:
    """Return the typed config of a data set of images, with its own defaults.

    Raises:
        UserError: there is no such data set, it is not of images, or it needs a value.
    """
    folder = conf_dir() / "dataset"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        allowed = f"must be null or one of {', '.join(names)}{nearest(name, names)}"
        raise UserError(KEY, name, allowed)
    try:
        content = OmegaConf.load(folder / f"{name}.yaml")
        values = OmegaConf.to_container(content, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = f"its {error.full_key} needs a value, which cannot be given here"
        raise UserError(KEY, name, reason) from error
    assert isinstance(values, dict)
    values.pop("defaults", None)
    part = checking.part("dataset", values)
    if not isinstance(part, datasets.ImageSet):
        raise UserError(KEY, name, "must be a data set of images")
    return part
