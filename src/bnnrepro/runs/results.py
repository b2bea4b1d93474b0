"""The results of any runs as one tidy table, and their curves as another: pandas DataFrames.

Everything is read from the run folders, and nothing is dropped: a run that has no results, and a
folder that is no run, has one row with its state and the reason.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnnrepro.errors import UserError, nearest
from bnnrepro.runs import query, reading
from bnnrepro.runs.query import Run
from bnnrepro.runs.result import is_number, leaves, read_result
from bnnrepro.runs.result import settings_of as evaluation_settings_of
from bnnrepro.runs.signature import is_excluded

Columns = Mapping[str, NDArray[np.float64]]
"""A run's columns over epochs, all of one length; NaN where a value is empty."""

UNKNOWN = "unknown"
"""Code of runs that are older than its record."""

_NAMES = ("dataset", "stand_in", "model", "method")
_AFTER = ("state", "note", "seconds", "device", "code", "commit", "folder")
_FIGURE = ("selection", "epoch", "split", "prediction", "metric", "value")
_OWN_COLUMNS = (
    "dataset.name",
    "model.name",
    "method.name",
    "preset.name",
    "preset.stand_in",
    "seed",
)


def results(folder: str | Path = "multirun", filters: str = "") -> pd.DataFrame:
    """Return the results of all runs in a folder: a row a figure.

    The columns, in order:

    - ``dataset``, ``model``, ``method``; ``stand_in`` names the data that replaced the data set
      (preset ``smoke``), if any did;
    - each setting that differs among the runs, by its dotted key, such as ``method.lr``, and
      ``dataset.fingerprint`` where the content of the user's own data does;
    - ``preset``, ``seed``;
    - ``selection`` (``best`` or ``final``), its ``epoch``, ``split`` (``train``, ``validation``,
      ``test``, ``ood``), ``prediction`` (``mode`` or ``mean``; None for the running figures of the
      training set), ``metric``, ``value`` (accuracies in percent, losses as means per sample);
    - ``state``, ``note``, ``seconds``, ``device``, ``code`` (hash of the code that made the
      numbers), ``commit``, ``folder``.

    A run that was evaluated again, as with ``evaluate.samples=100``, has the rows of each
    evaluation, and ``evaluate.samples`` among the settings.

    Args:
        folder: of runs at any level, a run's folder, or a sweep's.
        filters: words as of ``bnnrepro status``: ``"dataset=mnist method=ste,bop"``.

    Raises:
        UserError: the folder cannot be read, or a filter is not allowed.
    """
    return table(*query.find(*_places(folder, filters)))


def curves(folder: str | Path = "multirun", filters: str = "") -> pd.DataFrame:
    """Return ``metrics.csv`` of all runs in a folder: a row a run and epoch.

    It is wide, as the files are: a column a metric, NaN where a run has no such value. The other
    columns are those of ``results`` that are not about one figure. A run without a readable
    ``metrics.csv`` has one row without an epoch.

    Args:
        folder: as of ``results``.
        filters: as of ``results``.

    Raises:
        UserError: as of ``results``.
    """
    return curves_of(*query.find(*_places(folder, filters)))


