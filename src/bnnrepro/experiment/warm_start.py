"""Start a run from the weights of another one: ``init_from``."""

from typing import Any

from torch import Tensor, nn

from bnnrepro.config import Config
from bnnrepro.errors import UserError
from bnnrepro.optim.base import BinaryOptimizer
from bnnrepro.runs.layout import RunFolder
from bnnrepro.runs.start import refused, start_file
from bnnrepro.runs.stored_config import read_config
from bnnrepro.training import checkpoint

_SHOWN = 3


class WarmStart:
    """The state that a run starts from, read from the file that ``init_from`` names.

    Raises:
        UserError: the file is missing, damaged or no checkpoint.
    """

    def __init__(self, cfg: Config) -> None:
        assert cfg.init_from is not None
        self._cfg, self._path = cfg, start_file(cfg.init_from)
        try:
            self._state = checkpoint.load(self._path)
        except (FileNotFoundError, checkpoint.UnusableError) as error:
            reason = getattr(error, "reason", "is missing")
            raise refused(cfg.init_from, reason) from error

    def load_weights(self, model: nn.Module) -> None:
        """Load weights and buffers into a model that no optimizer has taken yet.

        Raises:
            UserError: the model has other names or shapes; the line names the first of them.
        """
        saved: dict[str, Tensor] = self._state["model"]
        own = model.state_dict()
        wrong = [f"{name} is missing there" for name in own if name not in saved]
        wrong += [f"{name} is not in this model" for name in saved if name not in own]
        wrong += [
            f"{name} is {tuple(saved[name].shape)} there, {tuple(own[name].shape)} here"
            for name in own
            if name in saved and saved[name].shape != own[name].shape
        ]
        if wrong:
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            reason = f"is of another model: {', '.join(wrong[:_SHOWN])}{more}"
            raise UserError("init_from", str(self._cfg.init_from), reason)
        model.load_state_dict(saved)

    def load_state(self, optimizer: BinaryOptimizer) -> None:
        """Give a method the state (latent weights, posterior, momentum) of a run of the same rule.

        Its settings and schedules stay its own. After another rule, or with other real-valued
        layers, it keeps the state that it made of the weights.
        """
        saved = self._state["optimizer"]
        groups = optimizer.state_dict()["param_groups"]
        layout, here = (
            [(group["binary"], group["params"]) for group in side]
            for side in (saved["param_groups"], groups)
        )
        if self._is_same_rule() and layout == here:
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})

    def _is_same_rule(self) -> bool:
        folder = RunFolder(self._path.parent)
        if not folder.config.exists():
            return False
        there = read_config(folder.config)["method"]
        return _rule(there) == _rule(self._cfg.to_dict()["method"])


def _rule(method: dict[str, Any]) -> dict[str, str]:
    """Return what tells rules with different states apart: the class, a variant by name."""
    words = {key: value for key, value in method.items() if isinstance(value, str)}
    return {key: value for key, value in words.items() if key not in ("name", "label")}
