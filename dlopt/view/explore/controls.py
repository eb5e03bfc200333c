"""What an explorer knows of an optimizer: a control for each hyperparameter, and a learning rate to begin with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from dlopt.engine import RuleOptimizer
from dlopt.engine.checks import CONVENTIONS
from dlopt.engine.faces.javascript import as_json
from dlopt.engine.optimizer import ENGINE_DEFAULTS
from dlopt.engine.rule import rule_of
from dlopt.lab.landscapes import Landscape

PROPORTIONAL = ("SGD", "ProximalSGD", "ScheduleFreeSGD")
"""Methods whose step is as long as the gradient times the learning rate."""

SYMBOLS = {
    "lr": "γ", "momentum": "μ", "dampening": "τ", "weight_decay": "λ", "l1": "λ₁", "l2": "λ₂", "betas[0]": "β₁",
    "betas[1]": "β₂", "beta": "β", "eps": "ε", "alpha": "α", "rho": "ρ",
}  # fmt: skip
_NEAR_ONE = frozenset({"momentum", "alpha", "rho"})  # 1 - x is what matters
_FROM_ZERO = frozenset({"weight_decay", "l1", "l2", "lr_decay", "beta", "momentum_decay", "initial_accumulator_value"})
_LINEAR = {"dampening": (0.0, 1.0), "power": (0.0, 1.0), "r": (0.0, 4.0), "weight_lr_power": (0.0, 4.0)}
_RARE = frozenset({
    "eps", "weight_decay", "dampening", "lr_decay", "initial_accumulator_value", "momentum_decay", "power",
    "warmup_steps", "r", "weight_lr_power",
})  # fmt: skip
"""Folded away at first, with switches and menus."""
_HIDDEN = frozenset({*ENGINE_DEFAULTS, "train_mode"})  # how to run it, not what it does
_NEEDS = {"nesterov": "Nesterov momentum requires a momentum and zero dampening"}

Control = dict[str, Any]


def hyperparameters(cls: Any, **given: Any) -> dict[str, Any]:
    """The hyperparameters of an optimizer class with their defaults, engine options left out; pairs as lists.

    >>> from dlopt import Lion
    >>> hyperparameters(Lion)
    {'lr': 0.0001, 'betas': [0.9, 0.99], 'weight_decay': 0}
    """
    made = cls([torch.zeros(1, requires_grad=True)], **given)
    return {name: as_json(value) for name, value in made.defaults.items() if name not in _HIDDEN}


def controls(values: dict[str, Any]) -> list[Control]:
    """A control for each hyperparameter: what it is called, what kind it is, how far it goes.

    >>> [(c["label"], c["kind"]) for c in controls({"lr": 0.1, "betas": [0.9, 0.99], "nesterov": False})]
    [('lr', 'log'), ('betas[0]', 'near one'), ('betas[1]', 'near one'), ('nesterov', 'switch')]
    """
    found = []
    for key, value in values.items():
        parts = (
            [(f"{key}[{i}]", i, v) for i, v in enumerate(value)] if isinstance(value, list) else [(key, None, value)]
        )
        for label, index, part in parts:
            shape = _shape(key, part, index is not None)
            if shape:
                first = key not in _RARE and shape["kind"] not in ("switch", "menu")
                about = {"key": key, "index": index, "label": label, "symbol": SYMBOLS.get(label, ""), "first": first}
                found.append({**about, **shape, **({"needs": _NEEDS[key]} if key in _NEEDS else {})})
    return found


def _shape(key: str, value: Any, of_pair: bool) -> Control | None:
    """Kind and range. `low` and `high` bound the slider, `least` and `most` what may be typed."""
    if isinstance(value, bool):
        return {"kind": "switch"}
    if isinstance(value, str):
        return {"kind": "menu", "options": list(CONVENTIONS)} if key == "convention" else None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if of_pair or key in _NEAR_ONE:
        return {"kind": "near one", "low": 0, "high": 0.9999, "least": 0, "most": 0.9999999}
    if key in _LINEAR:
        low, high = _LINEAR[key]
        return {"kind": "linear", "low": low, "high": high, "least": low, "most": high}
    if key.endswith("steps") or (isinstance(value, int) and key not in _FROM_ZERO and abs(value) > 1):
        return {"kind": "whole", "low": 0, "high": max(200, 4 * abs(value)), "least": 0, "most": 10**6}
    if key in _FROM_ZERO or value == 0:
        return {"kind": "from zero", "low": 1e-5, "high": 10, "least": 0, "most": 1e6}
    if value < 0:
        return {"kind": "linear", "low": 3 * value, "high": -3 * value, "least": -1e6, "most": 1e6}
    low, high = {"lr": (1e-5, 10), "eps": (1e-12, 1)}.get(key, (value / 1000, value * 1000))
    return {"kind": "log", "low": low, "high": high, "least": 1e-30, "most": 1e6}


def one_digit(value: float) -> float:
    """`value` rounded to one significant digit.

    >>> one_digit(0.0472), one_digit(96.0)
    (0.05, 100.0)
    """
    return float(f"{value:.0e}")


def curvature(landscape: Landscape, point: Iterable[float]) -> float:
    """The largest eigenvalue of the Hessian by size, at `point`, from differences of the gradient.

    >>> from dlopt.lab.landscapes import quadratic
    >>> round(curvature(quadratic(25.0), (1.0, 1.0)), 6)
    25.0
    """
    x, y = point
    width = landscape.domain[1] - landscape.domain[0]
    h = 1e-5 * width
    rows = []
    for dx, dy in ((h, 0.0), (0.0, h)):
        with np.errstate(all="ignore"):
            ahead, behind = landscape.gradient(x + dx, y + dy), landscape.gradient(x - dx, y - dy)
        rows.append([(float(a) - float(b)) / (2 * h) for a, b in zip(ahead, behind, strict=True)])
    hessian = np.array(rows)
    if not np.isfinite(hessian).all():
        return math.nan
    return float(np.abs(np.linalg.eigvalsh((hessian + hessian.T) / 2)).max())


def learning_rates(landscape: Landscape) -> dict[str, float]:
    """A learning rate to begin with, by how a method's step depends on it.

    >>> from dlopt.lab.landscapes import ravine
    >>> learning_rates(ravine())
    {'proportional': 0.005, 'distance': 0.1, 'unit': 1.0}
    """
    distance = one_digit((landscape.domain[1] - landscape.domain[0]) / 100)
    try:
        bend = curvature(landscape, landscape.start)
    except Exception:  # a reader's own gradient may raise anything; the page says so
        bend = math.nan
    steep = one_digit(0.5 / bend) if bend > 1e-6 else distance
    return {"proportional": steep, "distance": distance, "unit": 1.0}


def rate_kind(name: str) -> str:
    """Which of :func:`learning_rates` the method called `name` begins with."""
    return "proportional" if name in PROPORTIONAL else "unit" if name == "Adadelta" else "distance"


def optimizer_of(rule: Callable[..., Any], given: dict[str, Any], lr: float) -> type[RuleOptimizer]:
    """An optimizer for a bare rule: its state begins at zero, its scalars are hyperparameters.

    >>> from dlopt.sgd.sgd import sgd
    >>> hyperparameters(optimizer_of(sgd, {}, lr=0.5))
    {'lr': 0.5}

    Raises:
        GrammarError: `rule` is outside the grammar.
        TypeError: a scalar other than `lr` has no value in `given`.
    """
    described = rule_of(rule)
    start = {name: given.get(name, lr if name == "lr" else None) for name in described.scalars}
    missing = [name for name, value in start.items() if value is None]
    if missing:
        raise TypeError(f"{described.name} needs a value for {', '.join(missing)}")

    def __init__(self: Any, params: Any, **hyper: Any) -> None:
        RuleOptimizer.__init__(self, params, {**start, **hyper})

    state = {name: name for name in described.elements[2:]}
    return type(described.name, (RuleOptimizer,), {"rules": (rule,), "state_keys": state, "__init__": __init__})
