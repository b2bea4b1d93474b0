"""One run from its configuration: build, train, evaluate, record."""

import errno
import fcntl
import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from bnnrepro import reporting
from bnnrepro.config import Config, instantiate
from bnnrepro.data.prepare import Sources, prepare
from bnnrepro.data.types import ImageData
from bnnrepro.errors import UserError
from bnnrepro.models.summary import Summary, summarise
from bnnrepro.seeds import derive
from bnnrepro.store import atomic, environment, status
from bnnrepro.store.folder import RunFolder, run_folder
from bnnrepro.store.result import read_result, write_result
from bnnrepro.store.signature import signature
from bnnrepro.tasks import Classification
from bnnrepro.training import checkpoint
from bnnrepro.training.callbacks import Interrupted, NonFiniteLossError
from bnnrepro.training.interrupts import stop_on_signals
from bnnrepro.training.loggers import make_logger
from bnnrepro.training.progress import progress
from bnnrepro.training.recorder import Recorder
from bnnrepro.training.trainer import Trainer

log = logging.getLogger("bnnrepro")


class RunFailedError(Exception):
    """A run that could not be finished, through no fault of its configuration's form."""


@dataclass(frozen=True)
class Result:
    """Where a run's files are, and its result; ``values`` is None while it is unfinished."""

    folder: RunFolder
    signature: str
    values: dict[str, Any] | None

    @property
    def path(self) -> Path:
        """The path of ``result.json``."""
        return self.folder.result


@dataclass
class Parts:
    """What a configuration stands for, built."""

    cfg: Config
    data: ImageData
    sources: Sources
    trainer: Trainer
    summary: Summary


def run(cfg: Config) -> Result:
    """Do what a configuration says, or as much of it as is not done yet.

    A finished run is not trained again (``on_done``); an interrupted one goes on where it stopped;
    other evaluation settings evaluate a finished run again and add to its result.

    Raises:
        UserError: for input that cannot be used; before anything is written, where possible.
        RunFailedError: if training failed; the run's folder says how.
        SystemExit: with code 128 + n, if signal n stopped it. Its state is saved.
    """
    parts = build(cfg)
    key = signature(cfg.to_dict(), parts.data.fingerprint)
    folder = run_folder(cfg.out, cfg.dataset.name, cfg.model.name, cfg.method.name, key)
    if cfg.summary:
        print(parts.summary)
    values = _finished(folder, cfg)
    if values is not None:
        print(f"done before: {folder.path}")
        values = _evaluate_again(parts, folder, values)
    else:
        values = _train(parts, folder, key)
    if values is not None:
        print(reporting.report(values, parts.summary))
        print(f"result: {folder.result}")
    return Result(folder, key, values)


# -- building ---------------------------------------------------------------------------------


def build(cfg: Config) -> Parts:
    """Load the data and build model, method and trainer; nothing is written."""
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    device = _device(cfg.device)
    data = instantiate(cfg.dataset)
    sources = prepare(
        data,
        validation_split=getattr(cfg.dataset, "validation_split", 0.0),
        seed=cfg.seed,
        device=device,
        batch_size=cfg.batch_size,
        train_limit=cfg.preset.train_limit,
        test_limit=cfg.preset.test_limit,
    )
    torch.manual_seed(derive(cfg.seed, "init"))
    model = instantiate(cfg.model, shape=data.shape, classes=len(data.classes))

    def method(groups: Any, train_set_size: int, generator: torch.Generator) -> Any:
        offered = {"train_set_size": train_set_size, "generator": generator}
        return instantiate(cfg.method, params=groups, offered=offered)

    task = Classification(ece_bins=cfg.evaluate.ece_bins)
    trainer = Trainer(model, task, device=str(device), seed=cfg.seed)
    trainer.compile(method, scheduler=instantiate(cfg.scheduler))
    try:
        optimizer = trainer.build_optimizer(sources.train.n_samples)
    except TypeError as error:
        raise UserError("method", cfg.method.name, str(error)) from error
    binary = {p for g in optimizer.param_groups if g["binary"] for p in g["params"]}
    summary = summarise(trainer.model, data.shape, binary.__contains__)
    return Parts(cfg, data, sources, trainer, summary)


def _device(name: str) -> torch.device:
    available = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if available else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if (device.index or 0) >= available:
            raise UserError("device", name, f"there are {available} GPUs here; cpu or auto works")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device


