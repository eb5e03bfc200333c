"""Loading an optimizer's state: exact, and checked before anything changes."""

from __future__ import annotations

import math
from collections import defaultdict
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlopt.engine import eight_bits
from dlopt.engine.state import absmax_key, coded, in_eight_bits, recoded, state_dtype
from dlopt.engine.writing import COUNTER, MASTER, WRITER_STATE

if TYPE_CHECKING:
    from dlopt.engine.optimizer import RuleOptimizer


def checked(optimizer: RuleOptimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """What `state_dict` makes of the optimizer's ``state`` and ``param_groups``. Nothing is changed.

    State keeps its own dtype, where torch casts it to the parameter's (PyTorch issue 43706); whether it is in 8 bits is
    for the optimizer to say.

    Raises:
        ValueError: if groups or parameters do not match in number, a hyperparameter is missing, or a
            parameter's state has missing or surplus keys, a wrong shape or a negative size of a block.
    """
    groups = _groups(optimizer, state_dict["param_groups"])
    ids = list(chain.from_iterable(group["params"] for group in state_dict["param_groups"]))
    if len(ids) != len(set(ids)):
        raise ValueError("loaded state dict names a parameter twice")
    params = dict(zip(ids, chain.from_iterable(group["params"] for group in groups), strict=True))
    state: defaultdict[Tensor, Any] = defaultdict(dict)
    for number, entry in state_dict["state"].items():
        if number not in params:
            raise ValueError(f"loaded state dict has state for parameter {number}, which no group names")
        state[params[number]] = _entry(optimizer, number, params[number], entry)
    for group in groups:
        for p in group["params"]:
            if p in state:
                state[p] = _in_its_form(optimizer, group, p, state[p])
    return {"state": state, "param_groups": groups}


def _groups(optimizer: RuleOptimizer, saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
    mine = optimizer.param_groups
    if len(saved) != len(mine):
        raise ValueError("loaded state dict has a different number of parameter groups")
    if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, mine, strict=True)):
        raise ValueError(
            "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
        )
    groups = []
    for new, old in zip(saved, mine, strict=True):
        missing = sorted(set(optimizer.required) - set(new))
        if missing:
            raise ValueError(f"loaded state dict lacks the hyperparameters {missing}")
        names = {"param_names": old["param_names"]} if "param_names" in old else {}
        hyper = deepcopy({name: value for name, value in new.items() if name != "params"})
        # how a step runs, not what it computes: a checkpoint made for a CUDA graph is as good without one
        own = {name: old[name] for name in ("params", "capturable")}
        group = {**optimizer.defaults, **names, **hyper, **own}
        lr = group["lr"]
        # a schedule that ends at zero may have rounded to just below it
        optimizer.check_group({**group, "lr": 0.0} if isinstance(lr, float) and -1e-6 < lr < 0 else group)
        groups.append({**group, "optim_bits": old["optim_bits"]})
    return groups


def _count(number: Any, key: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"loaded {key} of parameter {number} has shape {tuple(value.shape)}, not ()")
    count = float(value)
    if not 0 <= count < math.inf:
        raise ValueError(f"loaded {key} of parameter {number} is {count}")
    return count


def _counter(number: Any, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype is not torch.int64 or value.dim():
        raise ValueError(f"loaded {COUNTER} of parameter {number} is no int64 tensor of shape (): {value!r}")
    return value.clone()


def _entry(optimizer: RuleOptimizer, number: Any, p: Tensor, entry: dict[str, Any]) -> dict[str, Any]:
    clock, rule = set(optimizer.clock_keys()), set(optimizer.state_keys.values())
    writer = {key for keys in WRITER_STATE.values() for key in keys.values()}
    given = {key: value for key, value in entry.items() if value is not None}
    codes = {key for key in rule if isinstance(entry.get(key), Tensor) and coded(entry[key])}
    codes &= {optimizer.state_keys[symbol] for symbol in optimizer.quantized}
    scales = {absmax_key(key) for key in codes}
    surplus = sorted(set(given) - clock - rule - writer - scales)
    rules = [optimizer.as_rule(function) for function in (*optimizer.rules, optimizer.vector_rule) if function]
    wanted = [{optimizer.state_keys[symbol] for symbol in rule.elements[2:]} for rule in rules]
    missing = min((sorted((clock | keys) - set(given)) for keys in wanted), key=len) if given else []
    missing += sorted(scales - set(given))
    if surplus or missing:
        raise ValueError(f"loaded state of parameter {number} has surplus keys {surplus} and lacks {missing}")
    symbols = {key: symbol for symbol, key in optimizer.state_keys.items()}
    result = {}
    for key, value in given.items():
        if key in clock:
            count = _count(number, key, value)
            result[key] = torch.tensor(count, dtype=torch.float32 if key == "step" else torch.float64, device="cpu")
            continue
        if key == COUNTER:
            result[key] = _counter(number, value).to(p.device)
            continue
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        due = tuple(optimizer.state_shape(symbols[key], p)) if key in symbols else tuple(p.shape)
        due = (eight_bits.blocks(p.numel()),) if key in scales else due
        if shape != due:
            raise ValueError(f"loaded {key} of parameter {number} has shape {shape}, not {due}")
        if key in scales and (value < 0).any():
            least = value[value < 0][0].item()
            raise ValueError(f"loaded {key} of parameter {number} has {least}: a largest magnitude is >= 0")
        dtype = p.dtype if key in writer and key != MASTER else state_dtype(p)
        dtype = torch.uint8 if key in codes else torch.float32 if key in scales else dtype
        like = torch.zeros_like(p, dtype=dtype, requires_grad=False, memory_format=torch.preserve_format)
        like = like if due == tuple(p.shape) else torch.zeros(due, dtype=dtype, device=p.device)
        result[key] = like.copy_(value.to_dense() if value.is_sparse else value)
    return result


def _in_its_form(optimizer: RuleOptimizer, group: dict[str, Any], p: Tensor, entry: dict[str, Any]) -> dict[str, Any]:
    """`entry` with those states in 8 bits that the optimizer keeps so, and no others."""
    new: dict[str, Tensor | None] = {}
    for symbol in optimizer.quantized:
        key = optimizer.state_keys[symbol]
        if key in entry and coded(entry[key]) != in_eight_bits(group, p):
            new |= recoded(optimizer, symbol, p, entry[key], entry.get(absmax_key(key)))
    return {key: value for key, value in {**entry, **new}.items() if value is not None}
