"""Speed, start and memory: `make bench`.

Ratios are measured in one process, all competitors in turn, as medians with quartiles: a step of
every method against one of torch's fused Adam and against a plain transcription of its rule
(benchmarks/plain.py), a whole epoch against its bare steps, evaluation against an epoch; then the
time of `--help` and the peak memory of whole runs, in processes of their own; then exported
networks. Random images of the
real sizes stand in for the data. On a GPU there are also absolute times, in seconds per epoch, and
the share of the device's peak if `--peak` gives it.

    python benchmarks/bench.py [--rows steps,vgg] [--repetitions 15] [--write FILE.json]
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import deployed
import plain
import synthetic
import torch
from timing import Ratio, Times, interleaved
from torch import nn
from torch.nn.functional import cross_entropy

from bnnrepro import optim
from bnnrepro.data.batches import Batches
from bnnrepro.experiment.threads import set_threads
from bnnrepro.models.mlp import MLP
from bnnrepro.models.vgg import VGG
from bnnrepro.optim.kernels.malloc import keep_freed_memory
from bnnrepro.runs import atomic, provenance
from bnnrepro.tasks import Classification
from bnnrepro.training import evaluation
from bnnrepro.training.loop import TrainingLoop

ROOT = Path(__file__).parents[1]
IMAGES, BATCH = 54_000, 100  # of MNIST's protocol
HELD_OUT = 16_000  # validation and test
FLOPS_PER_STEP = 6 * 10_014_720 * BATCH  # of the MLP: 2 forward, 2 for inputs, 2 for weights
DRAWS = 10
LATE = (0.015, 0.1)  # shares of weights that noise can flip; 0.015 after 25 epochs of MNIST
Step = Callable[[], object]
Measurement = dict[str, Any]

SETTINGS: dict[str, dict[str, Any]] = {
    "bayesbinn": {"lr": 1e-4, "train_set_size": IMAGES},
    "ste": {},
    "bop": {},
    "pmf": {},
}
CLASSES: dict[str, tuple[Any, Any]] = {
    "bayesbinn": (optim.BayesBiNN, plain.BayesBiNN),
    "ste": (optim.STE, plain.STE),
    "bop": (optim.Bop, plain.Bop),
    "pmf": (optim.PMF, plain.PMF),
}
# The first steps of a long run, where the soft rules are soft. There is no plain transcription.
RUN = {"total_steps": 10**9}
SUCCESSORS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "md_tanh": (optim.MDTanhS, RUN, "<= 1.3"),
    "adaste, soft": (optim.AdaSTE, {"train_set_size": IMAGES, **RUN}, "<= 1.3"),
    "adaste, hard": (
        optim.AdaSTE,
        {"train_set_size": IMAGES, "annealing": None, **RUN},
        "<= 1.3",
    ),
    "adaste bilevel, soft": (
        optim.AdaSTE,
        {"train_set_size": IMAGES, "variant": "bilevel", **RUN},
        "<= 1.3",
    ),
    "prox_connect": (optim.ProxConnect, RUN, "<= 1.3"),
    "parq": (optim.ProxConnect, {"prox": "parq", **RUN}, "<= 1.3"),
    "binary_relax": (optim.ProxConnect, {"prox": "binary_relax", **RUN}, "<= 1.3"),
    "prox_connect, sgd": (optim.ProxConnect, {"base": "sgd", **RUN}, "<= 1.3"),
    "bop2": (optim.Bop2, {}, "<= 1.3"),
    "metaplasticity": (optim.Metaplasticity, {}, "<= 1.3"),
    "bimu": (optim.BiMU, {}, ""),
}


def batch(shape: Sequence[int], size: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return one batch of noise and labels."""
    return torch.randn(size, *shape, device=device), torch.randint(10, (size,), device=device)


def late(share: float) -> str:
    """Return the name of BayesBiNN's step with a share of the weights that noise can flip."""
    return f"bayesbinn, {100 * share:g} % of weights near"