# -- finished runs ----------------------------------------------------------------------------


def _finished(folder: RunFolder, cfg: Config) -> dict[str, Any] | None:
    """Return a finished run's result; None if there is something to train."""
    state = status.read(folder)
    if state.effective == "running" and status.alive(state) and state.pid != os.getpid():
        raise _busy(folder)
    if state.state == "failed" and cfg.on_failed == "skip":
        raise RunFailedError(f"{folder.path}: failed before ({state.error}); on_failed=retry")
    if not folder.result.exists():
        return None
    if cfg.on_done == "rerun":
        shutil.rmtree(folder.path)
        return None
    values = _read(folder)
    if state.state != "done":  # killed between the result and the word of it
        _say_done(folder)
    return values


def _say_done(folder: RunFolder) -> None:
    status.write(folder, "done")
    folder.checkpoint_prev.unlink(missing_ok=True)


def _read(folder: RunFolder) -> dict[str, Any]:
    values = read_result(folder.result)
    kinds = {"signature": str, "evaluate": dict, "evaluations": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]
    if values["signature"] != folder.path.name:
        wrong.append("signature")
    if wrong:
        cure = "remove the run's folder to train it again"
        raise UserError("result", str(folder.result), f"damaged: {wrong[0]!r} is wrong; {cure}")
    return values


