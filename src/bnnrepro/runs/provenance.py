"""Versions, hardware, commit and command line of a run; a check that its code is unchanged."""

import ast
import hashlib
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.runs import reading
from bnnrepro.runs.layout import RunFolder

log = logging.getLogger("bnnrepro")

PACKAGES = ("bnnrepro", "torch", "torchvision", "numpy", "hydra-core", "omegaconf")
"""The distributions whose versions are recorded."""


def describe(argv: Sequence[str]) -> dict[str, object]:
    """Return the content of ``env.json``.

    GPU and thread count are those of torch, None where it is not imported yet (this imports
    nothing) or has no GPU. ``memory`` is the machine's, in bytes; ``cores`` are those that the
    process may use. No user's name and no environment variable enters: the home folder in the
    command line is written ``~``.

    Args:
        argv: the command line, as ``sys.argv``.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": _command(argv),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": _cores(),
        "memory": _memory(),
        **_torch(),
        **code(),
    }


NUMBERS = (
    "optim",
    "models",
    "data",
    "tasks",
    "training",
    "experiment",
    "config/instantiation.py",
    "seeds.py",
)
"""Rooms and files of the package that make a run's numbers."""

NO_NUMBERS = (
    "cli",
    "config",  # its values are in the signature, and so is what it computes from them
    "export",
    "launch",
    "report",
    "runs",
    "training/loggers",
    "training/progress.py",
    "optim/reference.py",  # nothing but tests uses it
    "experiment/console.py",
    "experiment/logs.py",
    "constraints.py",
    "__init__.py",
    "__main__.py",
    "api.py",
    "errors.py",
    "importing.py",
    "screen.py",
)
"""Rooms and files that make none; the longest entry that fits a file decides."""


def code() -> dict[str, object]:
    """Return ``{"git", "source", "numerics"}``: commit and changes, and two hashes of the package.

    ``source`` is of all Python files as they are; it tells two states of a changed working tree
    apart, and works without git. ``numerics`` is of the code that makes a run's numbers
    (``NUMBERS``), without docstrings, comments, layout and paths: figures of runs that differ in it
    are never averaged together.
    """
    package = Path(__file__).parents[1]
    source, shapes = hashlib.sha256(), list[str]()
    for file in sorted(package.rglob("*.py")):
        place, content = file.relative_to(package).as_posix(), file.read_bytes()
        source.update(f"{place}\n".encode() + content)
        if makes_numbers(place):
            shapes.append(hashlib.sha256(repr(_shape(ast.parse(content))).encode()).hexdigest())
    return {
        "git": git_state(package / "runs"),
        "source": source.hexdigest()[:16],
        "numerics": hashlib.sha256("".join(sorted(shapes)).encode()).hexdigest()[:16],
    }


def makes_numbers(place: str) -> bool:
    """Return whether a file, by its path in the package, is one of ``NUMBERS``."""
    parts = place.split("/")
    for length in range(len(parts), 0, -1):
        entry = "/".join(parts[:length])
        if entry in NUMBERS or entry in NO_NUMBERS:
            return entry in NUMBERS
    return True  # unknown is taken to matter


def _shape(node: object) -> object:
    """Return a syntax tree as nested tuples: the same under every version of Python.

    Docstrings are left out, and the modules of ours that names are imported from.
    """
    if isinstance(node, list):
        return [_shape(item) for item in node if not _is_text(item)]
    if not isinstance(node, ast.AST):
        return node
    ours = isinstance(node, ast.ImportFrom) and str(node.module).startswith("bnnrepro")
    left_out = ("type_params", "type_comment", "kind", "ctx", *(("module",) if ours else ()))
    fields = [
        (name, _shape(value))
        for name, value in ast.iter_fields(node)
        if name not in left_out and value is not None
    ]
    return (type(node).__name__, *fields)


def _is_text(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def git_state(source: Path) -> dict[str, object] | None:
    """Return ``{"commit", "dirty"}`` of the repository that tracks the files in ``source``.

    ``dirty`` is whether a file of the working tree is changed, or neither tracked nor ignored.
    None where there is no git or no commit, or where ``source`` merely lies inside a repository
    that does not track it, as an environment's installed packages do.
    """
    if not _git(source, "ls-files"):
        return None
    commit, changes = _git(source, "rev-parse", "HEAD"), _git(source, "status", "--porcelain")
    if not commit or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    # A hook's GIT_DIR would point elsewhere; runs side by side must not wait for the index's lock.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, encoding="utf-8", errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _command(argv: Sequence[str]) -> str:
    home = os.path.expanduser("~").rstrip("/")  # noqa: PTH111 (Path.home raises without a home)
    if not home:
        return shlex.join(argv)
    folder = re.compile(re.escape(home) + r"(?=/|$)")
    return shlex.join(folder.sub("~", word) for word in argv)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or None


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _torch() -> dict[str, object]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {"gpu": None, "cuda": None, "threads": None}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "cuda": torch.version.cuda, "threads": torch.get_num_threads()}


def check_code(folder: RunFolder, mode: str) -> None:
    """Log a warning if the code differs from that of the submission, else of the last start.

    Args:
        folder: of the run.
        mode: ``warn``, or ``error`` to refuse.

    Raises:
        UserError: it differs, and the mode is ``error``.
    """
    before, when = _earlier_code(folder)
    if before is None or before.get("source") is None:
        return
    now = code()
    if before["source"] == now["source"]:
        return
    change = f"{_code_name(before)} when it was {when}, {_code_name(now)} now"
    if mode == "error":
        cure = "on_code_change=warn runs it all the same; a new submission takes the code as it is"
        raise UserError("on_code_change", "error", f"the code differs: {change}; {cure}")
    log.warning("the code differs: %s", change)


def _earlier_code(folder: RunFolder) -> tuple[dict[str, Any] | None, str]:
    for file, key, when in ((folder.submitted, "code", "submitted"), (folder.env, None, "started")):
        try:
            content = reading.parsed(file)
            record = content[key] if key else content
            if isinstance(record, dict):
                return record, when
        except (OSError, ValueError, KeyError, TypeError):
            continue  # missing or damaged: it decides nothing
    return None, ""


def _code_name(code: dict[str, Any]) -> str:
    git, source = code.get("git"), str(code.get("source"))[:8]
    if not isinstance(git, dict):
        return f"source {source}"
    changed = " with changes" if git.get("dirty") else ""
    return f"commit {str(git.get('commit'))[:10]}{changed} (source {source})"
