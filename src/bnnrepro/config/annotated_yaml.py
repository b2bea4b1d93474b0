"""A config as YAML, with every key's docstring as its comment."""

import ast
import functools
import inspect
import json
import textwrap
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from omegaconf import OmegaConf

WIDTH = 100


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass, its bases' included.

    Empty for a class made at run time, which has no source.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs |= _module_docs(base.__module__).get(base.__qualname__, {})
    return docs


def annotated(config: Any) -> str:
    """Return a dataclass as YAML, one comment per key; the YAML loads to the same values."""
    return "\n".join(_lines(config, 0)) + "\n"


def _lines(node: Any, depth: int) -> list[str]:
    cls: type = type(node)
    docs, indent, lines = field_docs(cls), "  " * depth, []
    for field in fields(node):
        value, doc = getattr(node, field.name), docs.get(field.name, "")
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


@functools.cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    try:
        source = inspect.getsource(__import__(module, fromlist=["_"]))
    except (OSError, TypeError, ImportError):
        return {}
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return {node.name: _class_docs(node) for node in classes}


def _class_docs(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
    return docs
