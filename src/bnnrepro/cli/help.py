"""The text of ``--help``, and a config as YAML with every key's meaning as its comment."""

import json
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from bnnrepro.config.compose import groups
from bnnrepro.config.schema import Config
from bnnrepro.constraints import meanings

WIDTH = 100

USAGE = """\
bnnrepro trains networks with binary weights, by several rules under one protocol, and records each
run in a folder named by its settings: the same command again resumes or skips it.

  python run.py                                       a small run: BayesBiNN on 8x8 digits
  python run.py method=ste dataset=cifar10            the paper's settings for this pair
  python run.py method=pmf method.lr=3e-3 preset=quick
  python run.py -m method=bayesbinn,ste 'seed=range(5)' dataset=mnist
  python run.py method=pmf dataset=mnist --cfg job    show the settings, run nothing

"""

FOLDED = {
    "sweep": "  (tables and searches: a sweep by itself; conf/sweep/ says what each is)",
    "experiment": "  (named runs; conf/experiment/ says what each is)",
    "protocol": "  (applied automatically, by data set and method)",
}
"""Groups of many options, listed last by their names alone, each with a note."""


def help_text(loader: ConfigLoader, config: Config) -> str:
    """Return the help for a composed config."""
    listed = groups(loader)
    first = [group for group in ("method", "dataset", "model") if group in listed]
    parts = [USAGE]
    for group in [*first, *(group for group in listed if group not in (*first, *FOLDED))]:
        parts.append(f"{group}=\n{_options(loader, group, listed[group])}\n")
    for group in filter(listed.__contains__, FOLDED):
        names = textwrap.fill(", ".join(listed[group]), WIDTH, break_on_hyphens=False)
        parts.append(f"{group}={FOLDED[group]}\n{textwrap.indent(names, '  ')}\n\n")
    parts += ["Every key, with its value for this command line:\n\n", annotated(config)]
    return "".join(parts)


def _options(loader: ConfigLoader, group: str, options: list[str]) -> str:
    comments = [(name, first_comment(loader, f"{group}/{name}")) for name in options]
    return "".join(f"  {name:<23} {text}".rstrip() + "\n" for name, text in comments)


def first_comment(loader: ConfigLoader, config: str) -> str:
    """Return the first comment line of a config file, its package directive left out."""
    for source in loader.get_sources():
        file = Path(source.path) / f"{config}.yaml"
        if source.scheme() == "file" and file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
            return next((text for text in comments if not text.startswith("@package")), "")
    return ""


def annotated(config: Any) -> str:
    """Return a dataclass as YAML, one comment per key; the YAML loads to the same values."""
    return "\n".join(_lines(config, 0)) + "\n"


def _lines(node: Any, depth: int) -> list[str]:
    cls: Any = type(node)
    docs = {**meanings(cls), **getattr(cls, "meanings", {})}
    indent, lines = "  " * depth, list[str]()
    for field in fields(node):
        value, doc = getattr(node, field.name), docs.get(field.name, "").rstrip(".")
        if is_dataclass(value):
            lines += _commented(f"{indent}{field.name}:", doc, indent)
            lines += _lines(value, depth + 1)
        else:
            lines += _commented(f"{indent}{field.name}: {_scalar(value)}", doc, indent)
    return lines


def _commented(line: str, doc: str, indent: str) -> list[str]:
    if not doc:
        return [line]
    beside = f"{line:<36}  # {doc}"
    if len(beside) <= WIDTH:
        return [beside]
    prefix = f"{indent}# "
    above = textwrap.wrap(doc, WIDTH, initial_indent=prefix, subsequent_indent=prefix)
    return [*above, line]


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    loaded = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
    # OmegaConf reads some words as numbers that PyYAML leaves unquoted, such as 1e-4.
    return text if loaded == {"value": value} else json.dumps(value)
