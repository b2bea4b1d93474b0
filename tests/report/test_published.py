import pytest

from bnnrepro.report.published import SPLITS, parse, published
from bnnrepro.report.tables import TABLES

GOOD = """
sources: {paper: a book}
groups:
  one: {source: paper, selection: best, runs: 5, ddof: 0, figures: {mnist: {test: [98.80, 0.05]}}}
runs: {mnist: [98.8]}
"""


def test_a_figure_has_source_rule_ddof_and_its_printed_digits():
    figure = parse(GOOD).find("one", "mnist", "test")
    assert figure is not None
    assert (figure.mean, figure.std, figure.digits) == (98.8, 0.05, 2)
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
def test_a_file_that_cannot_be_is_refused_with_the_place(old, new, named):
    assert old in GOOD
    with pytest.raises(ValueError, match=f"published figures: {named}: "):
        parse(GOOD.replace(old, new))


def test_every_figure_of_the_package_says_where_it_is_from():
    for group in published().figures.values():
        for key, figure in group.items():
            assert key[-1] in SPLITS
            assert figure.source in published().sources
            assert figure.std is None or figure.ddof in (0, 1)
            assert figure.source != "paper" or (figure.runs, figure.ddof) == (5, 0)


def test_table_2_is_the_test_part_of_table_10():
    test = [row for row in TABLES["10"].rows if row.split == "test"]
    assert tuple(test) == TABLES["2"].rows
    assert TABLES["10"].cells == TABLES["2"].cells


def test_every_row_of_a_table_has_a_published_figure_or_the_paper_gives_none():
    for table in TABLES.values():
        for row in table.rows:
            not_given = row.label == "PMF" and row.split == "train"
            assert (row.paper is None) == not_given, row
            assert row.paper is None or row.paper.selection == table.selection
            assert row.earlier is None or row.earlier.selection == table.selection


def test_every_cell_of_a_table_is_an_experiment():
    from bnnrepro.config.compose import conf_dir

    for table in TABLES.values():
        for name in table.cells:
            assert (conf_dir() / "experiment" / f"{name}.yaml").is_file()


def test_rows_whose_rule_differs_from_the_published_programs_say_so():
    for row in TABLES["2"].rows:
        assert row.note == {"Bop": "bop", "PMF": "pmf", "BayesBiNN (mean)": "mean"}.get(row.label)
    noted = {row.label for row in TABLES["6"].rows if row.note}
    assert noted == {"1e-1"}
