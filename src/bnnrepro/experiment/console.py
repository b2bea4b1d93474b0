"""What a run says on the screen before and after training."""

from typing import Any

import torch

from bnnrepro.config import Config
from bnnrepro.data.splits import Sources
from bnnrepro.models.summary import Summary
from bnnrepro.tasks import Task


def heading(
    cfg: Config, task: Task, sources: Sources, summary: Summary, device: torch.device
) -> str:
    """Return what is about to be trained, in three lines."""
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
    return f"{cfg.preset.stand_in} in the place of {name}" if cfg.preset.stand_in else name


def size(summary: Summary) -> str:
    """Return the parameters and what they take, in words."""
    return (
        f"{summary.binary:,} binary and {summary.real:,} real parameters: {summary.bits:,} bits "
        f"({summary.bits / 8192:,.1f} KiB), {summary.ratio:.1f} times smaller than float32"
    )


def report(values: dict[str, Any], summary: Summary) -> str:
    """Return a result's figures as a few lines."""
    chosen, why = ("best", "best validation") if "best" in values else ("final", "last")
    lines = []
    for one in [values, *values["evaluations"]]:
        figures, how = one[chosen], one["evaluate"]
        draws = f"{how['samples']} draws"
        if how["average"] != "probabilities":
            draws += f", {how['average']}"
        lines.append(f"epoch {figures['epoch']} ({why}):")
        for split in ("train", "validation", "test"):
            judged = figures.get(split, {})
            for kind in (each for each in ("mode", "mean") if each in judged):
                label = "mode" if kind == "mode" else f"mean of {draws}"
                lines.append(f"  {split:10} {label:18} {_metrics(judged[kind])}")
        lines += _ood(figures.get("ood"), f"or {how.get('ood')}", draws)
        if how.get("ood") == values["dataset"]:
            lines.append(
                f"  {'':10} told from themselves: they stand in for {values['stands_for']}"
            )
    return "\n".join([*lines, f"  {size(summary)}"])


def _ood(found: dict[str, Any] | None, label: str, draws: str) -> list[str]:
    """Return how well the foreign samples were told apart, a line a kind of prediction."""
    if not found:
        return []
    lines = []
    for kind, prediction in (("mode", "mode"), ("mean", f"mean of {draws}")):
        scores = "  ".join(
            f"AUROC of {name.replace('_', ' ')} {value:.4f}"
            for name, value in found.get(kind, {}).items()
        )
        if scores:
            lines.append(f"  {label:10} {prediction:18} {scores}")
    return lines


def _metrics(metrics: dict[str, Any]) -> str:
    units = {
        "accuracy": ("accuracy", ".2f", " %"),
        "nll": ("NLL", ".4f", ""),
        "ece": ("ECE", ".4f", ""),
        "brier": ("Brier", ".4f", ""),
        "rmse": ("RMSE", ".4f", ""),
        "forgetting": ("forgetting", ".2f", ""),
        "backward_transfer": ("backward transfer", ".2f", ""),
    }
    parts = []
    for key, value in metrics.items():
        if not isinstance(value, int | float):  # a table, for those who read the file
            continue
        name, form, unit = units.get(key, (key, ".4f", ""))
        parts.append(f"{name} {value:{form}}{unit}")
    return "  ".join(parts)
