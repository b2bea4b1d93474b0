"""A report's content, and its forms: terminal, Markdown, LaTeX, CSV, JSON, one HTML page.

A table, a comparison and a list of runs are the same document to this module: it knows plain text,
numbers and pictures, and nothing of where they come from.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from tabulate import tabulate

from bnnrepro.runs import atomic
from bnnrepro.screen import printable

DASH = "—"
"""The text of a cell without a value."""

FORMATS = ("md", "tex", "csv", "json", "html")
_LATEX = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$"},  # noqa: RUF001
    **{"—": "---", "–": "--", "…": r"\dots{}", "“": "``", "”": "''", "’": "'"},  # noqa: RUF001
}
# As \resizebox would, but never wider than it is.
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


@dataclass(frozen=True)
class Section:
    """A part of a table under a heading, which may be empty.

    Attributes:
        heading: above the rows.
        columns: the header.
        rows: plain text, a cell a column; the first column names the row.
    """

    heading: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Document:
    """A report, ready for every form. All text is plain; each form escapes it.

    Attributes:
        title: one line; LaTeX's caption and label begin with it.
        warning: what a reader must not miss; may be empty.
        about: what the figures are, and what ``±`` means in them.
        sections: the table; neighbours with equal columns are printed as one.
        notes: below the table, each a mark and its text.
        lists: further sections, each a heading and its entries.
        charts: SVG elements, for the page alone.
        data: the numbers unrounded, for CSV and JSON.
        extra: what JSON has besides; values that ``json`` can write.
        runs: run folders, each with the text of its link, for the page and JSON.
    """

    title: str
    warning: str = ""
    about: str = ""
    sections: list[Section] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    lists: list[tuple[str, list[str]]] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    extra: dict[str, Any] = field(default_factory=dict)
    runs: list[tuple[str, Path]] = field(default_factory=list)


def write(document: Document, folder: Path, stem: str = "table") -> list[Path]:
    """Write ``<stem>.md``, ``.tex``, ``.csv``, ``.json`` and ``.html``, each atomically.

    Args:
        document: the content.
        folder: created if missing; links to runs are relative to it.
        stem: the files' name before the dot.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.{suffix}" for suffix in FORMATS]
    atomic.write_text(files[0], markdown(document))
    atomic.write_text(files[1], latex(document))
    atomic.write_text(files[2], as_csv(document.data))
    atomic.write_json(files[3], as_json(document, folder))
    atomic.write_text(files[4], page(document, folder))
    return files


def terminal(document: Document) -> str:
    """Return the document as text in columns, without the pictures."""
    parts = [document.title, document.warning, document.about]
    for columns, sections in _tables(document.sections):
        rows = [row for section in sections for row in section.rows]
        lines = _grid(columns, rows, "plain").splitlines()
        parts.append(lines.pop(0))
        for section in sections:
            parts += [section.heading, *lines[: len(section.rows)]]
            del lines[: len(section.rows)]
    parts += [f"[{mark}] {text}" for mark, text in document.notes]
    for heading, entries in document.lists:
        parts += [f"{heading}:", *(f"  {entry}" for entry in entries)]
    return printable("\n".join(part.rstrip() for part in parts if part.strip()), lines=True)


def markdown(document: Document) -> str:
    """Return the document in GitHub's Markdown."""
    parts = [f"# {_md(document.title)}"]
    parts += [f"**{_md(document.warning)}**"] if document.warning else []
    parts += [_md(document.about)] if document.about else []
    for section in document.sections:
        parts += [f"## {_md(section.heading)}"] if section.heading else []
        rows = [list(map(_md, row)) for row in section.rows]
        parts.append(_grid(list(map(_md, section.columns)), rows, "pipe"))
    parts += [f"\\[{mark}\\] {_md(text)}" for mark, text in document.notes]
    for heading, entries in document.lists:
        parts += [f"## {_md(heading)}", "\n".join(f"- {_md(entry)}" for entry in entries)]
    return "\n\n".join(parts) + "\n"