def table(
    runs: Sequence[Run], left_out: Sequence[Path] = (), by: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the table of ``results`` for what ``query.find`` has found.

    Args:
        runs: with their states.
        left_out: folders that are no runs or cannot be read.
        by: columns that are there although the setting may not differ.

    Raises:
        UserError: none of the runs has a setting of ``by``.
    """
    facts: list[Mapping[str, Any]] = []
    settings: list[Mapping[str, Any]] = []
    figures: list[tuple[Any, ...]] = []
    for run in runs:
        fact, result = _facts(run)
        configured = run.settings
        for evaluation in (result, *result.get("evaluations", ())):
            own = evaluation_settings_of(evaluation) if "evaluate" in evaluation else {}
            own_figures = list(_figures(evaluation)) or [(None,) * len(_FIGURE)]
            figures += ((len(facts), *figure) for figure in own_figures)
            facts.append(fact)
            settings.append(configured | {f"evaluate.{key}": value for key, value in own.items()})
    for path in left_out:
        figures.append((len(facts), *(None,) * len(_FIGURE)))
        facts.append(_foreign(path))
        settings.append({})
    long = pd.DataFrame(figures, columns=["place", *_FIGURE])
    long["value"] = long["value"].astype(float)
    return _joined(long.pop("place").to_numpy(int), long, facts, settings, by)


def curves_of(
    runs: Sequence[Run], left_out: Sequence[Path] = (), by: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the table of ``curves`` for what ``query.find`` has found; else as ``table``."""
    nothing: Columns = {"epoch": np.array([np.nan])}
    facts = [*(_facts(run)[0] for run in runs), *map(_foreign, left_out)]
    settings = [*(run.settings for run in runs), *({} for _ in left_out)]
    parts = [*(read_columns(run.folder.metrics) or nothing for run in runs)]
    parts += [nothing for _ in left_out]
    lengths = [len(columns["epoch"]) for columns in parts]
    long = pd.DataFrame(
        {
            name: np.concatenate(
                [c.get(name, np.full(n, np.nan)) for c, n in zip(parts, lengths, strict=True)]
            )
            for name in dict.fromkeys(name for columns in parts for name in columns)
        },
        columns=None if parts else ["epoch"],
    )
    # the duration of an epoch, beside that of the run
    long = long.rename(columns={"seconds": "epoch_seconds"})
    return _joined(np.repeat(np.arange(len(parts)), lengths), long, facts, settings, by)


def read_columns(path: Path) -> Columns | None:
    """Return the columns of a ``metrics.csv``; None where it is missing or no table of numbers.

    A faster ``metrics.read_metrics``, without its whole numbers and its messages: a report reads
    thousands of files.
    """
    try:
        lines = reading.text(path).splitlines()
        names = lines.pop(0).split(",")
        if not lines or any(line.count(",") != len(names) - 1 for line in lines):
            return None
        texts = ",".join(lines).split(",")
        try:
            values = list(map(float, texts))
        except ValueError:
            values = [float(text or "nan") for text in texts]
    except (OSError, ValueError, IndexError):
        return None
    columns = np.array(values).reshape(len(lines), len(names))
    return dict(zip(names, columns.T, strict=True)) if "epoch" in names else None


def code_of(environment: Mapping[str, Any]) -> str:
    """Return the hash of the code that made the numbers; several are joined by ``+``.

    Args:
        environment: the content of ``env.json``, empty where that cannot be read.
    """
    codes = (str(start.get("numerics") or UNKNOWN) for start in _starts(environment))
    return "+".join(dict.fromkeys(codes))


def is_dirty(environment: Mapping[str, Any]) -> bool:
    """Return whether the working tree had uncommitted changes, at any start of the run."""
    commits = [start.get("git") for start in _starts(environment)]
    return any(isinstance(git, dict) and bool(git.get("dirty")) for git in commits)


def environment_of(run: Run) -> dict[str, Any]:
    """Return the content of a run's ``env.json``; empty where it is missing or damaged."""
    try:
        content = reading.parsed(run.folder.env)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _starts(environment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the environments of all starts of a run, oldest first."""
    earlier = environment.get("earlier")
    earlier = earlier if isinstance(earlier, list) else []
    return [*(start for start in earlier if isinstance(start, dict)), environment]


def _places(folder: str | Path, filters: str) -> tuple[list[Path], dict[str, list[str]]]:
    return query.parse(shlex.split(filters), str(folder))


def result_of(run: Run) -> tuple[str, str, dict[str, Any]]:
    """Return a run's state, the reason, and its result where there is a sound one."""
    state, note = run.state.name, run.state.note
    if state == "new":
        note = "has neither a status nor a result"
    if state != "done":
        return state, note, {}
    try:
        return state, note, read_result(run.folder.result)
    except UserError as error:  # since its state was looked up
        return "unreadable", f"result.json {error.allowed}", {}


def _facts(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns that identify a run, and its result where there is a sound one."""
    state, note, result = result_of(run)
    environment, config = environment_of(run), run.config
    if state == "done" and not config:
        state, note, result = "damaged", "config.yaml cannot be read", {}
    git = environment.get("git")
    commit = str(git.get("commit")) if isinstance(git, dict) else None
    names = {key: _name(config.get(key)) or run.value(key) for key in query.PATH_KEYS}
    preset = config.get("preset")
    return {
        **names,
        "stand_in": preset.get("stand_in") if isinstance(preset, dict) else None,
        "preset": _name(preset) or result.get("preset"),
        "seed": config.get("seed", result.get("seed")),
        "state": state,
        "note": note,
        "seconds": result.get("seconds"),
        "device": result.get("device"),
        "code": code_of(environment) if environment else None,
        "commit": f"{commit}-dirty" if commit and is_dirty(environment) else commit,
        "folder": str(run.folder.path),
    }, result


def _name(node: object) -> Any:
    return node.get("name") if isinstance(node, dict) else None


def _foreign(path: Path) -> dict[str, Any]:
    """Return the columns of a folder that is left out."""
    if query.is_run(path.name):
        state, note = "damaged", "config.yaml cannot be read, and the filters need it"
    else:
        state, note = "foreign", "not a run of bnnrepro"
    return {"state": state, "note": note, "folder": str(path)}


def _figures(evaluation: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the columns ``_FIGURE`` of each figure of a result or of one of its evaluations."""
    for selection in ("best", "final"):
        moment = evaluation.get(selection, {})
        for split in ("train", "validation", "test", "ood"):
            for key, value in leaves(moment.get(split), ""):
                words = key[1:].split(".")
                prediction = words.pop(0) if words[0] in ("mode", "mean") else None
                if words and is_number(value):
                    metric = ".".join(words)
                    yield selection, moment.get("epoch"), split, prediction, metric, value


def _joined(
    places: NDArray[np.int64],
    long: pd.DataFrame,
    facts: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any]],
    by: Sequence[str],
) -> pd.DataFrame:
    """Return ``long`` between the columns that describe each of its rows' runs, by place."""
    told = pd.DataFrame(facts, columns=[*_NAMES, "preset", "seed", *_AFTER])
    if told["stand_in"].isna().all():
        told = told.drop(columns="stand_in")
    values = _settings(settings, by=[key for key in by if key not in told])
    before = pd.concat([told[told.columns[: told.columns.get_loc("preset")]], values], axis=1)
    before[["preset", "seed"]] = told[["preset", "seed"]].astype({"seed": "Int64"})
    after = told[list(_AFTER)]
    long["epoch"] = long["epoch"].astype("Int64")
    parts = [before.take(places), long.set_index(places), after.take(places)]
    return pd.concat(parts, axis=1).reset_index(drop=True)


def _settings(settings: Sequence[Mapping[str, Any]], by: Sequence[str]) -> pd.DataFrame:
    """Return the settings that differ among the runs that have them, and those of ``by``."""
    first: dict[str, Any] = {}
    differing = dict.fromkeys(by)
    for own in settings:
        for key, value in own.items():
            if first.setdefault(key, value) != value:
                differing[key] = None
    for key in by:
        if key not in first:
            known = [*_NAMES, "preset", "seed", *_AFTER, *first]
            raise UserError("--by", key, f"no run here has this setting{nearest(key, known)}")
    columns = [key for key in first if key in differing and (key in by or not _is_hidden(key))]
    rows = [[_scalar(own.get(key)) for key in columns] for own in settings]
    return pd.DataFrame(rows, columns=columns, index=range(len(settings))).convert_dtypes()


def _is_hidden(key: str) -> bool:
    """Return whether a setting has a column anyway, or changes no number."""
    words = key.split(".")
    above = (".".join(words[:n]) for n in range(1, len(words) + 1))
    excluded = words[0] != "evaluate" and any(map(is_excluded, above))
    return excluded or words[-1] == "_target_" or key in _OWN_COLUMNS


def _scalar(value: object) -> object:
    return str(value) if isinstance(value, list) else value
