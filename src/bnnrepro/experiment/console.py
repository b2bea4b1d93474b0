"""Text that a run prints before and after training."""

from collections.abc import Mapping
from typing import Any

import torch

from bnnrepro.config import Config
from bnnrepro.data.dataset import Sources
from bnnrepro.models.summary import REAL_BITS, ModelSummary
from bnnrepro.tasks import Task


def heading(
    cfg: Config, task: Task, sources: Sources, summary: ModelSummary, device: torch.device
) -> str:
    """Describe a run that is about to train, in three lines."""
    validation = sources.validation.n_samples if sources.validation else 0
    test = sources.test.n_samples if sources.test else 0
    return (
        f"{cfg.method.name} on {_data(cfg)}, {cfg.model.name}, seed {cfg.seed}, "
        f"{cfg.effective_epochs} epochs, preset {cfg.preset.name}, {device}\n"
        f"{sources.train.n_samples:,} training, {validation:,} validation, "
        f"{test:,} test {task.samples}\n"
        f"{size(summary)}"
    )


def _data(cfg: Config) -> str:
    name = str(cfg.dataset.name)
    return f"{cfg.preset.stand_in} in place of {name}" if cfg.preset.stand_in else name


def size(summary: ModelSummary) -> str:
    """Return the number of parameters, and what they and an exported file take, as a sentence."""
    words = (
        f"{summary.binary:,} binary and {summary.real:,} real parameters take "
        f"{summary.bits / 8192:,.1f} KiB, {summary.ratio:.1f} times less than float32"
    )
    file = (summary.bits / 8 + REAL_BITS / 8 * summary.buffers) / 1024
    return f"{words}; the exported file {file:,.1f} KiB and names" if summary.binary else words


def report(values: dict[str, Any]) -> str:
    """Return a result's figures as a few lines."""
    chosen, why = ("best", "best validation") if "best" in values else ("final", "last")
    lines = []
    for evaluation in [values, *values["evaluations"]]:
        figures, settings = evaluation[chosen], evaluation["evaluate"]
        draws = f"{settings['samples']} draws"
        if settings["average"] != "probabilities":
            draws += f", {settings['average']}"
        lines.append(f"epoch {figures['epoch']} ({why}):")
        for split in ("train", "validation", "test"):
            metrics = figures.get(split, {})
            for kind, label in (("mode", "mode"), ("mean", f"mean of {draws}")):
                if kind in metrics:
                    lines.append(f"  {split:10} {label:18} {metrics_text(metrics[kind])}")
        if by_class := figures.get("by_class", {}).get("mode"):
            lines.append(f"  test       by class           {_worst(by_class['accuracy'])}")
        lines += _ood(figures.get("ood"), f"vs {settings.get('ood')}", draws)
        if settings.get("ood") == values["dataset"]:
            lines.append(
                f"  {'':10} the test set itself, in place of {values['stands_for']}: meaningless"
            )
    return "\n".join(lines)


def _worst(accuracy: Mapping[str, float | None]) -> str:
    """Return the accuracies of at most five classes, the worst first."""
    known = [(value, name) for name, value in accuracy.items() if value is not None]
    return ", ".join(f"{name} {value:.2f} %" for value, name in sorted(known)[:5])


def _ood(figures: dict[str, Any] | None, label: str, draws: str) -> list[str]:
    """Return the AUROC of OOD detection, one line per kind of prediction."""
    if not figures:
        return []
    lines = []
    for kind, prediction in (("mode", "mode"), ("mean", f"mean of {draws}")):
        scores = "  ".join(
            f"AUROC of {name.replace('_', ' ')} {value:.4f}"
            for name, value in figures.get(kind, {}).items()
        )
        if scores:
            lines.append(f"  {label:10} {prediction:18} {scores}")
    return lines


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Return metrics with their names and units in a line."""
    units = {
        "accuracy": ("accuracy", ".2f", " %"),
        "nll": ("NLL", ".4f", ""),
        "ece": ("ECE", ".4f", ""),
        "brier": ("Brier", ".4f", ""),
        "top5": ("top-5", ".2f", " %"),
        "rmse": ("RMSE", ".4f", ""),
        "forgetting": ("forgetting", ".2f", ""),
        "backward_transfer": ("backward transfer", ".2f", ""),
    }
    parts = []
    for key, value in metrics.items():
        if not isinstance(value, int | float):  # a table, which is only in the file
            continue
        name, form, unit = units.get(key, (key, ".4f", ""))
        parts.append(f"{name} {value:{form}}{unit}")
    return "  ".join(parts)
