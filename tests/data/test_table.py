"""Tables: what becomes of a CSV file's columns, and what is refused."""

import logging
from pathlib import Path

import pytest
import torch
from tests.composing import composed

from bnnrepro.data import table
from bnnrepro.errors import UserError
from bnnrepro.tasks.classification import Classification

HEAD = "age,city,price,label\n"
ROWS = [
    f"{20 + i % 7},{('Oslo', 'Rome', 'Łódź')[i % 3]},{i * 1.5},{'no' if i % 2 else 'yes'}"
    for i in range(20)
]


def written(path: Path, rows=ROWS, head: str = HEAD, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(f"{row}\n" for row in rows), encoding=encoding)
    return path


def split(folder: Path, test: list[str], train=ROWS) -> Path:
    written(folder / "train.csv", train)
    written(folder / "test.csv", test)
    return folder


def load(root: Path, target: str = "label", **keys):
    return table.load(root=root, target=target, **keys)


def test_numbers_and_texts_become_standardised_inputs(tmp_path: Path) -> None:
    data = load(split(tmp_path, ["30,Oslo,2,yes"]), drop=["price"])
    assert data.facts.columns == (("age", None), ("city", ("Oslo", "Rome", "Łódź")))
    assert data.facts.classes == ("no", "yes")
    assert (data.facts.task, data.facts.outputs, data.facts.shape) == ("classification", 1, (4,))
    torch.testing.assert_close(data.train.inputs.std(0), torch.ones(4))
    mean, std = torch.tensor(data.facts.mean), torch.tensor(data.facts.std)
    raw = torch.tensor([[30.0, 1, 0, 0]])
    torch.testing.assert_close(data.test.inputs, (raw - mean) / std)
    assert data.test.targets.tolist() == [1]


def test_the_test_rows_are_the_same_for_every_seed_and_share_none_with_training(tmp_path) -> None:
    data = load(written(tmp_path / "t.csv"), target="price", test_split=0.25)
    assert (len(data.train), len(data.test)) == (15, 5)
    values = torch.cat([data.train.targets, data.test.targets]).flatten()
    assert len(values.unique()) == 20
    again = load(tmp_path / "t.csv", target="price", test_split=0.25)
    assert torch.equal(again.test.targets, data.test.targets)
    assert load(tmp_path / "t.csv", test_split=0).test is None


@pytest.mark.parametrize(
    ("values", "keys", "task", "outputs"),
    [
        (["1", "2", "3"], {}, "classification", 3),
        (["1.0", "2.0", "3.0"], {}, "classification", 3),
        (["1.5", "2", "3"], {}, "regression", 1),
        (list(map(str, range(21))), {}, "regression", 1),
        (["1", "2", "3"], {"problem": "regression"}, "regression", 1),
        (list(map(str, range(21))), {"problem": "classification"}, "classification", 21),
        (["a", "b"], {}, "classification", 1),
    ],
)
def test_the_target_tells_the_task(tmp_path, values, keys, task, outputs) -> None:
    rows = [f"{i % 5},{values[i % len(values)]}" for i in range(42)]
    facts = load(written(tmp_path / "t.csv", rows, "x,label\n"), **keys).facts
    assert (facts.task, facts.outputs) == (task, outputs)
    assert (facts.target_std is None) == (task == "classification")
    if values == ["1.0", "2.0", "3.0"]:
        assert facts.classes == ("1", "2", "3")


def test_numbers_may_name_categories(tmp_path: Path) -> None:
    data = load(split(tmp_path, ["23,Oslo,2,yes"]), categorical=["age"], drop=["price"])
    assert data.facts.columns[0] == ("age", tuple(map(str, range(20, 27))))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_a_byte_order_mark_make_no_difference(tmp_path, separator, encoding) -> None:
    plain = load(written(tmp_path / "plain.csv"))
    rows = [row.replace(",", separator) for row in ROWS]
    other = load(written(tmp_path / "t.csv", rows, HEAD.replace(",", separator), encoding))
    assert torch.equal(other.train.inputs, plain.train.inputs)
    assert other.facts.columns == plain.facts.columns