def _busy(folder: RunFolder) -> UserError:
    state = status.read(folder)
    who = f"process {state.pid}" if status.alive(state) else "another process"
    return UserError("run", str(folder.path), f"is being run by {who} already")


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Hold the run's folder against other processes that start at the same moment."""
    handle = os.open(folder.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(folder) from None
        except OSError as error:  # some network file systems lock no folders: the status decides
            log.debug("no lock: %s", error)
        yield
    finally:
        os.close(handle)


def _evaluate_again(parts: Parts, folder: RunFolder, values: dict[str, Any]) -> dict[str, Any]:
    wanted = parts.cfg.to_dict()["evaluate"]
    known = [values, *values["evaluations"]]
    if any(one["evaluate"] == wanted for one in known):
        return values
    figures = _figures(parts, folder, values["signature"])
    values["evaluations"].append({"evaluate": wanted, **figures})
    write_result(folder.result, values)
    return values


# -- training ---------------------------------------------------------------------------------


def _train(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any] | None:
    folder.create()
    with _alone(folder), _logging_to(folder):
        return _train_alone(parts, folder, key)


def _train_alone(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any] | None:
    cfg = parts.cfg
    recorder = Recorder(
        folder,
        key,
        every=cfg.checkpoint_every,
        seconds=cfg.checkpoint_seconds,
        stop_after=cfg.stop_after,
        about=_about(parts.data),
        loggers=make_logger(cfg, folder, key),
    )
    recorder.read(parts.trainer.device)  # before anything in the folder changes
    bar = progress()
    code = 1
    try:
        status.write(folder, "running", epochs=cfg.effective_epochs)
        _describe(parts, folder)
        values = _fit_and_evaluate(parts, folder, key, [recorder, bar])
        code = 0
        return values
    except Interrupted as stop:
        code = stop.exit_code
        status.write(folder, "interrupted")
        log.warning("%s; the same command goes on from there", stop)
        raise SystemExit(code) from stop
    except Exception as error:
        raise _failed(folder, error) from error
    finally:
        bar.close(code)
        recorder.close(code)


def _fit_and_evaluate(
    parts: Parts, folder: RunFolder, key: str, callbacks: list[Any]
) -> dict[str, Any] | None:
    cfg, sources, trainer = parts.cfg, parts.sources, parts.trainer
    with stop_on_signals() as trainer.stop_request:
        trainer.fit(
            sources.train,
            validation_data=sources.validation,
            test_data=sources.test,
            epochs=cfg.effective_epochs,
            callbacks=callbacks,
        )
    if trainer.epoch < cfg.effective_epochs:
        status.write(folder, "interrupted")
        log.info("stopped after epoch %d; without stop_after the run goes on", trainer.epoch)
        return None
    values = _values(parts, folder, key)
    write_result(folder.result, values)
    _say_done(folder)
    log.debug("done: %s", folder.result)
    return values


def _values(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any]:
    cfg, sources, trainer, summary = parts.cfg, parts.sources, parts.trainer, parts.summary
    rows = trainer.rows
    started = time.perf_counter()
    figures = _figures(parts, folder, key)
    return {
        "signature": key,
        "preset": cfg.preset.name,
        "seed": cfg.seed,
        "task": trainer.task.name,
        "dataset": cfg.dataset.name,
        "model": cfg.model.name,
        "method": cfg.method.name,
        "epochs": cfg.effective_epochs,
        "n_train": sources.train.n_samples,
        "n_validation": sources.validation.n_samples if sources.validation else 0,
        "n_test": sources.test.n_samples,
        **figures,
        "evaluate": cfg.to_dict()["evaluate"],
        "evaluations": [],
        "parameters": {"binary": summary.binary, "real": summary.real, "bits": summary.bits},
        "seconds": sum(row["seconds"] for row in rows) + time.perf_counter() - started,
        "device": _device_name(trainer.device),
        "stands_for": None,
    }


def _figures(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any]:
    """Return ``final`` and, with a validation split, ``best``: each at mode and mean."""
    files = {"final": folder.checkpoint}
    if parts.sources.validation is not None:
        files["best"] = folder.best
    figures = {}
    for name, file in files.items():
        try:
            state = checkpoint.load(file, parts.trainer.device)
        except (checkpoint.DamagedError, FileNotFoundError) as error:
            raise UserError(
                "checkpoint",
                str(file),
                "missing or damaged; remove the run's folder to train it again",
            ) from error
        checkpoint.check_signature(file, state, key)
        if not parts.trainer.rows:
            rows = checkpoint.load(folder.checkpoint)["rows"]
            parts.trainer.rows = rows
        parts.trainer.load_weights(state)
        figures[name] = _judge(parts, parts.trainer.rows[state["epoch"] - 1])
    return figures


def _judge(parts: Parts, row: dict[str, Any]) -> dict[str, Any]:
    """Return one epoch's figures on every split, for the weights that the trainer holds."""
    trainer, cfg, metric = parts.trainer, parts.cfg, parts.trainer.task.metric
    figures: dict[str, Any] = {
        "epoch": row["epoch"],
        "train": {metric: row[f"train_{metric}"], "loss": row["train_loss"]},
    }
    for name in ("validation", "test"):
        source = getattr(parts.sources, name)
        if source is None:
            continue
        figures[name] = {"mode": trainer.evaluate(source)}
        if trainer.optimizer.has_posterior:
            figures[name]["mean"] = trainer.evaluate(
                source, samples=cfg.evaluate.samples, average=cfg.evaluate.average
            )
    return figures


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


# -- records ----------------------------------------------------------------------------------


def _about(data: ImageData) -> dict[str, Any]:
    return {
        "shape": list(data.shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
    }


def _describe(parts: Parts, folder: RunFolder) -> None:
    config = yaml.safe_dump(parts.cfg.to_dict(), sort_keys=False)
    atomic.write_text(folder.config, config)
    atomic.write_text(folder.env, json.dumps(environment.describe(sys.argv), indent=2) + "\n")
    heading = reporting.heading(parts.cfg, parts.sources, parts.summary, parts.trainer.device)
    log.debug("%s", heading.replace("\n", "; "))
    print(f"{heading}\nfolder: {folder.path}", flush=True)


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, and that then says no more about it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Lose the line."""

    def close(self) -> None:
        """Close the file, whether or not its last lines find room."""
        with suppress(OSError):
            super().close()


@contextmanager
def _logging_to(folder: RunFolder) -> Iterator[None]:
    """Send all of the log to the run's ``train.log``, and all but the epochs to the screen."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    to_file = _LogFile(folder.log, delay=True)
    to_file.setFormatter(form)
    to_screen = logging.StreamHandler(sys.stderr)
    to_screen.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [to_file, to_screen]
    level = log.level
    log.setLevel(logging.DEBUG)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(level)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


def _failed(folder: RunFolder, error: Exception) -> Exception:
    """Record a failure as far as the disk lets it; return what the caller raises."""
    line = " ".join(str(error).split()) or type(error).__name__
    with suppress(OSError), folder.log.open("a") as handle:
        handle.write("".join(traceback.format_exception(error)))
    with suppress(OSError):
        status.write(folder, "failed", error=line)
    if isinstance(error, UserError):
        return error
    if isinstance(error, NonFiniteLossError):
        return RunFailedError(line)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        hint = "free some space; the same command goes on from the last checkpoint"
        return RunFailedError(f"{folder.path}: {error.strerror}; {hint}")
    return error
