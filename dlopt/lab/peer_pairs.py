"""Which methods of which other libraries :mod:`dlopt.lab.bench_peers` sets beside ours, and why numbers differ."""

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import dlopt
from dlopt.lab import peer_rules
from dlopt.lab.bench_cases import Factory

__all__ = ["PACKAGES", "PAIRS", "Optax", "Pair"]

PACKAGES = {
    "torch-optimi": ("optimi",),
    "lion-pytorch": ("lion_pytorch",),
    "pytorch_optimizer": ("pytorch_optimizer",),
    "bitsandbytes": ("bitsandbytes.optim",),
    "heavyball": ("heavyball",),
    "optax": ("jax", "optax"),
}
"""A distribution's name → the modules to import."""


class Optax:
    """A transformation of optax with torch's interface: one compiled function, state and parameters donated.

    Gradients are copied into JAX's arrays by :meth:`load`, so that :meth:`step` times the step alone.
    """

    def __init__(self, transform: Any, params: list[Tensor]) -> None:
        import jax

        jax.config.update("jax_enable_x64", params[0].dtype == torch.float64)
        self._ready, self._array = jax.block_until_ready, jax.numpy.array
        self._step = _compiled(transform)
        self.params = params
        self.values = [self._array(p.detach().numpy()) for p in params]
        self.state = transform.init(self.values)
        self.load()

    def load(self) -> None:
        """Take the gradients that the torch parameters have now."""
        self.grads = [self._array(p.grad.numpy()) for p in self.params if p.grad is not None]

    def step(self) -> None:
        """One step of JAX's arrays; returns when they are there."""
        self.values, self.state = self._ready(self._step(self.grads, self.state, self.values))

    def store(self) -> None:
        """Copy JAX's parameters into torch's."""
        for p, value in zip(self.params, self.values, strict=True):
            p.data.copy_(torch.tensor(value.__array__()))


@functools.cache
def _compiled(transform: Any) -> Any:
    """A step as JAX compiles it, once for a transformation and its shapes."""
    import jax
    import optax

    def step(grads: Any, state: Any, values: Any) -> Any:
        changes, state = transform.update(grads, state, values)
        return optax.apply_updates(values, changes), state

    return jax.jit(step, donate_argnums=(1, 2))


