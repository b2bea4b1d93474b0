"""The paper's tables: their layout, the sweeps that fill them, published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from omegaconf import OmegaConf

from bnnrepro.config.parts import conf_dir
from bnnrepro.report.published import SPLITS, Quoted, published
from bnnrepro.report.style import method_label, methods

SHORTENED = "not the paper's protocol"
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
CONTINUAL = {
    "figure5_prior": "BayesBiNN, prior from the last task",
    "figure5_no_prior": "BayesBiNN, prior fixed",
    "figure5_ste": "STE",
    "continual_bimu": "BiMU",
    "continual_metaplasticity": "Metaplasticity",
}
NO_POSTERIOR = ("figure5_ste", "continual_metaplasticity")
NOTES = {
    "bop": (
        "Bop is run on the identical protocol, which is what the paper describes. The program "
        "behind the published figure also binarised activations and inputs and learned BatchNorm "
        "biases: the two need not agree."
    ),
    "pmf": (
        "PMF follows the rule of its paper. The published program takes the softmax's Jacobian at "
        "the softmax of the softmax, with the identity for its diagonal; under PyTorch 1.1 or "
        "later its scheduler also fires at iteration 0, so that its learning rate is 0.2 times the "
        "stated one: the two need not agree. Runs of the earlier reproduction share one seed: "
        "n is 1."
    ),
    "mean": (
        "The average of predictions over draws from the posterior. The paper does not state the "
        "number of its draws; ours is evaluate.samples (10 unless set)."
    ),
    "table6": (
        "The paper's table begins at a learning rate of 1e-1, its appendix's search space at 1e-2: "
        "one of the two is a slip. Our runs follow the table."
    ),
    "lrnet": "LR-net's own figure, as the paper quotes it; not run here.",
}


@dataclass(frozen=True)
class Entry:
    """A figure of a table, at its place.

    Attributes:
        section: the heading above it; empty where the table has one part.
        row: its row's name, such as the method.
        column: its column's name, such as the data set.
        cell: the point of the sweep that it is taken from, ``dataset=mnist method=ste``; None for a
            figure that is only quoted.
        prediction: ``mode`` or ``mean``.
        split: ``train``, ``validation`` or ``test``.
        paper: the paper's printed figure, if any.
        earlier: the earlier reproduction's figure, if any.
        note: a key of ``NOTES``, or None.
    """

    section: str
    row: str
    column: str
    cell: str | None
    prediction: str
    split: str
    paper: Quoted | None
    earlier: Quoted | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """Its place in words: ``MNIST, train, STE``."""
        return ", ".join(filter(None, (self.section, self.column, self.row)))


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    ``name`` is its number, ``sweep`` the file of ``conf/sweep/`` that makes its runs, ``selection``
    the reported epoch.
    """

    name: str
    title: str
    sweep: str
    selection: str
    entries: tuple[Entry, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of its cells, without repeats, in order."""
        return tuple(dict.fromkeys(e.cell for e in self.entries if e.cell is not None))


def _methods_table(name: str, title: str, sweep: str, splits: Sequence[str]) -> Table:
    """Return a table with a row a method; a column a data set, or a split if there are several.

    Where the sweep names models, a column is a data set and a model. A method with a posterior has
    two rows, its mode and its mean.

    Args:
        name: of the table.
        title: the line above it.
        sweep: a file of ``conf/sweep/`` with values of ``dataset`` and of ``method``.
        splits: those shown.
    """
    choices, swept = _choices(sweep)
    entries = []
    quoted, own = name.isdecimal(), "model" not in choices  # figures are of the data set's model
    for dataset, model, method, split in product(
        choices["dataset"], choices.get("model", [""]), choices["method"], splits
    ):
        point = {"dataset": dataset, "model": model, "method": method}
        posterior = getattr(methods().get(method), "has_posterior", False)
        for prediction in ("mode", "mean") if posterior else ("mode",):
            key, of = (f"{method}_{prediction}", f" ({prediction})") if posterior else (method, "")
            data = " ".join(filter(None, (DATASETS.get(dataset, dataset), model)))
            entries.append(
                Entry(
                    section=data if len(splits) > 1 else "",
                    row=f"{method_label(method)}{of}",
                    column=split if len(splits) > 1 else data,
                    cell=" ".join(f"{key}={point[key]}" for key in swept if key in point),
                    prediction=prediction,
                    split=split,
                    paper=published().find("table2", dataset, key, split) if own else None,
                    earlier=published().find("reproduction_best", dataset, key, split)
                    if own
                    else None,
                    note=next(
                        (word for word in (method, prediction) if quoted and word in NOTES), None
                    ),
                )
            )
    return Table(name, title, sweep, "best", tuple(entries))


def _choices(sweep: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of each key that a file of ``conf/sweep/`` sets, and the swept keys."""
    content = OmegaConf.load(conf_dir() / "sweep" / f"{sweep}.yaml")
    chosen = OmegaConf.select(content, "defaults", default=[])
    named = [entry for entry in chosen if isinstance(entry, Mapping)]  # the others are files
    pairs = [(str(key), str(value)) for entry in named for key, value in entry.items()]
    fixed = {key.rpartition("/")[2]: [value] for key, value in pairs}
    params = OmegaConf.select(content, "hydra.sweeper.params", default={})
    swept = {str(key): str(values).split(",") for key, values in params.items()}
    return fixed | swept, list(swept)


def tables_of_sweeps() -> list[str]:
    """Return the names of the sweeps over methods that are none of the paper's tables."""
    paper = {table.sweep for table in tables().values()}
    names = sorted(file.stem for file in (conf_dir() / "sweep").glob("*.yaml"))
    return [name for name in names if name not in paper and table_of_sweep(name) is not None]


def table_of_sweep(name: str) -> Table | None:
    """Return a table of a sweep over methods that is none of the paper's tables; or None."""
    file = conf_dir() / "sweep" / f"{name}.yaml"
    if not file.is_file():
        return None
    choices, swept = _choices(name)
    known = {"dataset", "model", "method", "seed"}
    if not {"dataset", "method"} <= choices.keys() or not known.issuperset(swept):
        return None  # a search, or a sweep over experiments or settings
    comments = [line[2:] for line in file.read_text("utf-8").splitlines() if line[:2] == "# "]
    title = next(line for line in [*comments, name] if not line.startswith("@"))
    return _methods_table(name, title.rstrip("."), name, ["test"])


def _sweep_table(name: str, title: str, section: str, key: str) -> Table:
    """Return table 6 or 7; the cell of the published value is table 2's as well."""
    figures = published().figures[f"table{name}"]
    entries = [
        Entry(section, value, split, f"{key}={float(value)}", "mode", split, figure, note=note)
        for (value, split), figure in figures.items()
        for note in ["table6" if value == "1e-1" and name == "6" else None]
    ]
    return Table(name, title, f"table{name}", "best", tuple(entries))


def _lrnet_table() -> Table:
    entries = []
    for dataset in ("mnist", "cifar10"):
        column, key = DATASETS[dataset], (dataset, "bayesbinn_mode", "test")
        lrnet = published().find("table11_lrnet", dataset, "lrnet", "test")
        paper = published().find("table11", *key)
        earlier = published().find("reproduction_lrnet", *key)
        cell = f"experiment=table11_{dataset}_bayesbinn"
        entries.append(Entry("", "LR-net", column, None, "mode", "test", lrnet, note="lrnet"))
        row = f"{method_label('bayesbinn')} (mode)"
        entries.append(Entry("", row, column, cell, "mode", "test", paper, earlier))
    title = "Test accuracy on LR-net's architectures, last epoch"
    return Table("11", title, "table11", "final", tuple(entries))


def _continual_table() -> Table:
    entries = [
        Entry("", row, "all tasks", f"experiment={cell}", prediction, "test", None)
        for cell, row in CONTINUAL.items()
        for prediction in ["mode" if cell in NO_POSTERIOR else "mean"]
    ]
    title = "Average test accuracy after the last task of permuted MNIST"
    return Table("successors_continual", title, "successors_continual", "final", tuple(entries))


@cache
def tables() -> dict[str, Table]:
    """Return the paper's tables, by their numbers."""
    known = (
        _methods_table("2", "Test accuracy of each method", "table2", ["test"]),
        _sweep_table(
            "6", "BayesBiNN on MNIST by learning rate", "MNIST, temperature 1e-10", "method.lr"
        ),
        _sweep_table(
            "7",
            "BayesBiNN on MNIST by temperature",
            "MNIST, learning rate 1e-4",
            "method.temperature",
        ),
        _methods_table(
            "10", "Train, validation and test accuracy of each method", "table2", SPLITS
        ),
        _lrnet_table(),
        _continual_table(),
    )
    return {table.name: table for table in known}
