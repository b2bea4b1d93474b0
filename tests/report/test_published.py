"""The file of published figures is sound, and the tables find their figures in it."""

from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import yaml

from bnnrepro.report.published import SELECTIONS, SPLITS, entries, published
from bnnrepro.report.tables import tables

SHIPPED = resources.files("bnnrepro.report").joinpath("published.yaml").read_text("utf-8")
GOOD = """
sources: {paper: a book}
groups:
  one: {source: paper, selection: best, runs: 5, ddof: 0, figures: {mnist: {test: [98.80, 0.05]}}}
runs: {mnist: [98.8]}
"""


def faults(text: str) -> list[str]:
    """The places in a file of published figures that are wrong."""
    content = yaml.load(text, yaml.BaseLoader)
    if set(content) != {"sources", "groups", "runs"}:
        return ["top"]
    found = [f"runs.{k}" for k, v in content["runs"].items() if not all(map(percent, v))]
    for name, group in content["groups"].items():
        found += (".".join((name, *place)) for place in wrong(group, content["sources"]))
    return found


def wrong(group: dict[str, Any], sources: dict[str, str]) -> Iterator[tuple[str, ...]]:
    if set(group) != {"source", "selection", "runs", "ddof", "figures"}:
        yield ()
        return
    allowed = {"source": sources, "selection": SELECTIONS, "ddof": ("0", "1", "null")}
    yield from ((key,) for key, values in allowed.items() if group[key] not in values)
    if places := list(unknown(group["figures"])):
        yield from places
        return
    for key, values, runs in entries(group["figures"], group["runs"]):
        known = runs == "null" or (runs.isdecimal() and int(runs) > 0)
        spread = isinstance(values, list) and len(values) == 2
        sound = isinstance(values, list) and len(values) in (1, 2) and percent(values[0])
        if spread:
            sound &= percent(values[1], 50) and group["ddof"] != "null"
            sound &= runs not in ("null", "1")
        if not (known and sound):
            yield key


def unknown(node: Any) -> Iterator[tuple[str, ...]]:
    """The places that are neither a mapping with entries nor a split's figure."""
    if not isinstance(node, dict) or not node:
        yield ()
    elif set(node) & set(SPLITS):
        yield from ((key,) for key in set(node) - {*SPLITS, "runs"})
    else:
        yield from ((key, *place) for key, child in node.items() for place in unknown(child))


def percent(text: object, limit: float = 100) -> bool:
    try:
        return 0 <= float(str(text)) <= limit
    except ValueError:
        return False


def test_the_shipped_file_is_sound() -> None:
    assert faults(GOOD) == []
    assert faults(SHIPPED) == []


def test_a_figure_has_source_rule_ddof_and_its_printed_digits():
    figure = published().find("table2", "mnist", "bayesbinn_mode", "test")
    assert figure is not None
    assert (figure.mean, figure.std, figure.digits) == (98.86, 0.05, 2)
    assert (figure.runs, figure.ddof, figure.selection, figure.source) == (5, 0, "best", "paper")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[98.80, 0.05]", "[198.8, 0.05]", "one.mnist.test"),
        ("[98.80, 0.05]", "[98.8, -0.05]", "one.mnist.test"),
        ("[98.80, 0.05]", "[98.8, 0.05, 1]", "one.mnist.test"),
        ("[98.80, 0.05]", "[.nan, 0.05]", "one.mnist.test"),
        ("[98.80, 0.05]", "98.8", "one.mnist.test"),
        ("test:", "tset:", "one.mnist.tset"),
        ("source: paper,", "source: another,", "one.source"),
        ("source: paper, ", "", "one"),
        ("selection: best", "selection: median", "one.selection"),
        ("ddof: 0", "ddof: 2", "one.ddof"),
        ("ddof: 0", "ddof: null", "one.mnist.test"),
        ("runs: 5", "runs: 1", "one.mnist.test"),
        ("runs: 5", "runs: 0", "one.mnist.test"),
        ("{mnist: [98.8]}", "{mnist: [x]}", "runs.mnist"),
        ("{mnist: {test: [98.80, 0.05]}}", "{}", "one"),
        ("groups:", "group:", "top"),
    ],
)
def test_the_check_of_the_file_finds_the_place(old, new, named):
    assert old in GOOD
    assert any(place.startswith(named) for place in faults(GOOD.replace(old, new)))


def test_every_figure_of_the_package_says_where_it_is_from():
    for group in published().figures.values():
        for key, figure in group.items():
            assert key[-1] in SPLITS
            assert figure.source in published().sources
            assert figure.std is None or figure.ddof in (0, 1)
            assert figure.source != "paper" or (figure.runs, figure.ddof) == (5, 0)


def test_table_2_is_the_test_part_of_table_10():
    def figures(entries):
        return {(e.cell, e.prediction, e.row): (e.paper, e.earlier, e.note) for e in entries}

    test = [entry for entry in tables()["10"].entries if entry.split == "test"]
    assert figures(test) == figures(tables()["2"].entries)
    assert tables()["10"].cells == tables()["2"].cells


def test_every_entry_of_a_table_has_a_published_figure_or_the_paper_gives_none():
    given = {entry.row for entry in tables()["2"].entries if entry.paper}
    for table in [table for name, table in tables().items() if name.isdecimal()]:
        of_methods = table.sweep == "table2"  # of which the paper has those that it compares
        for entry in (e for e in table.entries if not of_methods or e.row in given):
            not_given = entry.row == "PMF" and entry.split == "train"
            assert (entry.paper is None) == not_given, entry
            assert entry.paper is None or entry.paper.selection == table.selection
            assert entry.earlier is None or entry.earlier.selection == table.selection
    assert len(given) == 6


def test_entries_whose_rule_differs_from_the_published_programs_say_so():
    for entry in tables()["2"].entries:
        noted = {"Bop": "bop", "PMF": "pmf", "BayesBiNN (mean)": "mean"}
        assert entry.note == noted.get(entry.row)
    assert {entry.row for entry in tables()["6"].entries if entry.note} == {"1e-1"}
