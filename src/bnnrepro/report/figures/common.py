"""What the figures share: collected runs as DataFrames, titles with remarks, files.

Every row of a figure's CSV begins with the columns ``IDS``. A mean comes with ``std``, the sample
standard deviation (n - 1), and ``n``, the number of runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bnnrepro.errors import UserError
from bnnrepro.report import charts
from bnnrepro.report.collect import CellResults, CollectedRun
from bnnrepro.report.statistics import mean_and_std
from bnnrepro.report.tables import SHORTENED
from bnnrepro.runs import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDS = ["cell", "preset", "stands_for", "dataset", "method"]


def identity(results: CellResults) -> dict[str, Any]:
    """Return the columns ``IDS`` of a cell."""
    cell = results.cell
    values = (cell.name, cell.preset, results.stands_for or "", cell.dataset, cell.method)
    return dict(zip(IDS, values, strict=True))


def curves(collected: Sequence[CellResults]) -> pd.DataFrame:
    """Return the finished runs' ``metrics.csv``: a row per run and epoch.

    The columns are ``IDS``, ``seed``, those of the files, and ``elapsed``: the seconds from the
    start to the epoch's end. A run whose file is damaged, or ends before its last epoch, is left
    out.

    Raises:
        UserError: there are finished runs, and none has a whole file.
    """
    frames = []
    used = [run for results in collected for run in results.used]
    if used and not any(map(has_curves, used)):
        raise UserError("figure", used[0].name, "no finished run has a whole metrics.csv")
    for results in collected:
        for run in filter(has_curves, results.used):
            seconds = run.metrics.get("seconds", np.full(len(run.metrics["epoch"]), np.nan))
            first = identity(results) | {"seed": run.expected.seed}
            elapsed = np.nan_to_num(seconds).cumsum()
            frames.append(pd.DataFrame({**first, **run.metrics, "elapsed": elapsed}))
    table = pd.concat([pd.DataFrame(columns=[*IDS, "seed", "epoch"]), *frames])
    return table[np.isfinite(table["epoch"].astype(float))].astype({"epoch": int})


def has_curves(run: CollectedRun) -> bool:
    """Return whether a finished run's ``metrics.csv`` is there, up to the run's last epoch."""
    return bool(max(run.metrics.get("epoch", ()), default=0) >= run.result["final"]["epoch"])


def column_bands(runs: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return columns of ``curves`` over seeds, as ``charts.bands``, with their ``column``."""
    wide = runs.reindex(columns=[*IDS, "epoch", *columns])
    long = wide.melt([*IDS, "epoch"], list(columns), "column", "value")
    return charts.bands(long, "value", [*IDS, "column"])


def evaluations(
    collected: Sequence[CellResults], *moments: str
) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Yield the figures of each finished run, at the mode and at the mean where it has one.

    Args:
        collected: the cells.
        moments: ``best``, ``final`` or both; the first that a run has counts.

    Yields:
        The columns ``IDS``, ``seed`` and ``prediction``; and the figures of the moment, of the
        evaluation with the draws that the cell asks for.
    """
    for results in collected:
        for run, prediction in product(results.used, ("mode", "mean")):
            evaluation = run.evaluation(prediction)
            found = (evaluation[name] for name in moments if evaluation.get(name))
            moment: Mapping[str, Any] = next(found, {})
            if prediction in moment.get("test", {}):
                first = {"seed": run.expected.seed, "prediction": prediction}
                yield identity(results) | first, moment


def over_seeds(rows: pd.DataFrame, values: Any, x: str) -> pd.DataFrame:
    """Return rows with ``mean``, ``std`` and ``n`` of the values of the same cell, ``x`` and more.

    Args:
        rows: with the columns ``IDS``, ``x``, and perhaps ``prediction``.
        values: the runs' values, as a DataFrame or mappings: these columns, and ``value``.
        x: what distinguishes a cell's rows.
    """
    by = [*IDS, "prediction"] if "prediction" in rows else IDS
    found = pd.DataFrame(values, columns=[*by, x, "value"])
    table = rows.merge(charts.bands(found, "value", by, x), how="left")
    return table.assign(n=table["n"].fillna(0).astype(int))


def need_runs(collected: Sequence[CellResults]) -> None:
    """Check that a run is finished.

    Raises:
        UserError: none is.
    """
    if not any(results.used for results in collected):
        names = ", ".join(results.cell.name for results in collected)
        raise UserError("figure", names, "no run of these is finished")


def remarks(collected: Sequence[CellResults]) -> list[str]:
    """Return remarks: a shortened protocol, data that stand in, missing runs, the commit."""
    texts = []
    preset = collected[0].cell.preset if collected else "paper"
    if preset != "paper":
        texts.append(f"preset {preset}: {SHORTENED}")
    replaced = dict.fromkeys(results.stands_for for results in collected if results.stands_for)
    if replaced:
        texts.append(f"other data stand in for {', '.join(map(str, replaced))}")
    done = sum(len(results.used) for results in collected)
    runs = sum(len(results.runs) for results in collected)
    if done < runs:
        texts.append(f"{done} of {runs} runs done")
    used = [run for results in collected for run in results.used]
    if cut := sum(not has_curves(run) for run in used):
        texts.append(f"{cut} of {done} runs without a whole metrics.csv")
    if commits := dict.fromkeys(run.commit for run in used):
        texts.append(f"commit {', '.join(commits)}")
    return texts


def other_settings(collected: Sequence[CellResults]) -> list[str]:
    """Return a remark on runs whose mean has other draws than their cell asks for; or none."""
    runs = [run for results in collected for run in results.used]
    with_mean = [run for run in runs if "mean" in run.result["final"].get("test", {})]
    left_out = sum(not run.evaluation("mean") for run in with_mean)
    reason = "evaluated with other settings"
    return [f"mean of {left_out} of {len(runs)} runs left out: {reason}"] if left_out else []


def finish(
    figure: Figure,
    title: str,
    texts: Sequence[str],
    data: pd.DataFrame,
    folder: Path,
    stem: str,
    columns: int = 5,
) -> list[Path]:
    """Put title, remarks and a legend to a figure and save it; return the files."""
    figure.suptitle("\n".join([title, *texts]))
    charts.legend_below(figure, columns)
    return charts.save(figure, folder, stem, data)


def write_text(file: Path, texts: Sequence[str], *paragraphs: str) -> Path:
    """Write remarks in bold and paragraphs as Markdown; return the file."""
    bold = [f"**{'; '.join(texts)}**"] if texts else []
    atomic.write_text(file, "\n\n".join([*bold, *paragraphs]).rstrip() + "\n")
    return file


def markdown(data: pd.DataFrame, by: Sequence[str], names: Sequence[str]) -> str:
    """Return mean ± sample standard deviation of some columns by group, as a Markdown table."""
    header = [*by, "runs", *(name.replace("_", " ") for name in names)]
    rows = [header, ["---"] * len(header)]
    for key, group in data.groupby(list(by), sort=False):
        texts = [mean_and_std(group[name].dropna().tolist()) for name in names]
        rows.append([*map(str, key), str(len(group)), *texts])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
