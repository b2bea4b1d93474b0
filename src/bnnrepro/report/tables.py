"""The layout of the paper's tables: which rows, which experiment fills them, what stands beside."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnnrepro.report.published import SPLITS, Quoted, published

DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
METHODS = {
    "ste": "STE",
    "bop": "Bop",
    "pmf": "PMF",
    "bayesbinn_mode": "BayesBiNN (mode)",
    "bayesbinn_mean": "BayesBiNN (mean)",
    "full_precision": "Full precision",
}
NOTES = {
    "bop": (
        "Bop is run on the identical protocol, which is what the paper describes. The program "
        "behind the published figure also binarised activations and inputs and learned BatchNorm "
        "biases: the two need not agree."
    ),
    "pmf": (
        "PMF follows the rule of its paper. The published program applies the softmax twice, "
        "replaces the Jacobian's diag(u) by the identity, and its scheduler fires at iteration 0, "
        "so that its learning rate is 0.2 times the stated one: the two need not agree. Runs of "
        "the earlier reproduction share one seed: n is 1."
    ),
    "mean": (
        "The average of predictions over draws from the posterior. The paper does not state how "
        "many draws it took; evaluate.samples says how many were taken here (10 unless set)."
    ),
    "table6": (
        "The paper's table begins at a learning rate of 1e-1, its appendix's search space at 1e-2: "
        "one of the two is a slip. Run here is what the table says."
    ),
    "lrnet": "LR-net's own figure, as the paper quotes it; not run here.",
}


@dataclass(frozen=True)
class Row:
    """A line of a table: one figure of one experiment.

    Attributes:
        group: heading that it stands under, such as the data set.
        label: the line's own name.
        cell: the experiment; None for a figure that is only quoted.
        kind: ``mode`` or ``mean``, the prediction that is judged.
        split: ``train``, ``validation`` or ``test``.
        paper: what the paper printed, if anything.
        earlier: what the earlier reproduction logged, if anything.
        note: a key of ``NOTES``, or None.
    """

    group: str
    label: str
    cell: str | None
    kind: str
    split: str
    paper: Quoted | None
    earlier: Quoted | None = None
    note: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper: ``name`` is its number, ``selection`` the epoch that is reported."""

    name: str
    title: str
    selection: str
    rows: tuple[Row, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The experiments, each once, in order."""
        return tuple(dict.fromkeys(row.cell for row in self.rows if row.cell is not None))


def _methods_table(name: str, title: str, splits: Sequence[str]) -> Table:
    rows = []
    for dataset, group in DATASETS.items():
        for method, label in METHODS.items():
            experiment = method.removesuffix("_mode").removesuffix("_mean")
            kind = "mean" if method.endswith("_mean") else "mode"
            note = {"bop": "bop", "pmf": "pmf", "bayesbinn_mean": "mean"}.get(method)
            rows += [
                Row(
                    group,
                    label,
                    f"table2_{dataset}_{experiment}",
                    kind,
                    split,
                    published().find("table2", dataset, method, split),
                    published().find("reproduction_best", dataset, method, split),
                    note,
                )
                for split in splits
            ]
    return Table(name, title, "best", tuple(rows))


def _sweep_table(name: str, title: str, group: str, word: str, shared: str) -> Table:
    """Return table 6 or 7; the cell of the value ``shared`` is table 2's."""
    values = dict.fromkeys(key[0] for key in published().figures[f"table{name}"])
    rows = [
        Row(
            group,
            value,
            "table2_mnist_bayesbinn" if value == shared else f"table{name}_mnist_{word}_{value}",
            "mode",
            split,
            published().find(f"table{name}", value, split),
            note="table6" if value == "1e-1" and name == "6" else None,
        )
        for value in values
        for split in SPLITS
    ]
    return Table(name, title, "best", tuple(rows))


def _lrnet_table() -> Table:
    rows = []
    for dataset in ("mnist", "cifar10"):
        label, key = METHODS["bayesbinn_mode"], (dataset, "bayesbinn_mode", "test")
        quoted = published().find("table11_lrnet", dataset, "lrnet", "test")
        ours, earlier = (
            published().find("table11", *key),
            published().find("reproduction_lrnet", *key),
        )
        cell, group = f"table11_{dataset}_bayesbinn", DATASETS[dataset]
        rows.append(Row(group, "LR-net", None, "mode", "test", quoted, note="lrnet"))
        rows.append(Row(group, label, cell, "mode", "test", ours, earlier))
    return Table("11", "Test accuracy on LR-net's architectures, last epoch", "final", tuple(rows))


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _methods_table("2", "Test accuracy of each method", ["test"]),
        _sweep_table(
            "6", "BayesBiNN on MNIST by learning rate", "MNIST, temperature 1e-10", "lr", "1e-4"
        ),
        _sweep_table(
            "7",
            "BayesBiNN on MNIST by temperature",
            "MNIST, learning rate 1e-4",
            "temperature",
            "1e-10",
        ),
        _methods_table("10", "Train, validation and test accuracy of each method", SPLITS),
        _lrnet_table(),
    )
}
"""The tables by the paper's numbers."""