def test_a_text_that_training_lacks_is_none_of_its_texts_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(split(tmp_path, ["30,Paris,2,yes", "30,Rome,2,no"]), drop=["price", "age"])
    raw = data.test.inputs * torch.tensor(data.facts.std) + torch.tensor(data.facts.mean)
    torch.testing.assert_close(raw, torch.tensor([[0.0, 0, 0], [0, 1, 0]]), atol=1e-6, rtol=0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "1 rows have a text of column city that no training row has ('Paris')" in caplog.text


def test_a_constant_column_is_left_out_and_a_line_says_so(tmp_path, caplog) -> None:
    rows = [f"{row},7" for row in ROWS]
    data = load(written(tmp_path / "t.csv", rows, HEAD.replace("\n", ",one\n")))
    assert "one" not in dict(data.facts.columns)
    assert "column one is '7' in all training rows: left out" in caplog.text


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    prints = {load(written(tmp_path / name)).facts.fingerprint for name in ("a.csv", "b.csv")}
    assert len(prints) == 1
    rows = [*ROWS[:-1], ROWS[0]]
    assert load(written(tmp_path / "a.csv", rows)).facts.fingerprint not in prints


EUROPEAN = [f'20,Rome,"{i},5",yes' for i in range(9)] + ["20,Rome,3,no"]
EMPTY = [ROWS[0], ",Rome,2,no", *ROWS[1:]]
MANY = [f"{i},town {i},{i},{'no' if i % 2 else 'yes'}" for i in range(200)]


@pytest.mark.parametrize(
    ("rows", "keys", "words"),
    [
        (ROWS, {"target": "lable"}, r"target=lable: .* it has age, city.*did you mean 'label'"),
        (ROWS, {"drop": ["aje"]}, r"drop=aje: .*did you mean 'age'"),
        (ROWS, {"drop": ["label"]}, r"target=label: is in dataset\.drop too"),
        (ROWS, {"problem": "regression"}, r"column label must have numbers: .*yes"),
        (EMPTY, {}, r"age lacks 1 of \d+ values, the first in line 3 .*drop=\[age\]"),
        ([*ROWS, "20,Rome,inf,no"], {}, r"price lacks 1 of .* line 22"),
        ([*ROWS, "20,Rome,2,"], {}, r"label lacks 1 of .* line 22"),
        (MANY, {}, r"city has 1\d\d different texts, .*drop=\[city\]"),
        ([*ROWS, "20,Rome,2,no,9"], {}, r"t\.csv cannot be read as a table: .*line 22"),
        (EUROPEAN, {}, r"price has numbers with a decimal comma, such as [0-8],5: .*l=\[price\]"),
        (EUROPEAN, {"target": "price"}, r"price has .* comma.*problem=classification"),
        ([], {}, "no rows"),
        ([row.replace("no", "yes") for row in ROWS], {}, "is 'yes' in all rows"),
        (ROWS, {"drop": ["age", "city", "price"]}, "no column is left"),
    ],
)
def test_what_is_wrong_with_a_table_takes_one_line(tmp_path, rows, keys, words) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load(written(tmp_path / "t.csv", rows), **keys)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (["30,Oslo,2,maybe"], "test.csv has the class 'maybe'"),
        (["thirty,Oslo,2,yes"], "column age must have numbers: .*thirty"),
    ],
)
def test_test_rows_must_fit_the_training_rows(tmp_path: Path, test, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(split(tmp_path, test))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        load(tmp_path / "none.csv")
    with pytest.raises(UserError, match="not UTF-8"):
        load(written(tmp_path / "t.csv", encoding="utf-16"))
    with pytest.raises(UserError, match="cannot be read as a table"):
        load(written(tmp_path / "t.csv", head="a" * 140_000 + ",label\n"))


def test_numbers_with_a_comma_may_be_names_of_categories(tmp_path: Path) -> None:
    rows = [f"20;Rome;{i % 2},5;{'yes' if i % 3 else 'no'}" for i in range(20)]
    file = written(tmp_path / "t.csv", rows, HEAD.replace(",", ";"))
    data = load(file, categorical=["price"], drop=["age", "city"])
    assert data.facts.columns == (("price", ("0,5", "1,5")),)
    classes = load(file, "price", problem="classification", drop=["age", "city"]).facts.classes
    assert classes == ("0,5", "1,5")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "t.csv", head='age,city,"age",label\n')
    with pytest.raises(UserError, match=r"t\.csv has more than one column age"):
        load(file, drop=["age"])


def test_a_csv_file_has_a_network_for_points_without_being_told() -> None:
    config = composed("dataset=csv", "dataset.root=x.csv", "dataset.target=y")
    assert (config.model.name, config.dataset.task, config.dataset.inputs) == (
        "toy_mlp",
        None,
        "points",
    )


@pytest.mark.parametrize(("shape", "name"), [((4,), "points"), ((1, 8, 8), "images")])
def test_samples_are_called_what_they_are(shape: tuple[int, ...], name: str) -> None:
    assert Classification.of(composed(), {"shape": shape}).samples == name
