"""MkDocs hook: reference pages made from the code, so that they cannot fall behind it.

- ``reference/cli.md``: the help of every command;
- ``reference/configuration.md``: every key with its default, what is allowed, and its meaning, from
  ``conf/`` and from the constructors that a ``_target_`` names;
- ``reference/api/``: a page a package, with every public class and function by mkdocstrings.
"""

import ast
import os
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page
from omegaconf import OmegaConf

import bnnrepro
from bnnrepro.cli import COMMANDS, parser_of
from bnnrepro.cli.help import USAGE
from bnnrepro.config.instantiation import target_of
from bnnrepro.config.parts import BASES, conf_dir
from bnnrepro.config.protocol import register
from bnnrepro.config.schema import Config
from bnnrepro.constraints import describe, hints, meanings, shown
from bnnrepro.importing import locate

PACKAGE = Path(bnnrepro.__file__).parent
API = "reference/api"
HYDRAS = ("run", "sweep", "submit")
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PROTOCOL = re.compile(r"\$\{protocol:[^,]+,(.*)\}")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"reference/cli.md": cli(), "reference/configuration.md": configuration()}
    pages[f"{API}/README.md"] = api_index()
    pages |= {f"{API}/{room}.md": api_page(f"bnnrepro.{room}") for room in ROOMS}
    pages[f"{API}/bnnrepro.md"] = api_page("bnnrepro")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """List the API's pages below its index."""
    section = next(item for item in _sections(nav.items) if item.title == "API")
    for name in ["bnnrepro", *ROOMS]:
        file = files.get_file_from_path(f"{API}/{name}.md")
        page = file.page or Page(name, file, config)
        page.parent = section
        section.children.append(page)
        nav.pages.append(page)
    return nav


def _sections(items: list[Any]) -> Iterator[Section]:
    for item in items:
        if isinstance(item, Section):
            yield item
            yield from _sections(item.children)


def cli() -> str:
    """Return the page of the commands."""
    os.environ["COLUMNS"] = "82"  # the width that argparse fills, which fits a page
    parts = [
        "# Command line\n\nMade from the commands' own `--help`. `python -m bnnrepro COMMAND` and "
        "`bnnrepro COMMAND` are the same, and `python run.py` is `bnnrepro run`. "
        "`bnnrepro --completion bash` prints the shell's completion, `bnnrepro --version` the "
        "version.\n\n"
        "Exit codes: 0 done, 1 a run failed, 2 invalid input, 128 + n stopped by signal n.\n"
    ]
    for name, about in COMMANDS.items():
        help_text = _hydra(name) if name in HYDRAS else parser_of(name).format_help()
        parts.append(f"## {name}\n\n{_sentence(about)}\n\n```text\n{help_text.rstrip()}\n```\n")
    return "\n".join(parts)


def _hydra(name: str) -> str:
    """Return the help of a command whose options are Hydra's."""
    if name != "run":
        return f"usage: bnnrepro {name} [options of run] key=value,value ..."
    parser = parser_of(name)
    parser.prog, parser.description = "bnnrepro run", USAGE
    parser.formatter_class = RawDescriptionHelpFormatter
    for action in parser._actions:
        if action.dest == "shell_completion":  # its help names the program that runs
            action.help = "completion of settings, see --hydra-help"
    return parser.format_help()


def configuration() -> str:
    """Return the page of the settings."""
    register()
    parts = [
        "# Configuration\n\nMade from `conf/` and from the constructors that it names; "
        "`python run.py --help` shows the same in a terminal, with the values of a command line. A "
        "setting is `key=value`, an option of a group `group=option`. Defaults that end in * are "
        "replaced by the protocol of the data set and method, if it says otherwise; `???` must be "
        "given.\n"
    ]
    parts += ["## A run\n", _table(_run_keys())]
    for group in BASES:
        parts.append(f"## {group}\n")
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            values = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            target = locate(f"{group}._target_", target_of(group, values))
            first = next(x for x in file.read_text("utf-8").splitlines() if x[:2] == "# " != "# @")
            parts.append(f"### {group}={file.stem}\n\n{first.lstrip('# ')}\n")
            values = {k: v for k, v in values.items() if k not in ("defaults", "_target_", "name")}
            if rows := list(_rows(group, values, hints(target), _meanings(target))):
                parts.append(_table(rows))
    return "\n".join(parts)