def latex(document: Document) -> str:
    """Return the table in LaTeX: a float with caption and label, no wider than the text."""
    label = re.sub(r"[^a-z0-9]+", "-", re.split(r"\. |[(:]", document.title)[0].lower()).strip("-")
    caption = " ".join(
        filter(None, [f"{document.title.rstrip('.')}.", document.about, document.warning])
    )
    lines = [
        "% Needs \\usepackage{booktabs,graphicx}.",
        "\\begin{table}",
        "\\centering\\small",
        f"\\caption{{{_tex(caption)}}}",
        f"\\label{{tab:{label}}}",
    ]
    for number, (columns, sections) in enumerate(_tables(document.sections)):
        lines += ["\\par\\medskip"] if number else []
        lines += [_FIT, f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", "\\toprule"]
        lines.append(_tex_row(columns))
        for section in sections:
            lines.append("\\midrule")
            if section.heading:
                heading = _tex(section.heading)
                lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{{heading}}} \\\\")
            lines += map(_tex_row, section.rows)
        lines += ["\\bottomrule", "\\end{tabular}}"]
    notes = [f"[{mark}] {text}" for mark, text in document.notes]
    notes += [f"{heading}: {'; '.join(entries)}." for heading, entries in document.lists if entries]
    lines += [f"\\par\\footnotesize {_tex(note)}" for note in notes]
    return "\n".join([*lines, "\\end{table}", ""])


def as_csv(data: pd.DataFrame) -> str:
    """Return the numbers, unrounded; unknown values are empty."""
    return printable(data.to_csv(index=False, lineterminator="\n"), lines=True)


def as_json(document: Document, folder: Path) -> dict[str, Any]:
    """Return all of the document but its pictures; run folders are relative to ``folder``."""
    return {
        "title": document.title,
        "warning": document.warning or None,
        "about": document.about,
        "rows": records(document.data),
        "notes": dict(document.notes),
        "lists": dict(document.lists),
        "runs": [{"run": text, "folder": _relative(run, folder)} for text, run in document.runs],
        **document.extra,
    }


def records(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a mapping a row, of Python's own numbers; unknown values are None."""
    plain = data.astype(object)
    rows: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return rows


def page(document: Document, folder: Path) -> str:
    """Return one self-contained HTML page; links to runs are relative to ``folder``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # which nothing else needs
    from markupsafe import Markup

    def shown(value: object) -> object:
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return printable(str(value)) if plain else value

    environment = Environment(
        loader=PackageLoader("bnnrepro.report.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("document.html.j2").render(
        document=document,
        tables=_tables(document.sections),
        charts=list(map(Markup, document.charts)),
        runs=[(text, quote(_relative(run, folder))) for text, run in document.runs],
    )


def _tables(sections: Sequence[Section]) -> list[tuple[list[str], list[Section]]]:
    """Return the columns and sections of each table: neighbours with equal columns are one."""
    groups = groupby(sections, key=lambda section: section.columns)
    return [(columns, list(members)) for columns, members in groups]


def _grid(columns: list[str], rows: list[list[str]], form: str) -> str:
    align = ["left", *["right"] * (len(columns) - 1)]
    cells = [[" ".join(cell.split()) for cell in row] for row in [columns, *rows]]
    options = {"colalign": align} if rows else {}
    return str(tabulate(cells[1:], cells[0], tablefmt=form, disable_numparse=True, **options))


def _relative(run: Path, folder: Path) -> str:
    return Path(os.path.relpath(run, folder)).as_posix()


def _md(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(" ".join(text.split())))


def _tex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in printable(" ".join(text.split())))


def _tex_row(values: list[str]) -> str:
    # A bracket after the row's end would be its option.
    return f"{{}}{' & '.join(map(_tex, values))} \\\\"
