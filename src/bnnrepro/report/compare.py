"""Compare groups of any runs: means with intervals, and tests of their differences.

Two groups with the same seeds are compared by the paired t-test, as the seed fixes the split, the
initial weights and the batches of both; others by Welch's. All p-values of a comparison are
corrected by Holm's method (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from bnnrepro.errors import UserError, nearest
from bnnrepro.report.published import SELECTIONS
from bnnrepro.report.render.document import DASH, Document, Section, records
from bnnrepro.report.statistics import summarise

PREDICTION = {"mode": "of the binary network (mode)", "mean": "of the average over draws (mean)"}
_RUNNING = "as the epoch ran"  # of the training set: neither mode nor mean
_MAX_GROUPS = 50  # whose 1,225 differences are still read
_NAMED = 3  # folders of one state and reason


def compare(
    table: pd.DataFrame,
    by: Sequence[str],
    *,
    metric: str = "test.accuracy",
    selection: str | None = None,
    prediction: str = "mode",
) -> Document:
    """Return the comparison of the finished runs in a table.

    Args:
        table: of ``bnnrepro.runs.results.table``, with the columns ``by``.
        by: columns whose values name a group.
        metric: split and metric: ``test.accuracy``.
        selection: ``best`` or ``final``; None is ``best`` where a run has it.
        prediction: ``mode`` or ``mean``; the training set's running figures have neither.

    Raises:
        UserError: no run is finished, or none has the metric, selection or prediction.
    """
    rows, selection, predicted = _chosen(table, metric, selection, prediction)
    rows = rows.assign(group=_labels(rows, by)).sort_values([*by, "seed"], kind="stable")
    by_group = dict(list(rows.groupby("group", sort=False)))
    groups = [_summary(label, group, by) for label, group in by_group.items()]
    couples = combinations(by_group.items(), 2) if len(by_group) <= _MAX_GROUPS else ()
    pairs = _holm([_pair(*couple) for couple in couples])
    sections = [
        Section(
            "",
            [*by, "n", f"{metric}, mean ± std", "95 % interval"],
            [_group_texts(group, by, metric) for group in groups],
        ),
        Section(
            "",
            ["Difference", "mean", "95 % interval", "test", "p", "p (Holm)"],
            [_pair_texts(pair, metric) for pair in pairs],
        ),
    ]
    others = table[~table["folder"].isin(rows["folder"])].drop_duplicates("folder")
    lists = {
        "Settings that differ besides": _settings(rows, by, prediction),
        "Not in the comparison": left_out(others),
    }
    return Document(
        title=f"{metric} by {', '.join(by)}",
        warning=warning(rows),
        about=_about(metric, selection, predicted, pairs, len(groups)),
        sections=sections if pairs else sections[:1],
        lists=[(heading, entries) for heading, entries in lists.items() if entries],
        data=pd.DataFrame(groups),
        extra={
            "metric": metric,
            "selection": selection,
            "prediction": prediction,
            "differences": pairs,
            "values": records(rows[["group", "seed", "value", "epoch", "folder"]]),
            "not_compared": records(others[["folder", "state", "note"]]),
        },
        runs=[(f"{row.group}, seed {row.seed}", Path(row.folder)) for row in rows.itertuples()],
    )


def with_charts(document: Document, curves: pd.DataFrame) -> Document:
    """Return a comparison with its charts: intervals, and learning curves where there are any.

    Args:
        document: as ``compare`` returned it.
        curves: of ``bnnrepro.runs.results.curves_of``.
    """
    from bnnrepro.report import charts  # with matplotlib, which the terminal does not need

    metric, compared = document.extra["metric"], pd.DataFrame(document.extra["values"])
    column = metric.replace(".", "_", 1)
    summary = document.data.rename(columns={"group": "label"})
    summary["values"] = list(compared.groupby("group", sort=False)["value"].agg(list))
    drawn = {f"{metric} of each group": charts.intervals(summary, column)}
    rows = compared[["group", "folder"]].merge(curves, on="folder")
    if column in rows and rows.loc[rows[column].notna(), "epoch"].nunique() > 1:
        drawn[f"{column} by epoch"] = charts.learning_curves(rows, column, "group")
    pictures = [charts.svg(figure, title) for title, figure in drawn.items()]
    return dataclasses.replace(document, charts=pictures)


def _chosen(
    table: pd.DataFrame, metric: str, selection: str | None, prediction: str
) -> tuple[pd.DataFrame, str, str]:
    """Return one row for each run that has the figure, the selection, and what predicted."""
    done = table[table["state"] == "done"]
    if done.empty:
        raise UserError("runs", f"{table['folder'].nunique()} found", "none of them is finished")
    names = done["split"] + "." + done["metric"]
    rows = done[names == metric]
    if rows.empty:
        known = list(dict.fromkeys(names.dropna()))
        allowed = f"must be one of {', '.join(known)}{nearest(metric, known)}"
        raise UserError("--metric", metric, allowed)
    there = list(dict.fromkeys(rows["selection"]))
    selection = selection or ("best" if "best" in there else "final")
    if selection not in there:
        raise UserError("--select", selection, f"no run has it; there is {', '.join(there)}")
    rows = rows[rows["selection"] == selection]
    kinds = rows["prediction"].fillna(_RUNNING)
    kind = prediction if prediction in set(kinds) else _RUNNING
    rows = rows[kinds == kind]
    if rows.empty:
        allowed = f"no run has this {metric}; there is {kinds.iloc[0]}"
        raise UserError("--prediction", prediction, allowed)
    # the last evaluation of a run counts, and a value that is not finite does not
    rows = rows.drop_duplicates("folder", keep="last")
    rows = rows[rows["value"].map(math.isfinite)]
    if rows.empty:
        raise UserError("--metric", metric, "no finished run has a finite value")
    return rows, selection, PREDICTION.get(kind, kind)


def _labels(rows: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Return the name of each row's group: ``ste, lr 0.001``."""
    return [
        ", ".join(
            f"{key.rpartition('.')[2]} {shown(value)}" if "." in key else shown(value)
            for key, value in zip(by, values, strict=True)
        )
        for values in rows[list(by)].itertuples(index=False)
    ]


