"""The base of the kinds of data sets, and the decorator that makes a loader one of a kind.

A loader reads arrays; its kind does all the rest, once for all data sets of the kind: it declares
the keys that they share, checks and measures, limits, splits, and makes the batches.

    @dataset(ImageSet, name="parity", classes=2)
    def load(root: Text) -> Arrays:
        return Arrays(Samples(x, y), Samples(x_test, y_test), ("even", "odd"))
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from bnnrepro.constraints import Name, convert, hints, meanings
from bnnrepro.data.batches import Samples, Source
from bnnrepro.errors import DataError as DataError  # loaders import it from here
from bnnrepro.errors import UserError
from bnnrepro.seeds import derive

log = logging.getLogger(__name__)

LIMIT_SEED = 0  # a shortened run has the same samples whatever its seed


@dataclass(frozen=True)
class Arrays:
    """What a loader reads.

    Args:
        train: the training samples; a validation set is split off later.
        test: the test samples; None if there are none with targets.
        classes: the K classes' names; class k is classes[k]. Empty for values.
        fingerprint: a hash of the content, for data given by a path; None for a fixed data set.
        unlabelled: samples to be predicted only; their targets mean nothing.
        columns: of a table: each column's name, and its texts, or None for numbers.
    """

    train: Samples
    test: Samples | None
    classes: tuple[str, ...] = ()
    fingerprint: str | None = None
    unlabelled: Samples | None = None
    columns: tuple[tuple[str, tuple[str, ...] | None], ...] | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without its samples.

    Args:
        name: the data set's name.
        task: name of the task that is learnt on it.
        fingerprint: a hash of the content, for data given by a path; None for a fixed data set.
        shape: one input's shape, as the model takes it.
        outputs: number of the model's outputs: classes, or values of a regression.
        mean: of each channel, in units where 255 is 1, or of each of a point's numbers.
        std: their standard deviations, positive.
        classes: the classes' names; None for values.
        tasks: number of tasks in a row; None for one.
        target_mean: subtracted from the values; None for classes.
        target_std: divisor of the values; None for classes.
        columns: of a table: each column's name, and its texts, or None for numbers.
    """

    name: str
    task: str
    fingerprint: str | None
    shape: tuple[int, ...]
    outputs: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None = None
    tasks: int | None = None
    target_mean: float | None = None
    target_std: float | None = None
    columns: tuple[tuple[str, tuple[str, ...] | None], ...] | None = None

    def about(self) -> dict[str, Any]:
        """Return what makes a checkpoint usable without the data set: plain numbers and lists."""
        known = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if value is not None
        }
        return {k: v for k, v in known.items() if k not in ("name", "task", "fingerprint")}


@dataclass(frozen=True)
class Sources:
    """A run's batches, all on its device.

    Args:
        train: shuffled and augmented.
        validation: in the data's order, never augmented; None without a validation split.
        test: in the data's order, never augmented; None where there is no test set.
        class_counts: number of training samples, or pixels, of each class; None: unknown.
    """

    train: Source
    validation: Source | None
    test: Source | None
    class_counts: Tensor | None = None