class Consuming:
    """An optimizer that takes the gradients away: they are handed back before each step."""

    def __init__(self, optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
        self.optimizer, self.params = optimizer, params
        self.load()

    def load(self) -> None:
        """Remember the gradients that the parameters have now."""
        self.grads = [p.grad for p in self.params]

    def step(self) -> None:
        """One step on the remembered gradients."""
        for p, grad in zip(self.params, self.grads, strict=True):
            p.grad = grad
        self.optimizer.step()


@dataclass(frozen=True)
class Pair:
    """One method of a peer beside ours.

    Attributes:
        peer: the distribution, a key of :data:`PACKAGES`.
        method: the method's name here.
        ours: parameters → our optimizer, with the peer's hyperparameters.
        theirs: parameters → the peer's.
        reason: why the numbers differ, or that only rounding does.
        alike: ours with the difference put in, which then gives the peer's numbers; None where there is none to put in.
        dtype: in which numbers are compared.
        matrices: whether it takes matrices alone.
        eager: theirs without a compiler, for the numbers; None where there is no compiler to wait for.
    """

    peer: str
    method: str
    ours: Factory
    theirs: Callable[[list[Tensor]], Any]
    reason: str = "Rounding alone."
    alike: Factory | None = None
    dtype: torch.dtype = torch.float64
    matrices: bool = False
    eager: Callable[[list[Tensor]], Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.peer}: {self.method}"


def _theirs(module: str, name: str, **options: Any) -> Callable[[list[Tensor]], Any]:
    """A class of a peer, imported when it is needed."""
    return lambda params: getattr(importlib.import_module(module), name)(params, **options)


def _optax(name: str, *arguments: Any, **options: Any) -> Callable[[list[Tensor]], Any]:
    @functools.cache
    def transform() -> Any:
        value: Any = importlib.import_module("optax")
        for part in name.split("."):
            value = getattr(value, part)
        return value(*arguments, **options)

    return lambda params: Optax(transform(), params)


def _heavyball_made(name: str, compiled: bool, **options: Any) -> Callable[[list[Tensor]], Consuming]:
    def make(params: list[Tensor]) -> Consuming:
        heavyball = importlib.import_module("heavyball")
        heavyball.utils.compile_mode = "max-autotune-no-cudagraphs" if compiled else None  # the former is its default
        return Consuming(getattr(heavyball, name)(params, **options), params)

    return make


_DECAY: dict[str, Any] = dict(weight_decay=0.1)
_SGD = partial(dlopt.SGD, lr=0.01, momentum=0.9)
_ADAM = partial(dlopt.Adam, lr=1e-3)
_ADAMW = partial(dlopt.AdamW, lr=1e-3, **_DECAY)
_LION = partial(dlopt.Lion, lr=1e-3, **_DECAY)
_RADAM = partial(dlopt.RAdam, lr=1e-3)
_FREE = partial(dlopt.ScheduleFreeAdamW, lr=1e-3)
_SINGLE = "It computes in float32 whatever the parameters are: rounding."


def _torch_optimi() -> Iterator[Pair]:
    peer, make = "torch-optimi", partial(_theirs, "optimi")
    coupled: dict[str, Any] = dict(lr=1e-3, **_DECAY)
    yield Pair(peer, "SGD", partial(_SGD, **_DECAY), make("SGD", lr=0.01, momentum=0.9, **_DECAY))
    yield Pair(peer, "Adam", partial(_ADAM, betas=(0.9, 0.99), eps=1e-6, **_DECAY), make("Adam", **coupled))
    yield Pair(peer, "AdamW", partial(_ADAMW, betas=(0.9, 0.99), eps=1e-6), make("AdamW", betas=(0.9, 0.99), **coupled))
    yield Pair(peer, "Lion", partial(_LION, betas=(0.9, 0.99)), make("Lion", betas=(0.9, 0.99), **coupled))
    yield Pair(
        peer, "RAdam", partial(_RADAM, betas=(0.9, 0.99), eps=1e-6), make("RAdam", lr=1e-3, betas=(0.9, 0.99)),
        "ε is added to the root of the corrected second moment; ours, as torch's, to that of the uncorrected one.",
        partial(peer_rules.CorrectedRAdam, lr=1e-3, betas=(0.9, 0.99), eps=1e-6),
    )  # fmt: skip


def _lion_pytorch() -> Iterator[Pair]:
    yield Pair("lion-pytorch", "Lion", _LION, _theirs("lion_pytorch", "Lion", lr=1e-3, **_DECAY))


def _pytorch_optimizer() -> Iterator[Pair]:
    peer, make = "pytorch_optimizer", partial(_theirs, "pytorch_optimizer")
    decay: dict[str, Any] = dict(lr=1e-3, **_DECAY)
    coupled = make("SGDW", lr=0.01, momentum=0.9, weight_decouple=False, **_DECAY)
    yield Pair(peer, "SGD", partial(_SGD, **_DECAY), coupled)
    yield Pair(peer, "Lion", _LION, make("Lion", **decay))
    yield Pair(
        peer, "RAdam", _RADAM, make("RAdam", lr=1e-3),
        "In the steps before it rectifies it does not move at all; ours, as the paper's, takes steps of momentum.",
        partial(peer_rules.WaitingRAdam, lr=1e-3),
    )  # fmt: skip
    yield Pair(peer, "Adadelta", partial(dlopt.Adadelta, lr=1.0), make("AdaDelta", lr=1.0))
    yield Pair(peer, "Adamax", partial(dlopt.Adamax, lr=1e-3), make("AdaMax", lr=1e-3))
    yield Pair(peer, "FTRL", partial(dlopt.FTRL, lr=0.1, l1=1e-3), make("FTRL", lr=0.1, beta=1.0, lambda_1=1e-3))
    yield Pair(
        peer, "Adafactor", partial(dlopt.Adafactor, convention="paper", **_DECAY),
        make("AdaFactor", betas=(None, 0.999), **_DECAY),
        "Its decay is multiplied by what multiplies the step, the parameter's size in it; ours by the rate alone.",
        partial(peer_rules.RelativeDecayAdafactor, convention="paper", **_DECAY),
    )  # fmt: skip
    yield Pair(peer, "ScheduleFreeSGD", partial(dlopt.ScheduleFreeSGD, lr=0.01), make("ScheduleFreeSGD", lr=0.01))
    yield Pair(
        peer, "ScheduleFreeAdamW", partial(_FREE, **_DECAY), make("ScheduleFreeAdamW", **decay),
        "Besides ε outside the root there is 1e-15 inside it.", partial(peer_rules.RootedScheduleFree, **decay),
    )  # fmt: skip
    yield Pair(
        peer, "Muon", partial(dlopt.Muon, lr=0.02, **_DECAY),
        _muon_group, matrices=True,
    )  # fmt: skip


def _muon_group(params: list[Tensor]) -> Any:
    groups: Any = [dict(params=params, use_muon=True, lr=0.02, **_DECAY)]
    return _theirs("pytorch_optimizer", "Muon")(groups)


def _bitsandbytes() -> Iterator[Pair]:
    peer, make = "bitsandbytes", partial(_theirs, "bitsandbytes.optim")
    pair = partial(Pair, reason=_SINGLE, dtype=torch.float32)
    yield pair(peer, "SGD", partial(_SGD, **_DECAY), make("SGD32bit", lr=0.01, momentum=0.9, **_DECAY))
    yield pair(
        peer, "Adam", partial(_ADAM, **_DECAY), make("Adam32bit", lr=1e-3, **_DECAY),
        reason="Its Adam decouples the decay, as AdamW does; ours, as torch's, adds it to the gradient.", alike=_ADAMW,
    )  # fmt: skip
    yield pair(peer, "AdamW", _ADAMW, make("AdamW32bit", lr=1e-3, **_DECAY))
    yield pair(peer, "Lion", _LION, make("Lion32bit", lr=1e-3, **_DECAY))
    rms = make("RMSprop32bit", lr=1e-3, alpha=0.99, **_DECAY)
    yield pair(peer, "RMSprop", partial(dlopt.RMSprop, lr=1e-3, **_DECAY), rms)
    yield pair(peer, "Adagrad", partial(dlopt.Adagrad, lr=0.01, **_DECAY), make("Adagrad32bit", lr=0.01, **_DECAY))


def _heavyball() -> Iterator[Pair]:
    floor = "ε is the least value of the root, and not added to it."

    def pair(method: str, ours: Factory, name: str, alike: Factory | None = None, **options: Any) -> Pair:
        compiled, eager = (_heavyball_made(name, mode, **options) for mode in (True, False))
        reason = _SINGLE if alike is None else floor
        return Pair("heavyball", method, ours, compiled, reason, alike, torch.float32, eager=eager)

    decay: dict[str, Any] = dict(lr=1e-3, **_DECAY)
    free: dict[str, Any] = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    yield pair("SGD", _SGD, "SGD", lr=0.01, beta=0.9)
    yield pair("AdamW", _ADAMW, "AdamW", partial(peer_rules.ClampedAdamW, **decay), betas=(0.9, 0.999), **decay)
    yield pair("NAdam", partial(dlopt.NAdam, lr=2e-3), "NAdam", partial(peer_rules.ClampedNAdam, lr=2e-3), lr=2e-3)
    yield pair("ScheduleFreeAdamW", _FREE, "SFAdamW", partial(peer_rules.ClampedScheduleFree, lr=1e-3), **free)


def _optax_pairs() -> Iterator[Pair]:
    peer = "optax"
    yield Pair(peer, "SGD", _SGD, _optax("sgd", 0.01, 0.9))
    yield Pair(peer, "Adam", _ADAM, _optax("adam", 1e-3))
    yield Pair(peer, "AdamW", _ADAMW, _optax("adamw", 1e-3, **_DECAY))
    yield Pair(peer, "Lion", _LION, _optax("lion", 1e-3, **_DECAY))
    yield Pair(
        peer, "RAdam", _RADAM, _optax("radam", 1e-3), "ε is added to the root of the corrected second moment.",
        partial(peer_rules.CorrectedRAdam, lr=1e-3),
    )  # fmt: skip
    yield Pair(
        peer, "NAdam", partial(dlopt.NAdam, lr=1e-3), _optax("nadam", 1e-3),
        "β₁ is constant: there is no warm-up of the momentum.", partial(dlopt.NAdam, lr=1e-3, momentum_decay=1e6),
    )  # fmt: skip
    yield Pair(
        peer, "RMSprop", partial(dlopt.RMSprop, lr=1e-3, alpha=0.9), _optax("rmsprop", 1e-3),
        "ε stands inside the root, where Graves and ours under convention “paper” have it too.",
        partial(dlopt.RMSprop, lr=1e-3, alpha=0.9, convention="paper"),
    )  # fmt: skip
    begun: dict[str, Any] = dict(lr=0.01, initial_accumulator_value=0.1, eps=1e-7)
    yield Pair(
        peer, "Adagrad", partial(dlopt.Adagrad, **begun), _optax("adagrad", 0.01), "ε stands inside the root.",
        partial(peer_rules.RootedAdagrad, **begun),
    )  # fmt: skip
    yield Pair(peer, "Adadelta", partial(dlopt.Adadelta, lr=1.0), _optax("adadelta", 1.0))
    yield Pair(peer, "Adamax", partial(dlopt.Adamax, lr=1e-3), _optax("adamax", 1e-3))
    yield Pair(
        peer, "Adafactor", partial(dlopt.Adafactor, convention="paper", **_DECAY),
        _optax("adafactor", 0.01, min_dim_size_to_factor=1, weight_decay_rate=0.001),
        "The factor 1 − t^−0.8 is taken in float32. (Its decay is not multiplied by the rate; we hand it the product.)",
    )  # fmt: skip
    yield Pair(
        peer, "ScheduleFreeSGD", partial(dlopt.ScheduleFreeSGD, lr=0.01), _optax("contrib.schedule_free_sgd", 0.01)
    )
    free = _optax("contrib.schedule_free_adamw", 1e-3, **_DECAY)
    yield Pair(peer, "ScheduleFreeAdamW", partial(_FREE, **_DECAY), free)
    yield Pair(
        peer, "Muon", partial(dlopt.Muon, lr=0.02, **_DECAY), _optax("contrib.muon", 0.02, **_DECAY),
        "Newton–Schulz in the parameter's precision, ours in bfloat16; means are corrected; a matrix is (in, out), so"
        " that wide ones take the longer steps.",
        partial(peer_rules.ExactMuon, lr=0.02, **_DECAY), matrices=True,
    )  # fmt: skip


PAIRS = [
    *_torch_optimi(), *_lion_pytorch(), *_pytorch_optimizer(), *_bitsandbytes(), *_optax_pairs(), *_heavyball(),
]  # fmt: skip
"""What ``make bench`` compares; another method is another line."""
