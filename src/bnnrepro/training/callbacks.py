"""Callbacks, and the exceptions that stop training early."""

from bnnrepro.training.task import EpochRow, Training


class Callback:
    """Base of all callbacks; every hook does nothing unless overridden."""

    def on_fit_start(self, training: Training) -> None:
        """Before the first epoch; the state of training may be loaded here."""

    def on_batch_end(self, training: Training) -> None:
        """After each optimizer step."""

    def on_epoch_end(self, training: Training, row: EpochRow) -> None:
        """After an epoch's evaluation; ``row`` is the epoch's line of metrics.csv."""

    def on_interrupt(self, training: Training) -> None:
        """Between two steps, when training is asked to stop at once."""

    def on_fit_end(self, training: Training) -> None:
        """After the last epoch, or the epoch after which ``training.stop`` was set."""

    def close(self, exit_code: int) -> None:
        """At the end of the run, however it ended."""


class Interrupted(BaseException):
    """Training was stopped by a signal, with its state saved; not an error of the program."""

    def __init__(self, signal_name: str, exit_code: int) -> None:
        super().__init__(f"stopped by {signal_name}")
        self.signal_name = signal_name
        self.exit_code = exit_code


class NonFiniteLossError(RuntimeError):
    """A loss, or a value of the method, is NaN or infinite; names it, its epoch and its step."""

    def __init__(self, epoch: int, step: int, value: float, what: str = "loss") -> None:
        super().__init__(
            f"the {what} is {value} at epoch {epoch}, step {step}: "
            "a smaller learning rate or a larger temperature may help; are the inputs finite?"
        )