def ours(
    model: nn.Module,
    data: Any,
    method: str,
    *,
    compiled: bool = False,
    near: float = 0.0,
    **more: Any,
) -> Step:
    """Return a whole step of an optimizer; ``near`` is the share of weights that noise can flip."""
    cls, settings = CLASSES[method][0], SETTINGS[method]
    optimizer = cls(model.parameters(), **settings, **more)
    optimizer.compiled = compiled
    for parameter in optimizer.binary_parameters() if near else ():
        natural = optimizer.state[parameter]["natural_parameter"]
        mask = torch.rand_like(natural) < near
        natural.copy_(torch.where(mask, natural * torch.rand_like(natural) * 0.5, natural * 1e6))
    return step_of(model, data, optimizer)


def step_of(model: nn.Module, data: Any, optimizer: optim.BinaryOptimizer) -> Step:
    """Return a whole step of an optimizer."""
    inputs, targets = data

    def step() -> None:
        with optimizer.sampled_params(train=True):
            cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def transcription(model: nn.Module, data: Any, method: str) -> Step:
    """Return a whole step of the plain rule."""
    inputs, targets = data
    rule = CLASSES[method][1](model.parameters(), **SETTINGS[method])
    return lambda: rule.step(lambda: cross_entropy(model(inputs), targets))


def adam(model: nn.Module, data: Any) -> Step:
    """Return a whole step of torch's fused Adam."""
    inputs, targets = data
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def network_only(model: nn.Module, data: Any) -> Step:
    """Return the forward and the backward pass."""
    inputs, targets = data

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        cross_entropy(model(inputs), targets).backward()

    return step


def row(name: str, ratio: Ratio, bound: str, seconds: float | None = None) -> Measurement:
    """Return a row of the table."""
    record: Measurement = {"row": name, "value": ratio.value, "quartiles": [ratio.low, ratio.high]}
    return record | {"wanted": bound, "seconds": seconds, "shown": str(ratio)}


def successors(device: torch.device, repetitions: int) -> list[Measurement]:
    """Measure a step of the rules after BayesBiNN on MNIST's MLP, batch 100."""
    data = batch((1, 28, 28), BATCH, device)

    def mlp() -> nn.Module:
        return MLP((1, 28, 28), 10).to(device)

    tasks = {"adam": adam(mlp(), data)}
    for name, (cls, settings, _) in SUCCESSORS.items():
        model = mlp()
        tasks[name] = step_of(model, data, cls(model.parameters(), **settings))
    times = interleaved(tasks, repetitions, device)
    return [
        row(
            f"step: {name} / fused Adam",
            times[name].over(times["adam"]),
            bound,
            times[name].median,
        )
        for name, (_, _, bound) in SUCCESSORS.items()
    ]


def steps(device: torch.device, repetitions: int, compiled: bool) -> list[Measurement]:
    """Measure a step of every method on MNIST's MLP, batch 100."""
    data = batch((1, 28, 28), BATCH, device)

    def mlp() -> nn.Module:
        return MLP((1, 28, 28), 10).to(device)

    tasks = {"adam": adam(mlp(), data), "network": network_only(mlp(), data)}
    for method in CLASSES:
        tasks[method] = ours(mlp(), data, method)
        if compiled:
            tasks[f"{method} compiled"] = ours(mlp(), data, method, compiled=True)
    for share in LATE:
        tasks[late(share)] = ours(mlp(), data, "bayesbinn", near=share)
    tasks["bayesbinn tau=1"] = ours(mlp(), data, "bayesbinn", temperature=1.0)
    times = interleaved(tasks, repetitions, device)
    rows = [row("step: fused Adam", times["adam"].over(times["adam"]), "", times["adam"].median)]
    bounds = {"bayesbinn": "<= 1.1", "ste": "<= 1.2", "bop": "<= 1.2", "pmf": "<= 1.4"}
    bounds |= {late(LATE[0]): "<= 1.15", late(LATE[1]): "<= 1.35", "bayesbinn tau=1": "<= 1.6"}
    for name in [name for name in tasks if name != "adam"]:
        ratio = times[name].over(times["adam"])
        bound = bounds.get(name, "")
        rows.append(row(f"step: {name} / fused Adam", ratio, bound, times[name].median))
    return rows