class DataSet:
    """A loader's samples with what is known of them: the base of the kinds of data sets.

    The constructor of a kind takes arrays, and as keywords the keys that the kind's YAML files
    have in common.

    Args:
        arrays: what the loader read.
        name: short name, used for folders and in tables

    Attributes:
        task: name of the task that is learnt on it; of a kind, None if only the data tell.
        inputs: kind of the inputs, ``images`` or ``points``.
        for_task: keys that the task reads.
        tasks_in_a_row: the key that is the number of tasks trained in sequence, if there is one.
        facts: what is known without the samples.
        train: the training samples.
        test: the test samples, or None.
        validation_split: fraction of the training samples that is held out.
    """

    task: str | None
    inputs: ClassVar[str]
    for_task: ClassVar[tuple[str, ...]] = ()
    tasks_in_a_row: ClassVar[str | None] = None

    facts: Facts
    train: Samples
    test: Samples | None
    validation_split: float = 0.0

    def __init__(self, arrays: Arrays, *, name: Name) -> None:
        self.train, self.test = arrays.train, arrays.test

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError for values, each allowed by itself, that contradict one another."""

    def training(self, samples: Samples, batch_size: int, seed: int, margin: int) -> Source:
        """Return shuffled batches of samples to train on.

        Args:
            samples: on the run's device.
            batch_size: samples per batch.
            seed: the run's.
            margin: pixels that an image is seen beyond what is predicted, on each side.

        Raises:
            UserError: more samples per batch than there are.
        """
        raise NotImplementedError

    def evaluation(self, samples: Samples, seed: int, margin: int) -> Source:
        """Return batches of samples in their order, unchanged; see ``training``."""
        raise NotImplementedError

    def check_part(self, samples: Samples, key: str, value: object) -> None:
        """Raise UserError for samples, left by a key's value, of which too little can be learnt."""

    def sources(
        self,
        *,
        seed: int,
        device: torch.device | str,
        batch_size: int,
        train_limit: int | None = None,
        test_limit: int | None = None,
        margin: int = 0,
    ) -> Sources:
        """Return the batches for training, validation and test.

        Args:
            seed: the run's, which fixes the split, the order and the augmentation.
            device: of the batches.
            batch_size: samples per training batch.
            train_limit: maximum number of samples of the training set, validation included, the
                same ones for every seed; None: all.
            test_limit: likewise of the test set.
            margin: see ``training``.

        Raises:
            UserError: a split, limit or batch size that does not fit the data.
        """
        train_key, test_key = "preset.train_limit", "preset.test_limit"
        limited = limit_samples(self.train, train_key, train_limit)
        kept, held_out = hold_out(len(limited), self.validation_split, seed)
        train, validation = limited.subset(kept), limited.subset(held_out)
        test = self.test and limit_samples(self.test, test_key, test_limit)

        def evaluated(samples: Samples | None, key: str, value: object) -> Source | None:
            if not samples:
                return None
            self.check_part(samples, key, value)
            return self.evaluation(samples.to(device), seed, margin)

        self.check_part(train, train_key, train_limit)
        return Sources(
            self.training(train.to(device), batch_size, seed, margin),
            evaluated(validation, "dataset.validation_split", self.validation_split),
            evaluated(test, test_key, test_limit),
            class_counts(train.targets, len(self.facts.classes or ())),
        )


def class_counts(targets: Tensor, classes: int = 0) -> Tensor | None:
    """Return how often each class from 0 occurs, int64 (K,), K >= ``classes``; None for values."""
    if targets.is_floating_point():
        return None
    return torch.bincount(targets.flatten().long(), minlength=classes)


def limit_samples(samples: Samples, key: str, limit: int | None) -> Samples:
    """Return ``limit`` random samples in their order, the same ones every time; None: all."""
    if limit is not None and limit < 1:
        raise UserError(key, limit, "at least 1, or null for all")
    if limit is None or limit >= len(samples):
        return samples
    generator = torch.Generator().manual_seed(derive(LIMIT_SEED, key))
    return samples.subset(torch.randperm(len(samples), generator=generator)[:limit].sort().values)


