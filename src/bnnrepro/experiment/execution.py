"""One run from its configuration: build, train, evaluate, record."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnrepro.config import Config
from bnnrepro.errors import BusyError, RunFailedError, TakenOverError, UserError
from bnnrepro.experiment import console
from bnnrepro.experiment.logs import describe, log, logging_to, recorded_failure, refused_file
from bnnrepro.experiment.parts import Parts, build
from bnnrepro.experiment.results import (
    evaluate_checkpoints,
    load_evaluated_weights,
    read_own_result,
    result_values,
)
from bnnrepro.runs import atomic, lock, provenance, status
from bnnrepro.runs.layout import RunFolder, run_folder
from bnnrepro.runs.result import DamagedResultError, headline, settings_of, write_result
from bnnrepro.runs.signature import signature
from bnnrepro.screen import Shown
from bnnrepro.training.callbacks import Interrupted
from bnnrepro.training.interrupts import stop_on_signals
from bnnrepro.training.loggers import Guarded, make_loggers
from bnnrepro.training.precision import no_denormals
from bnnrepro.training.progress import progress
from bnnrepro.training.recorder import Recorder


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """A run's folder, signature and result; ``values`` is None while it is unfinished."""

    folder: RunFolder
    signature: str
    values: dict[str, Any] | None

    @property
    def path(self) -> Path:
        """The path of ``result.json``."""
        return self.folder.result

    def _facts(self) -> dict[str, object]:
        return {"folder": self.folder.path, **(headline(self.values) if self.values else {})}


def run(cfg: Config) -> Result:
    """Train and evaluate a configuration, or finish what is missing of it.

    A finished run is not trained again (``on_done``); an interrupted run resumes where it stopped;
    new evaluation settings evaluate a finished run again and add to its result.

    Args:
        cfg: as ``bnnrepro.config.compose.compose("method=ste", "dataset=mnist")`` returns it.

    Returns:
        Its folder, signature and result; what it prints is for people.

    Raises:
        UserError: for invalid input, where possible before anything is written.
        RunFailedError: if training failed; the run's folder records the reason.
        SystemExit: with code 128 + n, if signal n stopped the run. Its state is saved.
    """
    with no_denormals():
        return _run(cfg)


def _run(cfg: Config) -> Result:
    parts = build(cfg)
    key = signature(cfg.identity(), parts.data.fingerprint)
    folder = run_folder(cfg.out, cfg.dataset.name, cfg.model.name, cfg.method.name, key)
    if cfg.summary:
        print(parts.summary)
    values = _finished(folder, cfg)
    if values is not None:
        print(f"done before: {folder.path}")
        values = _update(parts, folder, values)
    else:
        values = _train(parts, folder, key)
    if values is not None:
        print(console.report(values))
        print(f"  {console.size(parts.summary)}")
        print(f"result: {folder.result}")
    return Result(folder, key, values)


def _finished(folder: RunFolder, cfg: Config) -> dict[str, Any] | None:
    """Return a finished run's result; None if there is something to train."""
    state = status.read(folder)
    _check_not_busy(folder)
    if state.state == "failed" and cfg.on_failed == "skip":
        raise RunFailedError(f"{folder.path}: failed before ({state.error}); on_failed=retry")
    if not folder.result.exists():
        return None
    if cfg.on_done == "rerun":
        with _locked(folder):
            _clear(folder)
        return None
    try:
        values = read_own_result(folder)
    except DamagedResultError:
        if not folder.checkpoint.exists():
            raise
        _set_aside(folder)
        return None
    status.tidy(folder)
    return values


