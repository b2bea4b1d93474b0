"""Charts of any runs: what they are made of, and the SVG of a page."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bnnrepro.report import charts

NAMES = ("bayesbinn", "ste", "<script>alert(1)</script> $x_1 &")


@pytest.fixture
def curves():
    draw = np.random.default_rng(0)
    rows = [
        {"method": name, "seed": seed, "epoch": epoch, "test_accuracy": 90 + draw.normal()}
        | {"flipped": 0.5 * np.exp(-epoch / 30)}
        for name in NAMES
        for seed in range(3)
        for epoch in range(1, 301)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def summary():
    return pd.DataFrame(
        {
            "label": NAMES,
            "mean": [98.0, 97.0, 96.0],
            "interval_low": [97.5, 96.5, None],
            "interval_high": [98.5, 97.5, None],
            "values": [[97.9, 98.1], [96.9, 97.1], [96.0]],
            "published": [98.2, None, None],
        }
    )


def test_a_band_is_the_mean_and_the_sample_standard_deviation_of_finite_values():
    curves = pd.DataFrame(
        {
            "seed": [0, 0, 0, 1, 1, 2],
            "epoch": [1, 2, 3, 1, 2, 1],
            "loss": [1.0, np.inf, 5.0, 2.0, 4.0, 6.0],
        }
    ).assign(cell="a")
    band = charts.bands(curves, "loss", ["cell"])
    assert band["epoch"].tolist() == [1, 2, 3]
    assert band["mean"].tolist() == [3, 4, 5]
    assert band["n"].tolist() == [3, 1, 1]
    assert band["std"][0] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert band["std"].isna().tolist() == [False, True, True]
    assert charts.bands(curves, "absent", ["cell"]).empty


def test_lines_keep_their_order_of_appearance(curves):
    table = charts.bands(curves, "flipped", ["method"])
    assert list(table["method"].unique()) == list(NAMES)
    assert table["epoch"].tolist() == [*range(1, 301)] * 3


def every(curves, summary):
    yield charts.svg(charts.learning_curves(curves, "test_accuracy", "method"), "accuracy")
    yield charts.svg(charts.learning_curves(curves, "flipped", "seed"), "flipped")
    yield charts.svg(charts.learning_curves(curves[:1], "flipped", "method"), "one point")
    yield charts.svg(charts.learning_curves(curves, "absent", "method"), "nothing")
    yield charts.svg(charts.intervals(summary, "test_accuracy"), "intervals")


def test_an_svg_is_well_formed_the_same_again_and_its_ids_are_its_own(curves, summary):
    pictures, again = list(every(curves, summary)), list(every(curves, summary))
    assert pictures == again
    ids = re.findall(r' id="([^"]*)"', "".join(pictures))
    assert len(ids) == len(set(ids))
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label")
        own = set(re.findall(r' id="([^"]*)"', picture))
        assert set(re.findall(r'(?:url\(|href=")#([^")]*)', picture)) <= own
        assert len(picture) < 60_000


def test_text_stays_text_and_nothing_becomes_markup(curves, summary):
    first, *_, last = every(curves, summary)
    for picture in (first, last):
        texts = ["".join(node.itertext()) for node in ElementTree.fromstring(picture).iter("text")]
        assert {"BayesBiNN", "STE", NAMES[2]} <= set(texts)
        assert "test accuracy (%)" in texts
        assert "<script" not in picture


def test_colours_follow_the_page(curves, summary):
    for picture in every(curves, summary):
        bare = re.sub(r"var\(--\w+,#\w+\)", "", re.sub(r"<style>.*?</style>", "", picture))
        assert not re.search(r"(?:fill|stroke): #", bare)


def test_a_chart_is_saved_with_its_data_without_dates(curves, tmp_path):
    table = charts.bands(curves, "flipped", ["method"])
    first, again = (
        charts.save(
            charts.learning_curves(curves, "flipped", "method"), tmp_path / name, "f", table
        )
        for name in ("a", "b")
    )
    assert [file.name for file in first] == ["f.png", "f.pdf", "f.csv"]
    for ours, theirs in zip(first, again, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(first[2]), table)
