"""Look of all charts: names of methods, a colour-blind-safe palette, matplotlib's settings.

The colours are Okabe and Ito's; lines differ in dashes and markers as well, for print in grey.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from typing import Any

from omegaconf import OmegaConf

from bnnrepro.config.parts import conf_dir
from bnnrepro.importing import locate

FIRST = ("bayesbinn", "ste", "bop", "pmf", "full_precision")
"""Methods whose colours stay, whatever is added."""

STD = "one sample std over seeds"
"""What a band, an error bar, or a number after ``±`` of ours is."""

INK = "#333333"
EDGE = "#dddddd"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
DARK = {
    "#0072b2": "#56b4e9",
    "#d55e00": "#ff8f40",
    "#009e73": "#2fd3a5",
    "#cc79a7": "#e29cc4",
    "#000000": "#e8e8e8",
    "#e69f00": "#f0c04a",
    "#56b4e9": "#b3defa",
    EDGE: "#3a3e44",
}
"""The colours of a page's charts on a dark ground, where they differ."""

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 3)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_SETTINGS: dict[Any, Any] = {
    "axes.titlesize": "medium",
    "legend.fontsize": "medium",
    "figure.titlesize": "large",
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": EDGE,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "text.parse_math": False,  # a run's setting may have a dollar sign
    "pdf.fonttype": 42,  # text that stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "bnnrepro",  # the same picture again, byte by byte
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
)


@contextmanager
def style(size: float = 8) -> Iterator[None]:
    """Set the style of all charts, while they are drawn and written; text has ``size`` points."""
    from matplotlib import rc_context

    with rc_context({**_SETTINGS, "font.size": size}):
        yield


@cache
def methods() -> dict[str, Callable[..., Any]]:
    """Return the class of each method of ``conf/method/``, by its name."""
    names = [file.stem for file in sorted((conf_dir() / "method").glob("*.yaml"))]
    names = [*filter(names.__contains__, FIRST), *(name for name in names if name not in FIRST)]
    return {name: locate("method._target_", str(_setting(name, "_target_"))) for name in names}


def _setting(method: str, key: str) -> object:
    return OmegaConf.select(OmegaConf.load(conf_dir() / "method" / f"{method}.yaml"), key)


@cache
def method_label(method: str) -> str:
    """Return a method's name as tables and figures print it: the ``label`` of its class.

    A class with several files names the key that tells these apart, its ``label_key``.
    """
    cls = methods().get(method)
    key = getattr(cls, "label_key", None)
    variant = f" ({_setting(method, key)})" if key else ""
    return f"{getattr(cls, 'label', '') or method}{variant}"


def looks(labels: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the label, colour and dashes of each method, or of other names, by name."""
    labels = {name: method_label(name) for name in methods()} if labels is None else labels
    styles = zip(cycle(COLOURS), cycle(DASHES))
    return {
        name: {"label": label, "color": colour, "linestyle": dashes}
        for (name, label), (colour, dashes) in zip(labels.items(), styles, strict=False)
    }


def axis_label(column: str) -> str:
    """Return the label of an axis with a column of ``metrics.csv``; accuracies are in percent."""
    return f"{column.replace('_', ' ')}{' (%)' if column.endswith('accuracy') else ''}"
