"""List runs with their main figures: a line a run."""

import pandas as pd

from bnnrepro.report.compare import left_out, number, shown
from bnnrepro.report.render.document import DASH, Document, Section

_HEADING = ("dataset", "stand_in", "model", "preset")
_FIGURES = ("validation mode", "test mode", "test mean", "train mode", "train mean")


def run_list(table: pd.DataFrame, title: str) -> Document:
    """Return a document with a section a data set, model and preset, and a line a run.

    A line has the method, the settings that differ within it, the seed, the run's own metric at the
    best epoch, or at the last where there is no best, and the state.

    Args:
        table: of ``bnnrepro.runs.results.table``.
        title: of the document.
    """
    runs = table.drop_duplicates("folder", keep="last")
    runs = runs.assign(metric=runs["folder"].map(_metrics(table)))
    keys = [key for key in _HEADING if key in runs]
    settings = _settings(runs, [*keys, "method"])
    figures = _figures(table).reindex(runs["folder"])
    names = [name for name in _FIGURES if name in figures]
    sections = []
    for heading, group in runs[runs["state"] != "foreign"].groupby(keys, dropna=False, sort=False):
        lines = group.sort_values(["method", *settings, "seed"], kind="stable")
        rows = []
        for run in lines.to_dict("records"):
            found = figures.loc[run["folder"]]
            texts = [
                DASH if pd.isna(found[name]) else number(found[name], run["metric"])
                for name in names
            ]
            told = [shown(run[key]) for key in ("method", *settings, "seed")]
            rows.append([*told, shown(found["epoch"]), *texts, run["state"]])
        words = [str(word) for word in (*heading, *group["metric"].unique()) if pd.notna(word)]
        columns = ["method", *settings, "seed", "epoch", *names, "state"]
        sections.append(Section(", ".join(words), columns, rows))
    others = left_out(runs[runs["state"] != "done"])
    return Document(
        title,
        about="Figures are at the best epoch by validation; at the last, where there is no best.",
        sections=sections,
        lists=[("Without results", others)] if others else [],
        data=table,
    )


def _metrics(table: pd.DataFrame) -> pd.Series:
    """Return each folder's own metric: the first of the training set that is not the loss."""
    own = table[(table["split"] == "train") & (table["metric"] != "loss")]
    return own.groupby("folder")["metric"].first()


def _figures(table: pd.DataFrame) -> pd.DataFrame:
    """Return the figures ``_FIGURES`` of each folder's own metric, and their epoch."""
    has_best = set(table.loc[table["selection"] == "best", "folder"])
    selection = table["folder"].isin(has_best).map({True: "best", False: "final"})
    chosen = table["metric"] == table["folder"].map(_metrics(table))
    rows = table[chosen & (table["selection"] == selection) & table["prediction"].notna()]
    rows = rows.assign(figure=rows["split"] + " " + rows["prediction"])
    rows = rows.drop_duplicates(["folder", "figure"], keep="last")
    wide = rows.pivot(index="folder", columns="figure", values="value")
    return wide.assign(epoch=rows.groupby("folder")["epoch"].first())


def _settings(runs: pd.DataFrame, keys: list[str]) -> list[str]:
    """Return the settings that differ among runs which are equal in ``keys``."""
    columns = runs.columns[: runs.columns.get_loc("preset")].difference(keys, sort=False)
    groups = runs.groupby(keys, dropna=False)
    return [key for key in columns if groups[key].nunique(dropna=False).max() > 1]