def shown(value: object) -> str:
    """Return a setting as people write it; a dash if there is none."""
    if pd.isna(value):
        return DASH
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else str(value)


def _summary(label: str, group: pd.DataFrame, by: Sequence[str]) -> dict[str, Any]:
    stats = summarise(group["value"].tolist())
    low, high = stats.interval or (None, None)
    return {
        "group": label,
        **{key: group[key].iloc[0] for key in by},
        "n": stats.n,
        "mean": stats.mean,
        "std": stats.std,
        "interval_low": low,
        "interval_high": high,
    }


def _pair(first: tuple[str, pd.DataFrame], second: tuple[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the difference of two groups' means, its interval, the test and its p."""
    from scipy import stats

    (name, rows), (other, other_rows) = first, second
    a, b = (group.set_index("seed")["value"] for group in (rows, other_rows))
    pair: dict[str, Any] = {
        "difference": f"{name} - {other}",
        "mean": float(a.mean() - b.mean()),
        "interval_low": None,
        "interval_high": None,
        "test": "none: a group of one run",
        "p": None,
    }
    if min(len(a), len(b)) < 2:
        return pair
    paired = a.index.is_unique and b.index.is_unique and set(a.index) == set(b.index)
    spreads = [a - b[a.index]] if paired else [a, b]
    # beyond the rounding of the values themselves
    if all(values.std() <= 1e-12 * max(a.abs().max(), b.abs().max()) for values in spreads):
        return pair | {"test": "none: the runs have no spread"}
    if paired:
        test, answer = "paired by seed", stats.ttest_rel(a, b[a.index])
    else:
        test, answer = "Welch", stats.ttest_ind(a, b, equal_var=False)
    interval = answer.confidence_interval(0.95)
    return pair | {
        "interval_low": float(interval.low),
        "interval_high": float(interval.high),
        "test": test,
        "p": float(answer.pvalue),
    }


def _holm(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pairs with ``p_holm``: the p-values corrected for the number of tests."""
    tested = sorted((pair for pair in pairs if pair["p"] is not None), key=lambda pair: pair["p"])
    corrected = 0.0
    for place, pair in enumerate(tested):
        corrected = max(corrected, min(1.0, (len(tested) - place) * pair["p"]))
        pair["p_holm"] = corrected
    return [{"p_holm": None, **pair} for pair in pairs]


def _about(metric: str, selection: str, predicted: str, pairs: Sequence[Any], groups: int) -> str:
    tests = sum(pair["p"] is not None for pair in pairs)
    text = (
        f"{metric}{', percent' if metric.endswith('accuracy') else ''}, {SELECTIONS[selection]}, "
        f"{predicted}. ± is the sample standard deviation (n - 1) over runs; the "
        "95 % interval is Student's, of the mean."
    )
    if pairs:
        text += " A difference is the first minus the second"
        corrected = f"p (Holm) corrected for {tests} test{'s' if tests != 1 else ''}"
        text += f"; p is two-sided, and {corrected}." if tests else "."
    elif groups > 1:
        text += f" Differences among more than {_MAX_GROUPS} groups are not tested."
    return text


def warning(rows: pd.DataFrame) -> str:
    """Return what a reader of some runs' figures must not miss; empty if there is nothing.

    Args:
        rows: a row a run: ``preset``, ``dataset``, perhaps ``stand_in``, ``code``, ``group``.
    """
    parts = []
    if short := sorted({str(preset) for preset in rows["preset"].dropna()} - {"paper"}):
        parts.append(f"Preset {', '.join(short)}: a shortened protocol, not the paper's.")
    if "stand_in" in rows and rows["stand_in"].notna().any():
        data = rows[rows["stand_in"].notna()][["stand_in", "dataset"]].drop_duplicates()
        named = (f"{row.stand_in} stand in for {row.dataset}" for row in data.itertuples())
        parts.append(f"Other data stand in: {'; '.join(named)}.")
    codes = rows["code"].fillna("unknown")
    mixed = codes.groupby(rows["group"], sort=False).nunique()
    if codes.nunique() > 1:
        inside = ", ".join(mixed[mixed > 1].index)
        parts.append(
            f"The runs were made by {codes.nunique()} codes"
            f"{f', also within {inside}' if inside else ''}; see the column code of the results."
        )
    return " ".join(parts)


def _settings(rows: pd.DataFrame, by: Sequence[str], prediction: str) -> list[str]:
    """Return what differs besides the seed: within each group, and between groups besides ``by``.

    Where a part differs, as the data set, its own settings are not named.
    """
    keys = list(rows.columns[: rows.columns.get_loc("seed")])
    if prediction == "mode":
        keys = [key for key in keys if not key.startswith("evaluate.")]
    within = rows.groupby("group", sort=False)[keys].nunique(dropna=False) > 1
    inside = {str(label): _heads(keys, mask.to_numpy()) for label, mask in within.iterrows()}
    named = {key for own in inside.values() for key in own}
    between = _heads(keys, (rows[keys].nunique(dropna=False) > 1).to_numpy())
    between = [key for key in between if key not in named and key not in by]
    entries = [f"within {label}: {', '.join(own)}" for label, own in inside.items() if own]
    return entries + ([f"between groups: {', '.join(between)}"] if between else [])


def _heads(keys: Sequence[str], differ: Sequence[bool]) -> list[str]:
    """Return the keys that differ, without those below another one of them."""
    chosen = [key for key, differs in zip(keys, differ, strict=True) if differs]
    return [key for key in chosen if key.partition(".")[0] not in {*chosen} - {key}]


def left_out(runs: pd.DataFrame) -> list[str]:
    """Return a line for each state and reason of some runs, with folders."""
    entries = []
    for (state, note), group in runs.fillna({"note": ""}).groupby(["state", "note"], sort=True):
        reason = note or ("it has no such finite value" if state == "done" else "")
        folders = ", ".join(group["folder"][:_NAMED])
        more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
        entries.append(f"{state}{f': {reason}' if reason else ''}: {folders}{more}")
    return entries


def _group_texts(group: Mapping[str, Any], by: Sequence[str], metric: str) -> list[str]:
    spread = "" if group["std"] is None else f" ± {number(group['std'], metric)}"
    return [
        *(shown(group[key]) for key in by),
        str(group["n"]),
        f"{number(group['mean'], metric)}{spread}",
        _interval(group, metric),
    ]


def _pair_texts(pair: Mapping[str, Any], metric: str) -> list[str]:
    return [
        pair["difference"],
        number(pair["mean"], metric, "+"),
        _interval(pair, metric, "+"),
        pair["test"],
        *(DASH if pair[key] is None else f"{pair[key]:.2g}" for key in ("p", "p_holm")),
    ]


def _interval(ends: Mapping[str, Any], metric: str, sign: str = "") -> str:
    if ends["interval_low"] is None:
        return DASH
    low, high = (number(ends[f"interval_{end}"], metric, sign) for end in ("low", "high"))
    return f"{low} to {high}"


def number(value: float, metric: str, sign: str = "") -> str:
    """Return a metric's value in a few digits."""
    return f"{value:{sign}.2f}" if metric.endswith("accuracy") else f"{value:{sign}.4g}"