def hold_out(
    n: int, fraction: float, seed: int, key: str = "dataset.validation_split"
) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and of the held-out samples.

    Args:
        n: the number of samples.
        fraction: fraction held out, in [0, 1): round(n * fraction) samples, whatever the seed.
        seed: the run's seed, which chooses the samples.
        key: the setting that the fraction is.

    Returns:
        Two sorted int64 tensors that partition 0..n-1. The second is empty if the fraction is 0.

    Raises:
        UserError: a fraction out of range, or one that leaves either side empty.
    """
    if not 0 <= fraction < 1:
        raise UserError(key, fraction, "a fraction of the training set, 0 or more and less than 1")
    held = round(n * fraction)
    if held >= n:
        raise UserError(key, fraction, f"leaves none of {n} samples for training; less is needed")
    if fraction > 0 and held == 0:
        raise UserError(key, fraction, f"holds none of {n} samples out; 0, or at least {1 / n:.2g}")
    stream = "split" if key == "dataset.validation_split" else key
    generator = torch.Generator().manual_seed(derive(seed, stream))
    shuffled = torch.randperm(n, generator=generator)
    return shuffled[held:].sort().values, shuffled[:held].sort().values


def refuse_one_class(names: Sequence[str]) -> None:
    """Raise DataError for the names of fewer than two classes."""
    if len(names) < 2:
        raise DataError(f"train has the one class {''.join(names)}; at least two are needed")


def check_batch(batch_size: int, samples: int, name: str = "samples", least: int = 2) -> None:
    """Log that a batch is all of the training set where that is smaller than the batch size.

    Raises:
        UserError: it has fewer samples than a batch must have: BatchNorm cannot train on one.
    """
    if samples < least:
        allowed = f"the training set has {samples} of the {least} or more {name} of a batch"
        raise UserError("batch_size", batch_size, allowed)
    if samples < batch_size:
        log.info("batch_size=%d: a batch is all %d training %s", batch_size, samples, name)


class Loader:
    """A loader of a kind of data set: callable with the keys of its YAML but ``_target_``.

    Its signature has them all, with ranges and defaults, and its docstring their meanings. Called,
    it checks the values, reads the arrays and returns the data set; paths may be ``Path``s. It has
    the kind's attributes ``task``, ``inputs``, ``for_task`` and ``tasks_in_a_row``.

    Args:
        kind: of the data set.
        arrays: reads the arrays, or raises DataError; its parameters are the data set's own keys.
        fixed: whether the keys alone tell the content; else it has a fingerprint, to be read.
        stand_ins: values of ``preset.stand_in`` that may replace the data set.
        check: raises UserError for values that contradict one another; None: only the kind's own.
        defaults: of the keys that are the kind's.

    Attributes:
        own: the parameters of ``arrays``.
        common: those of the kind.
    """

    def __init__(
        self,
        kind: type[DataSet],
        arrays: Callable[..., Arrays],
        *,
        fixed: bool,
        stand_ins: tuple[str, ...],
        check: Callable[[Mapping[str, Any]], None] | None,
        defaults: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, arrays)
        self.kind, self.arrays, self.fixed = kind, arrays, fixed
        self.stand_ins, self._check = stand_ins, check
        self.task, self.inputs, self.for_task = kind.task, kind.inputs, kind.for_task
        self.tasks_in_a_row = kind.tasks_in_a_row
        self.own, self.common = declared(arrays), declared(kind)
        for name, value in defaults.items():
            self.common[name] = self.common[name].replace(default=value)
        parameters = self.common | self.own
        self.__signature__ = inspect.Signature(list(parameters.values()))
        self.__annotations__ = {name: one.annotation for name, one in parameters.items()}
        texts = {**meanings(cast(Any, kind)), **meanings(arrays)}
        lines = [f"    {name}: {texts[name]}" for name in parameters if name in texts]
        summary = inspect.cleandoc(arrays.__doc__ or "").partition("\nArgs:")[0].rstrip()
        self.__doc__ = "\n".join([summary, "", "Args:", *lines])

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise UserError for values, each allowed by itself, that contradict one another."""
        self.kind.check(values)
        if self._check is not None:
            self._check(values)

    def __call__(self, **values: Any) -> Any:
        """Return the data set.

        Raises:
            TypeError: a key that is unknown or missing.
            UserError: a value that is not allowed, or data that cannot be read.
        """
        bound = self.__signature__.bind(**values)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            plain = os.fspath(value) if isinstance(value, os.PathLike) else value
            values[name] = convert(f"dataset.{name}", plain, self.__annotations__[name])
        self.check(values)
        try:
            arrays = self.arrays(**{name: values[name] for name in self.own})
        except DataError as error:
            key = "root" if "root" in self.own else "name"
            raise UserError(f"dataset.{key}", values.get(key), str(error)) from error
        return self.kind(arrays, **{name: values[name] for name in self.common})


def dataset(
    kind: type[DataSet],
    *,
    fixed: bool = False,
    stand_ins: tuple[str, ...] = (),
    check: Callable[[Mapping[str, Any]], None] | None = None,
    **defaults: Any,
) -> Callable[[Callable[..., Arrays]], Loader]:
    """Return the decorator of a function that reads arrays, to make it a ``Loader``; see there."""
    return functools.partial(
        Loader, kind, fixed=fixed, stand_ins=stand_ins, check=check, defaults=defaults
    )


def declared(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keys of a loader, or of a kind and its bases, as keywords with evaluated types."""
    found: dict[str, inspect.Parameter] = {}
    for owner in reversed(inspect.getmro(function)) if inspect.isclass(function) else [function]:
        if owner is object:
            continue
        types = hints(owner)
        for name, parameter in inspect.signature(owner).parameters.items():
            if name != "arrays" and parameter.kind is not parameter.VAR_KEYWORD:
                found[name] = parameter.replace(
                    kind=parameter.KEYWORD_ONLY, annotation=types.get(name, Any)
                )
    return found
