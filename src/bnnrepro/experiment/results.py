"""Evaluate a trained run: the content of ``result.json``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnnrepro.errors import UserError
from bnnrepro.experiment.parts import Parts
from bnnrepro.optim.kernels import noise
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.result import DamagedResultError, read_result
from bnnrepro.training import checkpoint


def result_values(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any]:
    """Return the result of a run whose training is finished."""
    cfg, sources, trainer, summary = parts.cfg, parts.sources, parts.trainer, parts.summary
    rows = trainer.rows
    started = time.perf_counter()
    figures = evaluate_checkpoints(parts, folder, key)
    return {
        "signature": key,
        "preset": cfg.preset.name,
        "seed": cfg.seed,
        "task": trainer.task.name,
        "dataset": parts.data.name,
        "fingerprint": parts.data.fingerprint,
        "model": cfg.model.name,
        "method": cfg.method.name,
        "epochs": cfg.effective_epochs,
        "n_train": sources.train.n_samples,
        "n_validation": sources.validation.n_samples if sources.validation else 0,
        "n_test": sources.test.n_samples if sources.test else 0,
        **figures,
        "evaluate": cfg.to_dict()["evaluate"],
        "evaluations": [],
        "parameters": {"binary": summary.binary, "real": summary.real, "bits": summary.bits},
        "seconds": sum(row["seconds"] for row in rows) + time.perf_counter() - started,
        "device": _device_name(trainer.device),
        "precision": trainer.precision,
        "noise": noise.source(trainer.device) if trainer.optimizer.has_posterior else None,
        "stands_for": cfg.dataset.name if cfg.preset.stand_in else None,
    }


def evaluate_checkpoints(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any]:
    """Return the figures ``final`` and, with a validation split, ``best``, at mode and mean."""
    files = {"final": folder.checkpoint}
    if parts.sources.validation is not None:
        files["best"] = folder.best
    figures: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for name, file in files.items():
        state = _state(parts, file, key)
        rows = state.get("rows", rows)  # the final state has them, and comes first
        if name == "best" and state["epoch"] == figures["final"]["epoch"]:
            figures[name] = figures["final"]  # the same weights
            continue
        parts.trainer.load_weights(state)
        figures[name] = _evaluate(parts, rows[state["epoch"] - 1])
    return figures


def load_evaluated_weights(parts: Parts, folder: RunFolder, key: str) -> None:
    """Load the weights that ``evaluate_checkpoints`` loads last: the best, or else the final."""
    file = folder.checkpoint if parts.sources.validation is None else folder.best
    parts.trainer.load_weights(_state(parts, file, key))


def _state(parts: Parts, file: Path, key: str) -> dict[str, Any]:
    """Return a checkpoint's state; UserError if it is missing, unusable or of another run."""
    try:
        state = checkpoint.load(file, parts.trainer.device)
    except (checkpoint.UnusableError, FileNotFoundError) as error:
        reason = getattr(error, "reason", "missing")
        cure = "put a copy back if you have one; on_done=rerun trains the run again"
        raise UserError("checkpoint", str(file), f"{reason}; {cure}") from error
    checkpoint.check_signature(file, state, key)
    return state


def _evaluate(parts: Parts, row: dict[str, Any]) -> dict[str, Any]:
    """Return one epoch's figures on every split, for the weights that the trainer holds.

    Without a test set the training samples are evaluated at mode and mean, as ``train``.
    """
    trainer, cfg, metric = parts.trainer, parts.cfg, parts.trainer.task.metric
    sources = parts.sources
    figures: dict[str, Any] = {
        "epoch": row["epoch"],
        "train": {metric: row[f"train_{metric}"], "loss": row["train_loss"]},
    }
    further: dict[str, Any] = {}
    splits = {"validation": sources.validation, "test": sources.test}
    if sources.test is None:
        splits["train"] = sources.train
    for name, source in splits.items():
        if source is not None:
            with _norms(trainer.model, cfg.evaluate.batch_statistics):
                metrics = trainer.task.evaluate(
                    trainer, source, samples=cfg.evaluate.samples, average=cfg.evaluate.average
                )
            kinds = {kind: metrics.pop(kind) for kind in ("mode", "mean") if kind in metrics}
            figures.setdefault(name, {}).update(kinds)
            further = metrics if name == "test" else {}
    return figures | further | _ood_figures(parts)


@contextmanager
def _norms(model: nn.Module, of_batch: bool) -> Iterator[None]:
    """Let BatchNorm use the statistics of each batch: it does so where it has no running ones."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)] if of_batch else []
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        for norm, (mean, var) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, var


def _ood_figures(parts: Parts) -> dict[str, Any]:
    """Return ``ood``, the scores of telling ``evaluate.ood`` from the test set, if it is set."""
    ood, test = parts.ood, parts.sources.test
    if ood is None or test is None:
        return {}
    evaluate, task = parts.cfg.evaluate, parts.trainer.task
    scores = task.ood_scores(
        parts.trainer, test, ood, samples=evaluate.samples, average=evaluate.average
    )
    return {"ood": {"n": ood.n_samples, **scores}}


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def read_own_result(folder: RunFolder) -> dict[str, Any]:
    """Read a run's result.

    Raises:
        DamagedResultError: it is not a result, or it is another run's.
        UserError: it is missing, or the system cannot read it.
    """
    values = read_result(folder.result)
    kinds = {"signature": str, "evaluate": dict, "evaluations": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]
    if values["signature"] != folder.path.name:
        wrong.append("signature")
    if wrong:
        raise DamagedResultError("result", str(folder.result), f"damaged: {wrong[0]!r} is wrong")
    return values
