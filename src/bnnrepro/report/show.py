"""What a run is and has reached, as text: ``bnnrepro show``."""

from tabulate import tabulate

from bnnrepro.experiment.console import report
from bnnrepro.runs.query import Run
from bnnrepro.runs.results import environment_of, result_of
from bnnrepro.runs.stored_config import settings_of
from bnnrepro.screen import printable


def details(run: Run) -> str:
    """Return a run's state, command, settings, figures and confusion matrix."""
    state, note, result = result_of(run)
    lines = [f"{run.folder.path}: {state} {note}".rstrip()]
    environment = environment_of(run)
    for key in ("command", "date", "cpu", "gpu"):
        if value := environment.get(key):
            lines.append(f"  {key:10} {value}")
    for key, value in run.config.items():
        own = settings_of(value) if isinstance(value, dict) else {}
        if own:
            lines.append(f"  {key:10} {', '.join(f'{name} {own[name]}' for name in own)}")
    if result:
        lines.append(report(result))
        by_class = result.get("best", result["final"]).get("by_class", {}).get("mode", {})
        if matrix := by_class.get("confusion"):
            names = list(by_class["accuracy"])
            rows = [[name, *row] for name, row in zip(names, matrix, strict=True)]
            lines += ["true class, by predicted class:", tabulate(rows, ["", *names])]
    return printable("\n".join(lines), lines=True)
