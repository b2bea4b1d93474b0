"""The resolver ``${protocol:key,default}``, by which config files pull Table 9's values.

``conf/protocol/<dataset>.yaml`` has what a protocol sets on a data set and no default: keys that
hold for all methods, and a section for each method by its name. A config file's
``lr: ${protocol:lr,1e-4}`` is the section's ``lr``, else the plain one, else 1e-4; the command line
and experiments override it as any other value. A project outside brings a whole file for a data set
of its own, or ``protocol/own/<dataset>_<method>.yaml`` with its method's section for one of ours.
"""

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from bnnrepro.errors import UserError, nearest


def register() -> None:
    """Make ``${protocol:key,default}`` known to OmegaConf."""
    OmegaConf.register_new_resolver("protocol", _pull, replace=True)


def _pull(key: str, default: Any, *, _root_: Any) -> Any:
    protocol, method = _root_.get("protocol"), _root_.get("method")
    name = method.get("name", "") if OmegaConf.is_dict(method) else ""
    parts = key.split(".")
    for path in ([name, *parts], parts):
        node = protocol
        while path and OmegaConf.is_dict(node) and path[0] in node:
            node, path = node[path[0]], path[1:]
        if not path:
            return node
    return default


def check_protocol(cfg: DictConfig, loader: ConfigLoader) -> None:
    """Refuse a protocol that does not exist: protocols are optional, so Hydra passes over it.

    Raises:
        UserError: it is neither a file nor what data set and method select.
    """
    choices = cfg.hydra.runtime.choices
    data, method = choices.get("dataset"), choices.get("method")
    for group, implied in (("protocol", data), ("protocol/own@protocol", f"{data}_{method}")):
        chosen, name = choices.get(group), group.partition("@")[0]
        if chosen in (None, implied):
            continue
        options = loader.get_group_options(name, ObjectType.CONFIG)
        if chosen not in options:
            allowed = f"must be one of {', '.join(options)}{nearest(str(chosen), options)}"
            raise UserError(name, chosen, allowed)
    check_section(cfg, loader)


def check_section(cfg: DictConfig, loader: ConfigLoader) -> None:
    """Refuse a key in the protocol's section for the method that nothing pulls.

    Raises:
        UserError: it is neither a key of the method nor a scheduler or a model.
    """
    protocol, method = cfg.get("protocol"), cfg.get("method")
    if not OmegaConf.is_dict(protocol) or not OmegaConf.is_dict(method):
        return
    name = method.get("name")
    section: Any = protocol.get(name) if isinstance(name, str) else None
    for key in section if OmegaConf.is_dict(section) else ():
        groups = ("scheduler", "model")
        if key not in method and all(key not in loader.get_group_options(g) for g in groups):
            allowed = f"no such key of the method{nearest(str(key), sorted(map(str, method)))}"
            raise UserError(f"protocol.{name}.{key}", section[key], allowed)
