"""RuleOptimizer: makes a ``torch.optim.Optimizer`` of a rule."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor

from dlopt.engine import checkpoint, device
from dlopt.engine.checks import options, python_numbers
from dlopt.engine.gather import Memory, gather, take
from dlopt.engine.hooked import eager, hooked
from dlopt.engine.lowering import lower_norms, lower_program
from dlopt.engine.matrix import MatrixRule, matrix_rule
from dlopt.engine.program import Program
from dlopt.engine.rule import Rule, rule_of


class EngineOptions(TypedDict, total=False):
    """The keywords every optimizer of dlopt takes, because the engine serves them.

    Keys:
        maximize: climb instead of descend.
        foreach, fused: which face runs the step. Both None: the fastest that can. ``fused=True``: a fused one or
            an error that says why not. ``foreach=True``, or either False: the torch face.
        capturable: keep step counts on the device, and what depends on them, so that a CUDA graph can hold the
            step. On a GPU only. Take a few steps before it is captured.
        differentiable: let autograd record the step. Matrix rules do not.
        writing: how the change reaches a parameter of bfloat16 or float16. ``"plain"`` rounds to nearest.
            ``"kahan"``, compensated summation, keeps what rounding loses in one more tensor of the parameter's dtype.
            ``"master"`` keeps the parameter in float32 beside its rounding. ``"stochastic"`` rounds up or down at
            random, right on average, and keeps a counter only; it is not recorded by `differentiable`.
        optim_bits: 32, or 8 for state of one byte an element and one float32 a block of 256 (see
            :mod:`dlopt.engine.eight_bits`; the keyword is that of ``bitsandbytes``). Parameters of fewer than 4,096
            elements and complex ones keep float32, and so does state that a class does not list in ``quantized``.
            A loaded state is converted; ``torch.optim`` would take the bytes for numbers, without a word. The range
            is that of float32, for float64 parameters too: a second moment beyond 3.4e38, as a gradient of 6e20
            makes one, is infinite, and its block goes no further.
        seed: of the random numbers, a whole number from 0. Parameters, elements and steps have different ones.
    """

    maximize: bool
    foreach: bool | None
    capturable: bool
    differentiable: bool
    fused: bool | None
    writing: str
    seed: int
    optim_bits: int


ENGINE_DEFAULTS = EngineOptions(
    maximize=False,
    foreach=None,
    capturable=False,
    differentiable=False,
    fused=None,
    writing="plain",
    seed=0,
    optim_bits=32,
)


class RuleOptimizer(torch.optim.Optimizer):
    """Base of every optimizer here. A subclass declares; the engine gathers, checks, computes, writes.

    Class attributes:
        rules: the rules the class may choose between, checked against the grammar when the class is made.
        state_keys: the rules' state, symbol to torch's state key.
        scalars: a function ``(t, *scalar state, *, hyperparameters)`` in the grammar for what depends on the
            step only, evaluated in float64; the names it returns reach the rule. None if there is nothing.
        scalar_state: its own state, symbol to (state key, initial value).
        counted: whether ``step`` is state. If not, t is 1 for a parameter whose state is still to be made, and 2
            ever after; a class without state sees 2.
        matrix: whether the rules are matrix rules (see :mod:`dlopt.engine.matrix`); they run on the torch face.
        norms: rule → a function in the grammar that makes, of arguments of the rule, quantities whose norms over the
            whole tensor the rule takes as scalars: the norm of ``u`` as ``u_norm``.
        vector_rule: the matrix rule for parameters of fewer than two dimensions, if it is another one.
        sparse_only: whether dense gradients are refused.
        quantized: the states that ``optim_bits=8`` keeps in 8 bits, symbol to ``"signed"``, or to ``"unsigned"`` if
            never negative. Sums that only grow, maxima and iterates are left out: a per cent off would spoil them.
        least_dim: the fewest dimensions a parameter may have.
        decoupled: whether ``weight_decay`` reaches the rule, or is added to the gradient before it; a group's
            ``decoupled_weight_decay`` goes before this.

    Methods to override: ``check(group)``, ``check_parameter(p)`` and ``check_step()`` refuse what is bad,
    ``rule(group, t)`` chooses among the rules, ``hyper(group)`` renames hyperparameters for the rule,
    ``sparse(group)`` takes sparse gradients, ``initial(group, symbol, p)`` and ``state_shape(symbol, p)`` say what
    state begins as. What ``rule`` and ``hyper`` return must depend on their arguments only: they are not called again
    while these have not changed.
    """

    rules: ClassVar[tuple[Callable[..., Any], ...]] = ()
    state_keys: ClassVar[dict[str, str]] = {}
    scalars: ClassVar[Callable[..., Any] | None] = None
    scalar_state: ClassVar[dict[str, tuple[str, float]]] = {}
    counted: ClassVar[bool] = True
    norms: ClassVar[dict[Callable[..., Any], Callable[..., Any]]] = {}
    matrix: ClassVar[bool] = False
    vector_rule: ClassVar[Callable[..., Any] | None] = None
    sparse_only: ClassVar[bool] = False
    quantized: ClassVar[dict[str, str]] = {}
    least_dim: ClassVar[int] = 0
    decoupled: ClassVar[bool] = False
    _step_supports_amp_scaling = True  # torch's word for: GradScaler leaves it to the step to unscale and to skip

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for function in cls.rules:
            rule = cls.as_rule(function)
            if isinstance(rule, Rule):
                program = Program(rule, norms=cls.norms_of(function))
                lower_program(program)
                if program.norms:
                    lower_norms(program)
            unknown = set(rule.elements[2:]) - set(cls.state_keys)
            if unknown:
                raise TypeError(f"{cls.__name__}: {function.__name__} has state {unknown} without a key in state_keys")
        if cls.scalars is not None:
            rule_of(cls.scalars, also=frozenset({"**"}))
        signature = inspect.signature(cls.__init__)
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hint)
            for (name, value), hint in zip(ENGINE_DEFAULTS.items(), EngineOptions.__annotations__.values(), strict=True)
        ]
        named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        if len(named) < len(signature.parameters):
            cls.__signature__ = signature.replace(parameters=[*named[1:], *options])  # type: ignore[attr-defined]

    def __init__(self, params: Any, defaults: dict[str, Any], **engine: Unpack[EngineOptions]) -> None:
        unknown = set(engine) - set(ENGINE_DEFAULTS)
        if unknown:
            name = type(self).__name__
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{min(unknown)}'")
        defaults = python_numbers({**defaults, **ENGINE_DEFAULTS, **engine})
        self.check_group(defaults)
        for function in self.rules:
            program = Program(self.as_rule(function), norms=self.norms_of(function))
            missing = set(program.scalars) - set(self.hyper(defaults)) - self._computed()
            if missing:
                raise TypeError(f"{function.__name__} needs {sorted(missing)}: no hyperparameter, nor made by scalars")
        super().__init__(params, defaults)

    @property
    def required(self) -> set[str]:
        """The hyperparameters that a saved group must have."""
        return set(self.defaults) - set(ENGINE_DEFAULTS) - {"decoupled_weight_decay", "convention"}

    @classmethod
    def as_rule(cls, function: Callable[..., Any]) -> Rule | MatrixRule:
        """`function` checked and described."""
        return matrix_rule(function) if cls.matrix else rule_of(function)

    @classmethod
    def norms_of(cls, function: Callable[..., Any]) -> Rule | None:
        """What names the quantities whose norms the rule `function` takes, if it takes any."""
        return rule_of(cls.norms[function]) if function in cls.norms else None

    def _computed(self) -> set[str]:
        function = type(self).scalars
        if function is None:
            return set()
        return {ast.unparse(node) for node in rule_of(function, also=frozenset({"**"})).returns}

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError if a hyperparameter of `group` is wrong."""

    def rule(self, group: dict[str, Any], t: float) -> Callable[..., Any]:
        """The rule for a parameter of `group` at its step `t` (from 1)."""
        return self.rules[0]

    def hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        """The hyperparameters by the names the rules use."""
        return group

    def sparse(self, group: dict[str, Any]) -> str | None:
        """How sparse gradients are taken: ``"rows"`` touches only theirs, ``"dense"`` all, None refuses."""
        return None

    def check_parameter(self, p: Tensor) -> None:
        """Raise ValueError if the class cannot take `p`."""

    def initial(self, group: dict[str, Any], symbol: str, p: Tensor) -> Any:
        """What the state `symbol` of `p` is filled with before its first step: a number, or a tensor like `p`."""
        return 0.0

    def state_shape(self, symbol: str, p: Tensor) -> torch.Size:
        """The shape of the state `symbol` of `p`."""
        return p.shape

    @property
    def memory(self) -> dict[int, Memory]:
        """What the last step found out about each group, by its id. A cache: neither copied nor saved."""
        return self.__dict__.setdefault("_memory", {})

    def clock_keys(self) -> dict[str, float]:
        """The state keys of the step count and the scalar state, with their values before the first step."""
        return ({"step": 0.0} if self.counted else {}) | dict(self.scalar_state.values())

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as torch does; hyperparameters and duplicate parameters are checked first."""
        if isinstance(param_group, dict) and "params" in param_group:
            param_group.update(python_numbers({name: value for name, value in param_group.items() if name != "params"}))
            self.check_group({**self.defaults, **param_group})
            params = param_group["params"]
            if not isinstance(params, (Tensor, set)):
                params = param_group["params"] = list(params)
                ids = [id(p[1] if isinstance(p, tuple) else p) for p in params]
                if len(ids) != len(set(ids)):
                    raise ValueError("optimizer contains a parameter group with duplicate parameters")
        eager(torch.optim.Optimizer.add_param_group)(self, param_group)
        try:
            for p in self.param_groups[-1]["params"]:
                self.check_parameter(p)
            if self.param_groups[-1]["capturable"]:
                device.check(self, self.param_groups[-1])
        except (ValueError, RuntimeError):
            self.param_groups.pop()
            raise

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as torch does: set them to None, or to zero."""
        eager(torch.optim.Optimizer.zero_grad)(self, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on from here, as torch gives it."""
        return eager(torch.optim.Optimizer.state_dict)(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.memory.clear()
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict()`` of this class, or of torch's class of the same name, returned.

        Raises:
            ValueError: if it does not fit; see :mod:`dlopt.engine.checkpoint`. Nothing has changed then.
        """
        state_dict = state_dict.copy()
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = pre_hook(self, state_dict) or state_dict
        self.__setstate__(checkpoint.checked(self, state_dict))
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def check_group(self, group: dict[str, Any]) -> None:
        """Refuse a group with a hyperparameter or an engine option that is wrong."""
        self.check(group)
        options(self, group)

    def check_step(self) -> None:
        """Raise RuntimeError if now is not the time for a step."""

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients at hand.

        Args:
            closure: evaluates the model again and returns the loss (optional).

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: for a gradient or a tensor the rule cannot take. Nothing has changed then.
            ValueError: for a hyperparameter that became NaN or infinite, or an engine option that became wrong.
        """
        self.check_step()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            for gone in self.memory.keys() - map(id, self.param_groups):  # a group that was taken out
                del self.memory[gone]
            device.health(self)
            scaling = device.scaling(self)
            if scaling is None:  # the scaler has found an infinite gradient
                return loss
            try:
                take([item for group in self.param_groups for item in gather(self, group, scaling)])
            finally:
                for memory in self.memory.values():
                    memory.let_go()
        return loss