def _clear(folder: RunFolder) -> None:
    """Remove a run's files, the result first, so that a killed removal leaves no finished run."""
    for path in (folder.result, *sorted(folder.path.glob("[!.]*"))):
        atomic.check_fence(folder.path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _set_aside(folder: RunFolder) -> None:
    """Keep a damaged result under another name; it is rebuilt from the checkpoint."""
    with _locked(folder):
        try:
            read_own_result(folder)  # another process may have rebuilt it before the lock
        except DamagedResultError as error:
            name = folder.damaged_result.name
            if folder.result.is_file():
                atomic.write_bytes(folder.damaged_result, folder.result.read_bytes())
            print(f"{error}; kept as {name}, and rebuilt from the checkpoint", file=sys.stderr)


def _update(parts: Parts, folder: RunFolder, values: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a finished run with the present settings; write its other files if outdated."""
    settings = parts.cfg.to_dict()["evaluate"]
    task, finishing = parts.trainer.task, (parts.trainer, parts.sources.test, folder.path)
    evaluated = any(settings_of(row) == settings for row in (values, *values["evaluations"]))
    finished = task.is_finished(*finishing)
    if evaluated and finished:
        return values
    with _locked(folder):
        if evaluated:
            load_evaluated_weights(parts, folder, values["signature"])
        else:
            figures = evaluate_checkpoints(parts, folder, values["signature"])
        if not finished:
            task.finish(*finishing)
        if not evaluated:
            values = read_own_result(folder)  # another process may have added to it before the lock
            values["evaluations"].append({"evaluate": settings, **figures})
            write_result(folder.result, values)
    return values


def _check_not_busy(folder: RunFolder) -> None:
    """Raise BusyError if another process holds the run; UserError if its folder cannot be read."""
    try:
        owner = lock.holder(folder.path) if folder.path.is_dir() else None
    except lock.HeldError as held:
        raise _busy(folder, held.owner) from None
    except OSError as error:
        raise UserError("run", str(folder.path), f"cannot be read ({error.strerror})") from error
    if owner is not None:
        raise _busy(folder, owner)


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    """Lock the run's folder against other processes, on this host or another.

    Raises:
        BusyError: another process holds it.
        TakenOverError: another process took it over meanwhile.
        RunFailedError: the system refuses a file.
    """
    try:
        with lock.hold(folder.path, above=status.read(folder).attempt):
            yield
    except lock.HeldError as held:
        raise _busy(folder, held.owner) from None
    except lock.LostError as lost:
        log.warning("%s", lost)
        raise TakenOverError(str(lost)) from lost
    except OSError as error:
        raise refused_file(folder, error) or error from error


def _busy(folder: RunFolder, owner: lock.Owner | None) -> BusyError:
    who = owner or "another process"
    return BusyError("run", str(folder.path), f"is being run by {who} already")


def _train(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any] | None:
    folder.create()
    with _locked(folder), logging_to(folder):
        return _train_locked(parts, folder, key)


def _train_locked(parts: Parts, folder: RunFolder, key: str) -> dict[str, Any] | None:
    cfg = parts.cfg
    recorder = Recorder(
        folder,
        key,
        every=cfg.checkpoint_every,
        seconds=cfg.checkpoint_seconds,
        stop_after=cfg.stop_after,
        about=parts.data.about(),
        loggers=make_loggers(cfg, folder, key),
    )
    recorder.read(parts.trainer.device)  # before anything in the folder changes
    bar = Guarded("progress", progress())
    exit_code = 1
    try:
        status.write(folder, "running", epochs=cfg.effective_epochs)
        provenance.check_code(folder, cfg.on_code_change)
        describe(parts, folder)
        values = _fit_and_evaluate(parts, folder, key, [recorder, bar])
        exit_code = 0
        return values
    except Interrupted as stop:
        exit_code = stop.exit_code
        status.write(folder, "interrupted")
        log.warning("%s; the same command resumes the run", stop)
        raise SystemExit(exit_code) from stop
    except lock.LostError:
        raise  # another process has taken the run over: nothing may be recorded
    except (SystemExit, KeyboardInterrupt):  # asked to stop while nothing was being trained
        status.write(folder, "interrupted")
        raise
    except Exception as error:
        raise recorded_failure(folder, error) from error
    finally:
        bar.close(exit_code)
        recorder.close(exit_code)


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
            early_stopping=cfg.training.early_stopping,
            class_weight=parts.class_weight,
            callbacks=callbacks,
        )
    if trainer.stopped_early:
        log.info("stopped early: the validation %s is no better", trainer.task.metric)
    elif trainer.epoch < cfg.effective_epochs:
        status.write(folder, "interrupted")
        log.info("stopped after epoch %d; without stop_after the run continues", trainer.epoch)
        return None
    values = result_values(parts, folder, key)
    trainer.task.finish(trainer, sources.test, folder.path)
    write_result(folder.result, values)
    status.mark_done(folder)
    log.debug("done: %s", folder.result)
    return values