def against_plain(device: torch.device, repetitions: int) -> list[Measurement]:
    """Measure a step of every method against its plain rule, at glibc's limits and at ours.

    Memory that the process keeps stays in its heap for both competitors. So the rows at glibc's
    limits, with which the published programs run, come first, and before all others.
    """
    rows = []
    for limits, bound in (("", "<= 0.125"), (", both with freed memory kept", "")):
        if limits:
            keep_freed_memory()
        for method in CLASSES:
            rows.append(_against_plain(device, repetitions, method, limits, bound))
    return rows


def _against_plain(
    device: torch.device, repetitions: int, method: str, limits: str, bound: str
) -> Measurement:
    data = batch((1, 28, 28), BATCH, device)
    tasks = {
        "ours": ours(MLP((1, 28, 28), 10).to(device), data, method),
        "plain": transcription(MLP((1, 28, 28), 10).to(device), data, method),
    }
    times = interleaved(tasks, repetitions, device, settle=True)
    bound = bound if method == "bayesbinn" else ""
    ratio = times["ours"].over(times["plain"])
    return row(f"step: {method} / plain{limits}", ratio, bound, times["plain"].median)


def vgg(device: torch.device, repetitions: int) -> list[Measurement]:
    """Measure the optimizer's share of a step of CIFAR's VGG, batch 50."""
    data = batch((3, 32, 32), 50, device)
    model = TrainingLoop(VGG((3, 32, 32), 10), Classification(), device=str(device)).model
    optimizer = optim.BayesBiNN(model.parameters(), lr=3e-4, train_set_size=45_000)
    network = network_only(model, data)

    def around() -> None:
        """Take a step without the network's passes."""
        for parameter, gradient in gradients.items():
            parameter.grad = gradient.clone()
        with optimizer.sampled_params(train=True):
            for parameter, gradient in gradients.items():
                parameter.grad = gradient
        optimizer.step()

    network()
    gradients = {p: p.grad.clone() for p in model.parameters() if p.grad is not None}
    times = interleaved({"network": network, "around": around}, max(repetitions // 2, 3), device)
    shares = Times(tuple(a + n for a, n in zip(*(t.seconds for t in times.values()), strict=True)))
    share = times["around"].over(shares)
    return [row("VGG: optimizer's share of a step", share, "<= 0.04", shares.median)]


def epoch(device: torch.device, repetitions: int) -> list[Measurement]:
    """Measure parts of an epoch of MNIST against bare steps, and evaluation against an epoch."""
    data = synthetic.load(name="mnist")
    sources = data.sources(seed=0, device=device, batch_size=BATCH)
    trainer = TrainingLoop(MLP((1, 28, 28), 10), Classification(), device=str(device))
    trainer.compile("bayesbinn", lr=1e-4, compile_optimizer="off")
    trainer._begin(sources.train, epochs=500)
    bare = ours(trainer.model, batch((1, 28, 28), BATCH, device), "bayesbinn")
    count = 60

    def bare_steps() -> None:
        trainer.model.train()
        for _ in range(count):
            bare()

    def part_of_an_epoch() -> None:
        trainer.running.batch = len(sources.train) - count
        trainer._train_epoch(sources.train)

    def evaluation() -> None:
        for source in (sources.validation, sources.test):
            trainer.validate(source)

    tasks = {"bare": bare_steps, "epoch": part_of_an_epoch, "evaluation": evaluation}
    times = interleaved(tasks, max(repetitions // 3, 3), device, warm_up=1)
    throughput = times["bare"].over(times["epoch"])
    whole = Times(tuple(t * len(sources.train) / count for t in times["epoch"].seconds))
    share = times["evaluation"].over(whole)
    return [
        row("epoch: its throughput / bare steps'", throughput, ">= 0.92", whole.median),
        row(
            f"evaluation of {HELD_OUT:,} images / epoch",
            share,
            "<= 0.06",
            times["evaluation"].median,
        ),
    ]


def mean_prediction(device: torch.device, repetitions: int) -> list[Measurement]:
    """Measure the mean prediction over draws of MNIST's MLP at temperature 1."""
    data = synthetic.load(name="mnist")
    trainer = TrainingLoop(MLP((1, 28, 28), 10), Classification(), device=str(device))
    trainer.compile("bayesbinn", lr=1e-4, temperature=1.0, compile_optimizer="off")
    trainer._begin(data.sources(seed=0, device=device, batch_size=BATCH).train, epochs=1)
    optimizer = trainer.optimizer
    for parameter in optimizer.binary_parameters():  # all sizes at which a sign is not certain
        optimizer.state[parameter]["natural_parameter"].uniform_(-4, 4)
    optimizer.load_state_dict(optimizer.state_dict())

    def measure(count: int, turns: int, bound: str) -> Measurement:
        samples = torch.randn(count, 1, 28, 28), torch.zeros(count, dtype=torch.long)
        source = Batches(count, lambda chosen, _: (samples[0][chosen], samples[1][chosen]), 1000)

        def plain_passes() -> None:
            for _ in range(DRAWS):
                evaluation.outputs_and_targets(trainer.model, source, device)

        def mean() -> None:
            more = {"task": trainer.task, "samples": DRAWS}
            evaluation.average_outputs(trainer.model, optimizer, source, device, **more)

        times = interleaved({"plain": plain_passes, "mean": mean}, turns, device, warm_up=1)
        name = f"mean prediction, {DRAWS} draws, {count:,} images / {DRAWS} forward passes"
        return row(name, times["mean"].over(times["plain"]), bound, times["mean"].median)

    few = max(repetitions // 3, 3)
    return [measure(1_000, repetitions, "<= 1.3"), measure(10_000, few, "<= 1.05")]


def start(repetitions: int) -> list[Measurement]:
    """Measure `run.py --help` against importing torch."""

    def command(*words: str) -> Step:
        return lambda: subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True)

    tasks = {"help": command("run.py", "--help"), "torch": command("-c", "import torch")}
    times = interleaved(tasks, max(repetitions // 3, 3), torch.device("cpu"), warm_up=1)
    ratio = times["help"].over(times["torch"])
    return [row("start: run.py --help / import torch", ratio, "< 3 s", times["help"].median)]


def memory(compiled: bool) -> list[Measurement]:
    """Measure the peak memory of the main process of whole runs, each in a process of its own."""
    cases = [("MNIST's MLP run", ["mnist", "off"], "< 900 MB")]
    if compiled:
        cases.append(("MNIST's MLP run, compiled", ["mnist", "on"], "< 1100 MB"))
    cases.append(("CIFAR's VGG run", ["cifar10", "off"], "< 2000 MB"))
    rows = []
    for name, words, bound in cases:
        command = [sys.executable, str(ROOT / "benchmarks" / "peak.py"), *words]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        megabytes = int(process.stdout.split()[-1]) / 1e6
        rows.append(
            {"row": f"peak memory: {name}", "value": megabytes, "wanted": bound}
            | {"seconds": None, "quartiles": None, "shown": f"{megabytes:.0f} MB"}
        )
    return rows


def export(repetitions: int) -> list[Measurement]:
    """Measure exported networks on one thread: sizes, memory, latency and loading."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for name, model, shape in (
        ("MLP", MLP((1, 28, 28), 10), (1, 28, 28)),
        ("VGG", VGG((3, 32, 32), 10), (3, 32, 32)),
    ):
        for what, value, wanted in deployed.measure(name, model, shape, repetitions):
            if isinstance(value, tuple):
                rows.append(row(what, value[0].over(value[1]), wanted, value[0].median))
            else:
                record = {"row": what, "value": value, "wanted": wanted, "shown": f"{value:.3g}"}
                rows.append(record | {"seconds": None, "quartiles": None})
    torch.set_num_threads(threads)
    return rows


def on_gpu(device: torch.device, peak: float | None) -> list[Measurement]:
    """Measure whole epochs on a GPU, in seconds, and the share of its peak throughput."""
    rows = []
    for name, network, size in (("mnist", MLP, 100), ("cifar10", VGG, 50)):
        augment = {"pad": 4, "flip": True} if name == "cifar10" else {}
        data = synthetic.load(name=name, augment=augment)
        sources = data.sources(seed=0, device=device, batch_size=size)
        for precision in ("float32", "tf32", "bf16"):
            model = network(data.facts.shape, 10)
            trainer = TrainingLoop(model, Classification(), device=str(device), precision=precision)
            trainer.compile("bayesbinn", lr=1e-4, compile_optimizer="on")
            trainer._begin(sources.train, epochs=500)

            def whole_epoch(trainer: TrainingLoop = trainer, source: Any = sources.train) -> None:
                trainer.running.batch = 0
                trainer._train_epoch(source)

            times = interleaved({"epoch": whole_epoch}, 3, device, warm_up=1)["epoch"]
            record = row(f"{name}, {precision}: an epoch", times.over(times), "", times.median)
            record["shown"] = f"{times.median:.2f} s"
            if peak and name == "mnist":
                flops = FLOPS_PER_STEP * len(sources.train) / times.median
                record["share_of_peak"] = flops / (peak * 1e12)
                record["shown"] += f", {100 * record['share_of_peak']:.1f} % of the peak"
            rows.append(record)
    return rows


def table(rows: Sequence[Measurement]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | wanted | absolute |", "|---|---|---|---|"]
    for record in rows:
        seconds = record["seconds"]
        absolute = "" if seconds is None else f"{seconds:.3g} s"
        lines.append(f"| {record['row']} | {record['shown']} | {record['wanted']} | {absolute} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = ["plain", "steps", "successors", "mean", "vgg", "epoch", "start", "memory", "export"]
    names += ["gpu"]
    parser.add_argument("--rows", default=",".join(names), help="groups of rows, with commas")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--no-compile", action="store_true", help="leave out compiled rows")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: those of a run")
    parser.add_argument("--peak", type=float, help="the GPU's peak in TFLOP/s, for its share")
    parser.add_argument("--write", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args(argv)
    selected = options.rows.split(",")
    if unknown := set(selected) - set(names):
        parser.error(f"--rows {','.join(sorted(unknown))}: must be some of {', '.join(names)}")
    if options.repetitions < 2:
        parser.error(f"--repetitions {options.repetitions}: must be >= 2")
    device = torch.device(options.device)
    torch.set_flush_denormal(True)  # before torch computes, as a run does
    set_threads(options.threads)
    compiled, count = not options.no_compile, options.repetitions
    measured: dict[str, Callable[[], list[Measurement]]] = {
        "plain": lambda: against_plain(device, count),
        "steps": lambda: steps(device, count, compiled),
        "successors": lambda: successors(device, count),
        "mean": lambda: mean_prediction(device, count),
        "vgg": lambda: vgg(device, count),
        "epoch": lambda: epoch(device, count),
        "start": lambda: start(count),
        "memory": lambda: memory(compiled),
        "export": lambda: export(count),
        "gpu": lambda: on_gpu(device, options.peak) if device.type == "cuda" else [],
    }
    rows = []
    for name in (name for name in names if name in selected):
        if name != "plain":
            keep_freed_memory()
        rows += measured[name]()
    about = provenance.describe(["benchmarks/bench.py", *(argv or sys.argv[1:])])
    git = about["git"] or {}
    print(f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads; {about['gpu']}")
    print(f"torch {torch.__version__}, {about['date']}, commit {git.get('commit')}")
    print(table(rows))
    if options.write:
        atomic.write_json(options.write, {"environment": about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