def _run_keys() -> list[tuple[str, ...]]:
    values = OmegaConf.to_container(OmegaConf.load(conf_dir() / "config.yaml"), resolve=False)
    preset = OmegaConf.to_container(OmegaConf.load(conf_dir() / "preset" / "paper.yaml"))
    tree = {**values, "preset": preset}
    kept = {field.name: tree[field.name] for field in fields(Config) if field.name in tree}
    return list(_rows("", kept, hints(Config), meanings(Config)))


def _rows(
    group: str, values: dict[str, Any], types: dict[str, Any], words: dict[str, str]
) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        kind, name = types.get(key, Any), f"{group}.{key}".lstrip(".")
        nested = next((x for x in (kind, *get_args(kind)) if is_dataclass(x)), None)
        if nested is not None and isinstance(value, dict):
            yield from _rows(name, value, hints(nested), meanings(nested))
        else:
            allowed = "" if kind is Any else describe(kind)
            yield f"`{name}`", _default(value), allowed, words.get(key, "").rstrip(".")


def _meanings(target: Any) -> dict[str, str]:
    """Return the meanings of a constructor's arguments, or of a data set's own and shared keys."""
    return {**meanings(target), **getattr(target, "meanings", {})}


def _default(value: Any) -> str:
    found = PROTOCOL.fullmatch(value) if isinstance(value, str) else None
    return f"`{found[1]}` *" if found else f"`{shown(value)}`"


def _table(rows: list[tuple[str, ...]]) -> str:
    head = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join([*head, *(f"| {row} |" for row in cells)]) + "\n"


def api_index() -> str:
    """Return the page that leads to the API's pages."""
    facade = [
        f"- [`bnnrepro.{name}`][{home}.{name}]" for name, home in sorted(bnnrepro._HOMES.items())
    ]
    optim = [f"- [`bnnrepro.optim.{name}`][{_home(name)}]" for name in bnnrepro.optim.__all__]
    rooms = [f"- [`bnnrepro.{room}`]({room}.md): {_first(room)}" for room in ROOMS]
    return "\n".join(
        [
            "# API",
            "\nEvery public class and function, from its docstring.",
            "\n## The facade\n\n`import bnnrepro` gives these, imported when used:\n",
            *facade,
            "\n## The optimizers\n",
            *optim,
            "\n## Packages\n",
            "- [`bnnrepro`](bnnrepro.md): modules of no package",
            *rooms,
            "",
        ]
    )


def _home(name: str) -> str:
    return f"{getattr(bnnrepro.optim, name).__module__}.{name}"


def _first(room: str) -> str:
    text = (PACKAGE / room / "__init__.py").read_text("utf-8")
    return re.match(r'"""(.*?)(?:"""|\n\n|\.\n)', text, re.DOTALL)[1].replace("\n", " ").rstrip(".")


def api_page(package: str) -> str:
    """Return the page of a package: its modules, each with its public members."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    found = sorted(folder.glob("*.py") if folder == PACKAGE else folder.rglob("*.py"))
    return "\n".join(
        [f"# {package}\n", *(_module(path) for path in found if path.stem != "__main__")]
    )


def _module(path: Path) -> str:
    """Return mkdocstrings' block of a module; what it only re-exports is where it is defined."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(parts).removesuffix(".__init__")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    defined = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    public = [word for word in defined if not word.startswith("_")]
    return f"::: {name}\n    options:\n      members: {public}\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
