"""The comparison with the authors' learning curves: its arithmetic, and its errors."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from benchmarks import published_curve
from benchmarks.published_curve import FIGURES, RUNS, compared, published, summary

from bnnrepro.config.compose import compose


def shifted(by: float, epochs: int) -> pd.DataFrame:
    """Two runs that lie by so many published deviations above the authors' mean."""
    theirs = published().query(f"epoch <= {epochs}")
    values = theirs.assign(value=theirs["mean"] + by * theirs["std"])
    wide = values.pivot(index="epoch", columns="figure", values="value").reset_index()
    return pd.concat([wide.assign(seed=0), wide.assign(seed=1)])


def test_the_published_curve_is_whole_and_ends_at_table_2() -> None:
    theirs = published()
    assert set(theirs["figure"]) == {*FIGURES}
    assert theirs.groupby("figure")["epoch"].agg(list).map(lambda e: e == [*range(1, 501)]).all()
    last = theirs[theirs["epoch"] == 500].set_index("figure")
    # table 2 prints 99.85, 99.02 and 98.86, of each run's epoch of best validation
    for figure, printed in {"train": 99.85, "validation": 99.02, "test": 98.86}.items():
        assert last.loc[f"{figure}_accuracy", "mean"] == pytest.approx(printed, abs=0.15)


@pytest.mark.parametrize(("by", "outside"), [(0, 0), (2.3, 0), (2.35, 30), (-2.35, 30)])
def test_an_epoch_is_outside_beyond_the_quantile_of_both_spreads(by: float, outside: int) -> None:
    """Of t with 4 degrees of freedom, 2.776, times sqrt(1/5 + 1/2): 2.323 deviations."""
    table = compared(shifted(by, 30), published())
    assert (table["n"] == 2).all()
    found = summary(table).set_index("figure")
    assert (found["epochs"] == 30).all()
    assert found["epochs outside"].tolist() == [outside] * len(FIGURES)
    assert (table["difference"] - by * table["std"]).abs().max() < 1e-9
    assert RUNS == 5


def run_in(folder: Path, seed: int, name: str, **changes: object) -> None:
    """Write an unfinished run of the cell, as far as epoch 2."""
    config = compose("dataset=mnist", "method=bayesbinn", f"seed={seed}").to_dict()
    run = folder / "mnist" / "mlp" / "bayesbinn" / name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config | changes))
    status = {"state": "interrupted", "epoch": 2, "epochs": 500, "attempt": 1}
    (run / "status.json").write_text(json.dumps(status))
    rows = [f"{epoch},0.5,95.5,97,{97 + seed}" for epoch in (1, 2)]
    (run / "metrics.csv").write_text("\n".join([",".join(("epoch", *FIGURES)), *rows, ""]))


def test_runs_of_the_cell_are_compared_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in(tmp_path, 0, "0" * 10)
    run_in(tmp_path, 1, "1" * 10)
    run_in(tmp_path, 2, "2" * 10, epochs=3)
    assert published_curve.main([str(tmp_path), "--write", str(tmp_path / "here")]) == 0
    out = capsys.readouterr().out
    assert "97.50 (96.77 ± 0.17)" in out
    assert "seeds 0 (interrupted), 1 (interrupted); commit unknown" in out
    names = sorted(file.name for file in (tmp_path / "here").iterdir())
    assert names == ["curve.csv", "curve.pdf", "curve.png"]


@pytest.mark.parametrize("words", [["{}"], ["{}/nowhere"], ["{}", "--wrte", "x"], []])
def test_a_folder_without_such_a_run_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert published_curve.main([word.format(tmp_path) for word in words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
