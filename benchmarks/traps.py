"""Measure the effect of each trap in the published programs: `make traps`.

Every question is answered by two or more settings run side by side: on digits over the whole
default protocol (test accuracy at best validation and at the last epoch, mean and sample standard
deviation over seeds), and, for those in ``MNIST``, on the first epoch of its 500-epoch protocol.

    python benchmarks/traps.py [--root DATA] [--seeds 3] [--data both] [--write FILE.json]
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from bnnrepro.config.compose import compose
from bnnrepro.errors import UserError
from bnnrepro.experiment import run
from bnnrepro.runs import atomic, provenance
from bnnrepro.runs.metrics import read_metrics

# question: {setting: overrides}; the first setting is ours.
DIGITS: dict[str, dict[str, tuple[str, ...]]] = {
    "x10 on the training set's size at tau = 1e-10": {
        "1 (ours)": (),
        "10": ("method.train_set_scale=10",),
    },
    "mu of the step before": {
        "present mu (ours)": (),
        "stale mu, tau = 1e-10": ("method.stale_mean=true",),
        "present mu, tau = 1": ("method.temperature=1",),
        "stale mu, tau = 1": ("method.temperature=1", "method.stale_mean=true"),
    },
    "float64": {
        "float32 (ours)": (),
        "float64": ("method._target_=variants.Float64", "method.name=float64"),
    },
    "momentum of BayesBiNN": {"0 (ours)": (), "0.99": ("method.momentum=0.99",)},
    "schedule before or after the epoch": {
        "before (ours)": (),
        "after": ("scheduler.stepped=after",),
    },
    "BatchNorm before or after ReLU": {
        "bayesbinn, before (ours)": (),
        "bayesbinn, after": ("model.norm_position=after_activation",),
        "ste, before (ours)": ("method=ste",),
        "ste, after": ("method=ste", "model.norm_position=after_activation"),
    },
    "gradient clipping in STE": {
        "1 (ours)": ("method=ste",),
        "none": ("method=ste", "method.grad_clip=null"),
    },
    "initial weights of STE": {
        "torch's (ours)": ("method=ste",),
        "authors'": ("method=ste", "method._target_=variants.GlorotSTE", "method.name=glorot"),
    },
    "PMF's softmax": {
        "once, true Jacobian (ours)": ("method=pmf",),
        "the published gradient": (
            "method=pmf",
            "method._target_=variants.PublishedPMF",
            "method.name=published_pmf",
        ),
        "once, 0.2 of the lr": ("method=pmf", "method.lr=2e-3"),
    },
    "averaging probabilities or logits, tau = 1e-10": {
        "probabilities (ours)": (),
        "logits": ("evaluate.average=logits",),
    },
    "averaging probabilities or logits, tau = 1": {
        "probabilities (ours)": ("method.temperature=1",),
        "logits": ("method.temperature=1", "evaluate.average=logits"),
    },
}
MNIST = (
    "x10 on the training set's size at tau = 1e-10",
    "momentum of BayesBiNN",
    "schedule before or after the epoch",
    "BatchNorm before or after ReLU",
    "gradient clipping in STE",
    "initial weights of STE",
)


def digits(overrides: Sequence[str], seeds: int) -> dict[str, list[float]]:
    """Return each seed's figures of whole runs on digits."""
    figures: dict[str, list[float]] = {}
    for seed in range(seeds):
        settings = ["dataset=digits", f"seed={seed}", *overrides]
        values = quietly(settings).values
        assert values is not None
        evaluate = compose(*settings).to_dict()["evaluate"]
        evaluation = next(e for e in (values, *values["evaluations"]) if e["evaluate"] == evaluate)
        for epoch in ("best", "final"):
            for prediction, metrics in evaluation[epoch]["test"].items():
                for name in ("accuracy", "nll"):
                    figures.setdefault(f"{epoch} {prediction} {name}", []).append(metrics[name])
    return figures


def first_epoch(overrides: Sequence[str], seeds: int) -> dict[str, list[float]]:
    """Return each seed's figures of the first epoch of MNIST's protocol."""
    figures: dict[str, list[float]] = {}
    for seed in range(seeds):
        result = quietly(["dataset=mnist", "stop_after=1", f"seed={seed}", *overrides])
        row = read_metrics(result.folder.metrics)[0]
        for name in ("train_loss", "train_accuracy", "test_accuracy"):
            figures.setdefault(name, []).append(float(row[name] or 0.0))
    return figures


def quietly(overrides: Sequence[str]):
    """Compose and run without progress on the screen."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run(compose(*overrides))


def line(setting: str, figures: dict[str, list[float]]) -> str:
    """Return a setting's figures as one line."""
    parts = []
    for name, values in figures.items():
        decimals = 4 if "nll" in name or "loss" in name else 2
        spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
        parts.append(f"{name} {mean(values):.{decimals}f}{spread}")
    return f"  {setting:28} " + "; ".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparisons and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", help="folder of MNIST; without it only digits is run")
    parser.add_argument("--seeds", type=int, default=3, help="seeds on digits; one on MNIST")
    parser.add_argument("--data", choices=("digits", "mnist", "both"), default="both")
    parser.add_argument("--only", default="", help="only questions that contain this")
    parser.add_argument("--write", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args(argv)
    answers: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for question, settings in DIGITS.items():
            if options.only not in question:
                continue
            for data in ("digits", "mnist"):
                if options.data not in (data, "both"):
                    continue
                if data == "mnist" and not (options.root and question in MNIST):
                    continue
                print(f"{question} ({data})", flush=True)
                for setting, overrides in settings.items():
                    common = [f"out={scratch}", *overrides]
                    try:
                        figures = (
                            digits(common, options.seeds)
                            if data == "digits"
                            else first_epoch([*common, f"dataset.root={options.root}"], 1)
                        )
                    except UserError as error:
                        print(f"error: {error}", file=sys.stderr)
                        return 2
                    print(line(setting, figures), flush=True)
                    answers.append(
                        {"question": question, "data": data, "setting": setting, **figures}
                    )
    if options.write:
        content = {"environment": provenance.describe(["benchmarks/traps.py"]), "answers": answers}
        atomic.write_json(options.write, json.loads(json.dumps(content)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
