"""Report on a table as Markdown, LaTeX, CSV, JSON and one HTML page, from collected runs alone."""

from collections.abc import Sequence
from pathlib import Path

from bnnrepro.report.collect import CellResults
from bnnrepro.report.render import formats, tabular
from bnnrepro.report.render.layout import make_report
from bnnrepro.report.tables import Table
from bnnrepro.runs import atomic

__all__ = ["text", "write_table"]


def text(table: Table, collected: Sequence[CellResults]) -> str:
    """Return the table for the terminal, and the runs that are missing in it."""
    return formats.terminal(make_report(table, collected))


def write_table(table: Table, collected: Sequence[CellResults], folder: Path) -> list[Path]:
    """Write ``table.md``, ``.tex``, ``.csv``, ``.json`` and ``.html`` to a folder, each atomically.

    Args:
        table: the layout.
        collected: its cells, all of one preset; an absent one is reported as missing.
        folder: created if missing; links in the page are relative to it.

    Returns:
        The files.
    """
    from bnnrepro.report.render.page import page  # with Jinja2, which nothing else needs

    report = make_report(table, collected)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"table.{suffix}" for suffix in ("md", "tex", "csv", "json", "html")]

    atomic.write_text(files[0], formats.markdown(report))
    atomic.write_text(files[1], formats.latex(report))
    atomic.write_text(files[2], tabular.as_csv(report))
    atomic.write_json(files[3], tabular.as_json(report, folder))
    atomic.write_text(files[4], page(report, folder))
    return files
