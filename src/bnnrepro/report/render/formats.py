"""A report as Markdown, LaTeX and terminal text."""

import re

from bnnrepro.report.render.layout import VERDICTS, Report, groups, header, row_texts
from bnnrepro.screen import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "—": "---",
}


def markdown(report: Report) -> str:
    """Return the report in GitHub's Markdown."""
    lines = [f"# {_md(report.title)}", ""]
    if report.warning:
        lines += [f"**{_md(report.warning)}**", ""]
    lines += [f"{_md(report.about)} {report.progress}.", ""]
    for heading, members in groups(report):
        columns = header(report)
        lines += [f"## {_md(heading)}", "", _md_row(columns)]
        lines.append("|".join(["", "---", *["---:"] * (len(columns) - 1), ""]))
        lines += [*(_md_row(row_texts(report, line)) for line in members), ""]
    lines += [_md(VERDICTS), ""] if report.compared else []
    for mark, text in report.notes:
        lines += [f"\\[{mark}\\] {_md(text)}", ""]
    for heading, entries in _sections(report):
        lines += [f"## {heading}", "", *(f"- {_md(entry)}" for entry in entries), ""]
    return "\n".join(lines)


def latex(report: Report) -> str:
    """Return the table in LaTeX, which needs only the package booktabs."""
    columns = header(report)
    head = [
        "% Needs \\usepackage{booktabs}.",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(report.title)}. {_tex(report.about)}{_tex(_space(report.warning))}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        "\\toprule",
        _tex_row(columns),
    ]
    body = []
    for heading, members in groups(report):
        body += ["\\midrule", f"\\multicolumn{{{len(columns)}}}{{l}}{{{_tex(heading)}}} \\\\"]
        body += [_tex_row(row_texts(report, line)) for line in members]
    tail = ["\\bottomrule", "\\end{tabular}"]
    notes = [f"[{mark}] {text}" for mark, text in report.notes]
    notes += [f"{heading}: {'; '.join(entries)}." for heading, entries in _sections(report)[:1]]
    tail += [f"\\par\\footnotesize {_tex(note)}" for note in notes]
    return "\n".join([*head, *body, *tail, "\\end{table}", ""])


def terminal(report: Report) -> str:
    """Return the table in columns, and the runs that are not in it."""
    lines = [report.title, *([report.warning] if report.warning else []), report.progress + "."]
    table = [
        (heading, [row_texts(report, line, short=True) for line in members])
        for heading, members in groups(report)
    ]
    rows = [header(report, short=True), *(row for _, members in table for row in members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def aligned(row: list[str]) -> str:
        return "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()

    lines.append(aligned(rows[0]))
    for heading, members in table:
        lines += [heading, *map(aligned, members)]
    lines += [f"[{mark}] {text}" for mark, text in report.notes]
    lines += [f"not in the table: {text}" for text in report.unused]
    return printable("\n".join(lines), lines=True)


def _sections(report: Report) -> list[tuple[str, list[str]]]:
    """Return the sections after the table: missing runs, marked runs, environments."""
    sections = []
    if report.issues:
        sections.append(("Not in the table", report.unused))
    if report.marked:
        sections.append(("Run with uncommitted changes", list(report.marked)))
    environments = [
        f"{count} runs: {', '.join(f'{key} {value}' for key, value in environment.items())}"
        for environment, count in report.environments
    ]
    if environments:
        sections.append(("Environment", environments))
    return sections


def _space(text: str) -> str:
    return f" {text}" if text else ""


def _md(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", printable(" ".join(text.split())))


def _md_row(values: list[str]) -> str:
    return f"| {' | '.join(map(_md, values))} |"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in printable(" ".join(text.split())))


def _tex_row(values: list[str]) -> str:
    # A bracket after the row's end would be its option.
    return f"{' & '.join(map(_tex, values))} \\\\"
