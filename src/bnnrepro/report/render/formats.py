"""A report as Markdown, as LaTeX, and for the terminal."""

import re

from bnnrepro.report.render.layout import VERDICTS, Content, cells, groups, header
from bnnrepro.screen import printable

_LATEX = {
    "\\": r"\textbackslash{}",
    **{each: f"\\{each}" for each in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "—": "---",
}


def markdown(report: Content) -> str:
    """Return the report as a page of GitHub's Markdown."""
    lines = [f"# {_md(report.title)}", ""]
    if report.warning:
        lines += [f"**{_md(report.warning)}**", ""]
    lines += [f"{_md(report.about)} {report.progress}.", ""]
    for heading, members in groups(report):
        lines += [f"## {_md(heading)}", "", _md_row(header(report))]
        lines.append(
            "|".join(["", *("---" if i == 0 else "---:" for i, _ in enumerate(header(report))), ""])
        )
        lines += [_md_row(cells(report, line)) for line in members]
        lines.append("")
    lines += [_md(VERDICTS), ""] if report.compared else []
    for mark, text in report.notes:
        lines += [f"\\[{mark}\\] {_md(text)}", ""]
    for heading, entries in _sections(report):
        lines += [f"## {heading}", "", *(f"- {_md(each)}" for each in entries), ""]
    return "\n".join(lines)


def latex(report: Content) -> str:
    """Return the table for LaTeX; it needs the package booktabs and nothing else."""
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
        body += [_tex_row(cells(report, line)) for line in members]
    tail = ["\\bottomrule", "\\end{tabular}"]
    notes = [f"[{mark}] {text}" for mark, text in report.notes]
    notes += [f"{heading}: {'; '.join(entries)}." for heading, entries in _sections(report)[:1]]
    tail += [f"\\par\\footnotesize {_tex(each)}" for each in notes]
    return "\n".join([*head, *body, *tail, "\\end{table}", ""])


def terminal(report: Content) -> str:
    """Return the table in columns, and what is missing."""
    lines = [report.title, *([report.warning] if report.warning else []), report.progress + "."]
    table = [
        (heading, [cells(report, each, short=True) for each in members])
        for heading, members in groups(report)
    ]
    rows = [header(report, short=True), *(row for _, members in table for row in members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def laid_out(row: list[str]) -> str:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join([first, *others]).rstrip()

    lines.append(laid_out(rows[0]))
    for heading, members in table:
        lines += [heading, *map(laid_out, members)]
    lines += [f"[{mark}] {text}" for mark, text in report.notes]
    lines += [f"not in the table: {text}" for text in report.unused]
    return printable("\n".join(lines), lines=True)


def _sections(report: Content) -> list[tuple[str, list[str]]]:
    """Return what follows the table: what is missing, marked runs, environments."""
    sections = []
    if report.issues:
        sections.append(("Not in the table", report.unused))
    if report.marked:
        sections.append(("Run with uncommitted changes", list(report.marked)))
    environments = [
        f"{count} runs: {', '.join(f'{key} {value}' for key, value in found.items())}"
        for found, count in report.environments
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
    return "".join(_LATEX.get(each, each) for each in printable(" ".join(text.split())))


def _tex_row(values: list[str]) -> str:
    # A bracket after the row's end would be its option.
    return f"{' & '.join(_tex(each) for each in values)} \\\\"
