"""Measure the peak memory of a run's process, in bytes: `python benchmarks/peak.py mnist off`.

mnist: a whole run of one epoch of the MLP, with its checkpoints and evaluations. cifar10: the data
set of 50,000 images in memory, 20 steps of the VGG, an evaluation, a checkpoint, the run's end.
The images are random.
"""

import re
import sys
import tempfile
from pathlib import Path

from bnnrepro.config.compose import compose
from bnnrepro.experiment import build, run

TARGET = "dataset._target_=synthetic.load"


def whole_run(compiled: str, out: str) -> None:
    """Run an epoch of MNIST's protocol."""
    run(compose("dataset=mnist", TARGET, "epochs=1", f"compile.optimizer={compiled}", f"out={out}"))


def some_steps(compiled: str, out: str) -> None:
    """Take the last steps of an epoch of CIFAR-10's protocol."""
    parts = build(compose("dataset=cifar10", TARGET, f"compile.optimizer={compiled}"))
    trainer, train = parts.trainer, parts.sources.train
    trainer.source = train
    trainer._begin(train, epochs=500)
    trainer.running.batch = len(train) - 20
    trainer._train_epoch(train)
    held_out = parts.sources.test
    for inputs, _ in [next(held_out.epoch(0)) for _ in range(3)]:
        trainer.predict(inputs)
    trainer.save(Path(out) / "checkpoint.pt")
    trainer.task.finish(trainer, held_out, Path(out))


if __name__ == "__main__":
    data, compiled = sys.argv[1:]
    with tempfile.TemporaryDirectory() as out:
        (whole_run if data == "mnist" else some_steps)(compiled, out)
    # getrusage's peak is inherited from the process that started this one; this is not.
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    print(int(kilobytes) * 1024)
