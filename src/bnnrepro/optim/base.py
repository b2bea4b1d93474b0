"""Base of the methods: parameter groups, the sampling context, averaging over draws.

A method is a ``torch.optim.Optimizer`` whose parameters always are the deployable weights: outside
a sampling context every parameter of a binary group holds exactly +1 or -1. Latent quantities
(natural parameters, real-valued shadows, moments, logits) live in the optimizer's state. The
interface is that of IVON (Shen et al. 2024, arXiv 2402.17641)::

    with optimizer.sampled_params(train=True):
        criterion(model(inputs), targets).backward()
    optimizer.step()
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bnnrepro.constraints import Count, check_arguments
from bnnrepro.optim.adam import adam_, adam_settings
from bnnrepro.optim.kernels import malloc
from bnnrepro.optim.kernels.arithmetic import sign_ as sign_  # methods import it from here
from bnnrepro.optim.kernels.arithmetic import zero_one_to_signs_
from bnnrepro.optim.kernels.chunks import blocks
from bnnrepro.optim.kernels.compiling import Kernel, run
from bnnrepro.optim.kernels.gradients import own_gradient
from bnnrepro.optim.state_check import check_compatible, label_of

Group = dict[str, Any]


class ScheduledGroup(dict[str, Any]):
    """A group whose scheduled setting is ``lr`` too, by which torch's schedulers read and move it.

    Args:
        group: the entries; none is called ``lr``.
        scheduled: the setting's own name.
    """

    def __init__(self, group: Group, scheduled: str) -> None:
        super().__init__(group)
        self.scheduled = scheduled

    def __missing__(self, key: str) -> Any:
        if key != "lr":
            raise KeyError(key)
        return self[self.scheduled]

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self.scheduled if key == "lr" else key, value)


class _Optimizer(torch.optim.Optimizer):
    """torch's, without the guards that import its compiler at the first call, for a second."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class BinaryOptimizer(_Optimizer):
    """Base of the methods.

    Training starts from the weights that the parameters hold, or at least from their signs. Weights
    that ``load_state_dict`` or any other code writes to a parameter later start it again at the
    next draw or step (all but writes through ``.data``, which torch does not count). A model may be
    moved or converted later, as by ``.to(device)`` or ``.double()``: the state follows it there.

    A subclass defines four small functions of one parameter: ``_start`` (state, first weights),
    ``_perturb`` (the weights of a draw), ``_consume`` (the draw's gradient, at its end) and
    ``_restore`` (back to +-1), and ``_update`` of a whole binary group.

    Args:
        params: as for any torch optimizer: parameters, ``(name, parameter)`` pairs or groups.
            A group with ``binary=False`` is trained by Adam with its own ``lr`` (default 1e-3),
            ``betas``, ``eps`` and ``weight_decay``; with ``clip`` its values are clamped to
            [-clip, clip] after each step.
        defaults: the method's own hyperparameters.
        train_samples: Monte-Carlo samples S that ``step(closure)`` draws, >= 1.
        generator: source of the method's randomness; torch's global one if None. It must live on
            the parameters' device.

    Attributes:
        label: the method's name in tables and figures.
        scheduled: the setting that a scheduler moves; None: there is none. To torch's schedulers
            it is ``lr``, whatever its name.
        binarizes: whether weights become binary at all.
        has_posterior: whether weights can be drawn for prediction.
        keeps_precision: whether the state of binary weights keeps its dtype in a model that is
            converted.
        compiled: whether the element-wise work runs through ``torch.compile``; may be set at any
            time. It pays on a GPU, in long runs.

    Raises:
        ValueError: for a hyperparameter out of range, a parameter in two groups, or a parameter of
            fewer than two dimensions in a group that does not say ``binary``.
    """

    label = ""
    binarizes = True
    scheduled: str | None = "lr"
    has_posterior = False
    keeps_precision = False
    compiled = False
    compiling_pays_on_cpu = False

    def __init__(
        self,
        params: Iterable[Any],
        defaults: dict[str, Any],
        *,
        train_samples: Count = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_arguments(BinaryOptimizer, {"train_samples": train_samples})
        self.train_samples = int(train_samples)
        self.generator = generator
        self._inside = False
        self._draws = 0
        self._gradients: dict[Parameter, Tensor] = {}
        self._spent: Tensor | None = None
        self._written: dict[Parameter, tuple[int, int]] = {}  # versions of our own writes
        self._kinds: dict[Parameter, tuple[torch.dtype, torch.device]] = {}  # those of the state
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        """Add the attributes of this class and the methods to torch's part, so that copies work.

        Attributes set by others stay behind: hooks, and the ``step`` by which torch's schedulers
        count calls, which is bound to this object.
        """
        own = {k: v for k, v in self.__dict__.items() if not self._is_set_by_others(k)}
        return own | super().__getstate__() | {"_spent": None, "_written": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.param_groups = [self._scheduled_as_lr(group) for group in self.param_groups]

    def _is_set_by_others(self, attribute: str) -> bool:
        hides_a_method = callable(getattr(type(self), attribute, None))
        return hides_a_method or "hook" in attribute or attribute == "_opt_called"

    # -- parameter groups -------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, check it and give its parameters their first state and weights."""
        params = param_group["params"]
        if not isinstance(params, Tensor | set):  # torch refuses a set
            param_group = {**param_group, "params": list(params)}
        if param_group.get("binary") is False:
            param_group = {**self.real_defaults(), **param_group}
        self._check_unique(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            if "lr" in group and self.scheduled_key({"binary": self.binarizes, **group}) != "lr":
                raise ValueError(f"lr={group['lr']}: must be {self.scheduled}, its name here")
            if "binary" not in group:
                group["binary"] = self.binarizes
                self._check_dimensions(group)
            self._check(group)
        except ValueError:
            self.param_groups.pop()
            raise
        self.param_groups[-1] = group = self._scheduled_as_lr(group)
        for parameter in group["params"]:
            self._kinds[parameter] = parameter.dtype, parameter.device
            self._ensure_state(parameter, group)

    def real_defaults(self) -> dict[str, Any]:
        """Return the default settings of a group with ``binary=False``."""
        return adam_settings()

    def scheduled_key(self, group: Group) -> str:
        """Return the name of the group's entry that a scheduler moves."""
        own = group["binary"] or not self.binarizes
        return str(self.scheduled) if own else "lr"

    def _scheduled_as_lr(self, group: Group) -> Group:
        key = self.scheduled_key(group)
        return group if key in ("lr", "None") else ScheduledGroup(group, key)

    def _check_unique(self, group: Group) -> None:
        owned = {parameter for existing in self.param_groups for parameter in existing["params"]}
        params = group["params"]
        for position, entry in enumerate([params] if isinstance(params, Tensor) else list(params)):
            name, parameter = entry if isinstance(entry, tuple) else (None, entry)
            if isinstance(parameter, Tensor) and parameter in owned:
                label = name or f"parameter {position}, shape {tuple(parameter.shape)}"
                raise ValueError(f"params: {label} is in two groups; each may be in one only")

    def _check_dimensions(self, group: Group) -> None:
        if not self.binarizes:
            return
        for position, parameter in enumerate(group["params"]):
            if parameter.dim() < 2:
                raise ValueError(
                    f"params: {label_of(group, position)} has {parameter.dim()} dimension(s) "
                    "(a BatchNorm scale? a bias?): its group must say binary=True or "
                    "binary=False; bnnrepro.optim.param_groups(model) sorts them"
                )

    def binary_parameters(self) -> set[Parameter]:
        """Return the parameters that are binarised: those of binary groups, less frozen ones."""
        return {parameter for parameter, _ in self._binary_with_state()}

    def _members(self, binary: bool) -> Iterator[tuple[Parameter, Group]]:
        for group in self.param_groups:
            if group["binary"] == binary:
                for parameter in group["params"]:
                    yield parameter, group

    def _binary_with_state(self) -> Iterator[tuple[Parameter, Group]]:
        return ((p, g) for p, g in self._members(binary=True) if p in self.state)

    @torch.no_grad()
    def _ensure_state(self, parameter: Parameter, group: Group) -> None:
        if self._unchanged(parameter) or not group["binary"] or not parameter.requires_grad:
            return
        if parameter not in self.state or not self._shows_mode(parameter, group):
            if not parameter.is_meta and bool(parameter.isnan().any()):
                shape = tuple(parameter.shape)
                raise ValueError(f"params: a weight is NaN, in a parameter of shape {shape}")
            self._start(parameter, group)
            self.state[parameter]["previous_mode"] = parameter > 0
        self._written[parameter] = _version(parameter)

    def _unchanged(self, parameter: Parameter) -> bool:
        """Return whether the last write to a parameter was ours."""
        return self._written.get(parameter) == _version(parameter)

    def _shows_mode(self, parameter: Parameter, group: Group) -> bool:
        """Return whether a parameter holds its mode; if not, other code has written to it."""
        weights = parameter.detach().clone()
        self._show_mode(parameter, group)
        equal = torch.equal(parameter, weights)
        parameter.copy_(weights)
        return equal

    @torch.no_grad()
    def _adopt_weights(self) -> None:
        """Start again from weights that other code has written to the parameters."""
        self._follow()
        for parameter, group in self._binary_with_state():
            self._ensure_state(parameter, group)

    @torch.no_grad()
    def _follow(self) -> None:
        """Bring the state to the device and dtype of parameters that were moved or converted."""
        for group in self.param_groups:
            for position, parameter in enumerate(group["params"]):
                kind = parameter.dtype, parameter.device
                if self._kinds[parameter] == kind:
                    continue
                cast = not (group["binary"] and self.keeps_precision)
                if cast and parameter.dtype == torch.float16:
                    problem = "became float16, too small for the state: use torch.autocast"
                    raise RuntimeError(f"params: {label_of(group, position)} {problem}")
                self._forget()
                state = self.state.get(parameter, {})
                for key, entry in state.items():
                    as_weight = cast and entry.is_floating_point() and key != "step"
                    state[key] = entry.to(kind[1], kind[0] if as_weight else None)
                self._kinds[parameter] = kind

    # -- the sampling context ---------------------------------------------------------------

    @contextmanager
    def sampled_params(self, train: bool = False) -> Iterator[None]:
        """Put one draw of the weights into the model for the length of the context.

        With ``train=True`` the weights are the ones to train with; backward passes inside sum up,
        and at exit their gradient is consumed with this draw's own factors (``.grad`` is None
        afterwards; a gradient that the caller holds too keeps its values). Several contexts before
        ``step()`` are several Monte-Carlo samples, averaged. Without, it is a draw from the
        posterior for prediction; a method that has none shows its single weight vector. At exit the
        parameters are +-1 again, after an exception too, and then the draw is forgotten.

        Raises:
            RuntimeError: if contexts are nested, or at exit no parameter has a gradient or one has
                a sparse one.
        """
        if self._inside:
            raise RuntimeError("sampled_params() inside sampled_params(): contexts do not nest")
        self._inside = True
        try:
            if train:
                self.zero_grad()
            self._draw(train)
            yield
            if train:
                self._collect()
        finally:
            self._inside = False
            self._return()

    @torch.no_grad()
    def _draw(self, train: bool) -> None:
        self._follow()
        for parameter, group in self._members(binary=True):
            self._ensure_state(parameter, group)
            if parameter in self.state and (parameter.requires_grad or not train):
                self._perturb(parameter, group, train)
                self._written[parameter] = _version(parameter)
        _weights_changed()

    @torch.no_grad()
    def _return(self) -> None:
        for parameter, group in self._binary_with_state():
            unchanged = self._unchanged(parameter)
            self._restore(parameter, group)
            if unchanged:
                self._written[parameter] = _version(parameter)
        _weights_changed()

    @torch.no_grad()
    def _collect(self) -> None:
        with_gradient = [
            (p, g) for g in self.param_groups for p in g["params"] if p.grad is not None
        ]
        if not with_gradient:
            raise RuntimeError(
                "no gradient at the end of sampled_params(train=True): "
                "call backward() on the loss inside the context"
            )
        draw: dict[Parameter, Tensor] = {}
        for parameter, group in with_gradient:
            gradient = own_gradient(parameter)
            if group["binary"] and parameter in self.state:
                gradient = self._consume(parameter, gradient, group)
            draw[parameter] = gradient
        self._add(draw, 1)
        self._spent = None

    def _add(self, gradients: dict[Parameter, Tensor], draws: int) -> None:
        """Add the summed gradients of some draws to those of the next step."""
        for parameter, gradient in gradients.items():
            if parameter in self._gradients:
                self._gradients[parameter].add_(gradient)
            else:
                self._gradients[parameter] = gradient
        self._draws += draws

    # -- the step ---------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients; outside a context also the draws that no step has used.

        A loop that skips a step, as ``torch.amp.GradScaler`` does where a gradient is not finite,
        calls this before the next draw. (``GradScaler.unscale_`` belongs inside the context.)
        """
        super().zero_grad(set_to_none)
        if not self._inside:
            self._gradients, self._draws = {}, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, parts: int = 1) -> Any:
        """Update the weights from the draws consumed since the last step.

        Args:
            closure: computes the loss, calls backward on it and returns it, or nothing; with it,
                the step makes its ``train_samples`` draws itself.
            parts: draws instead of each of these, as for a batch in several parts: each has its
                own, and the closure is called in turn for one after the other.

        Returns:
            The mean loss over the draws if there is a closure that returns it, else None.

        Raises:
            RuntimeError: if there was no draw, or the step is taken inside a context.
        """
        if self._inside:
            raise RuntimeError("step() inside sampled_params(): leave the context first")
        loss = None if closure is None else self._evaluate(closure, self.train_samples * parts)
        self._adopt_weights()
        if self._draws == 0:
            raise RuntimeError(
                "step() without a draw: compute the gradient inside "
                "`with optimizer.sampled_params(train=True):`, or pass a closure"
            )
        gradients, draws = self._gradients, self._draws
        self._gradients, self._draws = {}, 0
        if draws > 1:
            torch._foreach_div_(list(gradients.values()), draws)
        for group in self.param_groups:
            params = [p for p in group["params"] if p in gradients]
            if not params:
                continue
            chosen = [gradients[p] for p in params]
            if group["binary"]:
                self._update(params, chosen, group)
                self._written |= {parameter: _version(parameter) for parameter in params}
            else:
                adam_(params, chosen, [self.state[p] for p in params], group)
                _clamp(params, group.get("clip"))
        _weights_changed()
        self._spent = malloc.to_keep(gradients.values())
        return loss

    def _evaluate(self, closure: Callable[[], Any], draws: int) -> Any:
        """Make a step's draws, all of them or none; return the mean loss."""
        losses = []
        before = self._gradients, self._draws
        self._gradients, self._draws = {}, 0
        try:
            for _ in range(draws):
                with torch.enable_grad(), self.sampled_params(train=True):
                    loss = closure()
                losses.append(loss.detach() if isinstance(loss, Tensor) else loss)
        except BaseException:
            self._gradients, self._draws = before
            raise
        self._add(*before)
        return None if None in losses else sum(losses, 0.0) / draws

    # -- what a method defines ----------------------------------------------------------------

    def _check(self, group: Group) -> None:
        """Raise ValueError for a group's setting that is outside its declared range."""
        own = group["binary"] or not self.binarizes
        check_arguments(type(self) if own else adam_settings, group)

    def _start(self, parameter: Parameter, group: Group) -> None:
        """Make the parameter's state and set its weights to +-1."""
        raise NotImplementedError

    def _perturb(self, parameter: Parameter, group: Group, train: bool) -> None:
        """Write a draw's weights; does nothing where a method trains with the mode."""

    def _consume(self, parameter: Parameter, gradient: Tensor, group: Group) -> Tensor:
        """Return this draw's contribution to the step; may work in the gradient's memory."""
        return gradient

    def _restore(self, parameter: Parameter, group: Group) -> None:
        """Put the mode back after a draw."""

    def _update(self, params: list[Parameter], gradients: list[Tensor], group: Group) -> None:
        """Move a binary group's state and weights by the averaged gradients."""
        raise NotImplementedError

    def _run(self, kernel: Kernel, *arguments: Any) -> list[Any]:
        """Run a kernel on its tensors (they come first) and numbers; return its results.

        A number may be a tensor without dimensions, as torch allows for a learning rate.
        """
        return run(kernel, *arguments, compile=self.compiled)

    # -- state and diagnostics --------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as torch does, of the weights that the parameters hold now."""
        self._adopt_weights()
        found: dict[str, Any] = super().state_dict()
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the parameters take its weights.

        Draws that no step has used are forgotten. Weights that are themselves the state (Bop's)
        come with the model's own ``load_state_dict``.

        Raises:
            ValueError: for a state of another method, of other groups or of other shapes; nothing
                is changed then.
        """
        check_compatible(self, state_dict)
        super().load_state_dict(state_dict)
        self._forget()
        for parameter, state in self.state.items():
            if "step" in state:  # torch leaves it where it was saved, its kernels want it here
                state["step"] = state["step"].to(parameter.device)
        with torch.no_grad():
            for parameter, group in self._binary_with_state():
                state = self.state[parameter]
                state["previous_mode"] = state["previous_mode"].bool()
                self._show_mode(parameter, group)
                self._written[parameter] = _version(parameter)
        _weights_changed()

    def _forget(self) -> None:
        """Drop the draws, and everything derived from a state that was replaced."""
        self._gradients, self._draws, self._spent = {}, 0, None

    def _show_mode(self, parameter: Parameter, group: Group) -> None:
        """Write the mode of the state into the parameter."""
        raise NotImplementedError

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """Return the method's figures; the next call compares with the present weights.

        ``flipped`` is the share (0 to 1) of the binary weights whose sign differs from that at the
        last call (at the start, before the first). Methods add their own.
        """
        self._adopt_weights()
        figures: dict[str, float] = {}
        members = list(self._binary_with_state())
        total = sum(p.numel() for p, _ in members)
        if total:
            flipped = 0.0
            for parameter, _ in members:
                mode = parameter > 0
                flipped += float(
                    torch.count_nonzero(mode != self.state[parameter]["previous_mode"])
                )
                self.state[parameter]["previous_mode"] = mode
            figures["flipped"] = flipped / total
        return figures

    @torch.no_grad()
    def not_finite(self) -> tuple[str, float] | None:
        """Return the name and value of a weight or of its state that is NaN or infinite, if any.

        A binary weight never is: a sign hides a NaN in the latent weight.
        """
        for group in self.param_groups:
            for position, parameter in enumerate(group["params"]):
                entries = {"weight": parameter, **self.state.get(parameter, {})}
                for key, entry in entries.items():
                    if not (torch.is_floating_point(entry) and entry.numel()):
                        continue
                    for extreme in map(float, torch.aminmax(entry)):
                        if not math.isfinite(extreme):
                            return f"{key} of {label_of(group, position)}", extreme
        return None

    def _mean_over_weights(self, key: str, value: Callable[..., Tensor]) -> float:
        """Average a value of each binary weight over all of them; 0 where there are none.

        Args:
            key: of the state's entry that the value is computed from, block by block.
            value: takes the group and a block of the entry (of each half of PMF's logits).
        """
        total, count = 0.0, 0
        for parameter, group in self._binary_with_state():
            entry = self.state[parameter][key]
            halves = (entry,) if entry.shape == parameter.shape else entry.unbind()
            for parts in blocks(*halves):
                total += float(value(group, *parts).sum(dtype=torch.float64))
            count += parameter.numel()
        return total / count if count else 0.0


def _weights_changed() -> None:
    """Make a surrounding autocast cast the weights again: it does not see changes in place."""
    torch.clear_autocast_cache()


def _clamp(params: list[Parameter], bound: float | None) -> None:
    if bound is not None:
        for parameter in params:
            parameter.clamp_(-bound, bound)


def _version(parameter: Parameter) -> tuple[int, int]:
    """Return a pair that differs after every write to a parameter: torch's count, the address."""
    return parameter._version, parameter.data_ptr()


def signs_of(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the signs of weights to start from, in new memory; random ones where they are 0."""
    signs = weights.detach().sign()
    zero = signs == 0
    if not signs.is_meta and bool(zero.any()):
        coins = torch.empty_like(signs).bernoulli_(0.5, generator=generator)
        signs = torch.where(zero, zero_one_to_signs_(coins), signs)
    return signs
