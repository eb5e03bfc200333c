"""The forms that other libraries give a rule, in our grammar: what turns a reason for a difference into a test."""

from typing import Any, ClassVar

import torch

from dlopt.adaptive.adafactor import Adafactor, factored, rms, unfactored
from dlopt.adaptive.adagrad import Adagrad
from dlopt.adaptive.adamw import AdamW
from dlopt.adaptive.muon import Muon
from dlopt.adaptive.nadam import NAdam
from dlopt.adaptive.orthogonal import newton_schulz
from dlopt.adaptive.radam import RAdam, warming
from dlopt.adaptive.schedule_free_adamw import ScheduleFreeAdamW, from_average_of_two, to_average_of_two
from dlopt.engine.rule import xp

__all__ = [
    "ClampedAdamW",
    "ClampedNAdam",
    "ClampedScheduleFree",
    "CorrectedRAdam",
    "ExactMuon",
    "RelativeDecayAdafactor",
    "RootedAdagrad",
    "RootedScheduleFree",
    "WaitingRAdam",
]


def rooted_adagrad(g, p, G, *, lr, eps):
    G = G + g * g
    return -lr * g / xp.sqrt(G + eps), G


def corrected_radam(g, p, m, v, *, lr, beta1, beta2, eps, bias1, root, r):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return -(lr * r / bias1) * m / (xp.sqrt(v) / root + eps), m, v


def clamped_adamw(g, p, m, v, *, lr, beta1, beta2, eps, weight_decay, bias1, bias2):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return -lr * (m / bias1 / xp.maximum(xp.sqrt(v / bias2), eps) + weight_decay * p), m, v


def clamped_nadam(g, p, m, n, *, lr, decay, beta2, eps, of_m, of_g, bias2):
    m = decay * m + (1 - decay) * g
    n = beta2 * n + (1 - beta2) * g * g
    return -lr * (of_m * m + of_g * g) / xp.maximum(xp.sqrt(n / bias2), eps), m, n


def clamped_schedule_free(g, p, z, v, *, lr, beta, beta2, eps, weight_decay, bias2, c):
    v = beta2 * v + (1 - beta2) * g * g
    u = g / xp.maximum(xp.sqrt(v / bias2), eps) + weight_decay * p
    d = c * (z - p) - lr * (1 - beta * (1 - c)) * u
    z = z - lr * u
    return d, z, v


def waiting(g, p, m, v, *, lr, beta1, beta2, bias1):
    d, m, v = warming(g, p, m, v, lr=lr, beta1=beta1, beta2=beta2, bias1=bias1)
    return 0 * d, m, v


def rooted_schedule_free(g, p, z, v, *, lr, beta, beta2, eps, weight_decay, bias2, c):
    v = beta2 * v + (1 - beta2) * g * g
    u = g / (xp.sqrt(v / bias2 + 1e-15) + eps) + weight_decay * p
    d = c * (z - p) - lr * (1 - beta * (1 - c)) * u
    z = z - lr * u
    return d, z, v


def relative_decay(g, p, R, C, *, lr, rho, beta2, eps_square, eps_mean, eps_root, eps2, d, weight_decay):
    scale = rho * rms(p).clamp(min=eps2)
    given = dict(lr=scale, rho=rho, beta2=beta2, eps_square=eps_square, eps_mean=eps_mean, eps_root=eps_root)
    return factored(g, p, R, C, **given, eps2=eps2, d=d, weight_decay=weight_decay)


def relative_decay_vector(g, p, V, *, lr, rho, beta2, eps_square, eps_root, eps2, d, weight_decay):
    scale = rho * rms(p).clamp(min=eps2)
    given = dict(lr=scale, rho=rho, beta2=beta2, eps_square=eps_square, eps_root=eps_root, eps2=eps2)
    return unfactored(g, p, V, **given, d=d, weight_decay=weight_decay)


def exact_muon(g, p, B, *, lr, momentum, of_b, of_g, ns_coefficients, ns_steps, eps, weight_decay):
    B = momentum * B + (1 - momentum) * g
    M = of_b * B + of_g * g
    tall = M.shape[-2] > M.shape[-1]
    X = M.mT if tall else M
    O = torch.stack([newton_schulz(x, list(ns_coefficients), int(ns_steps), eps) for x in X])  # noqa: E741
    rows, columns = p.shape[1:]
    return -lr * (max(1, columns / rows) ** 0.5 * (O.mT if tall else O) + weight_decay * p), B


def corrected_momentum(t, *, momentum):
    of_b = momentum / (1 - momentum ** (t + 1))
    of_g = (1 - momentum) / (1 - momentum**t)
    return of_b, of_g


class RootedAdagrad(Adagrad):
    """AdaGrad with ε inside the root."""

    rules: ClassVar[Any] = (rooted_adagrad,)


class CorrectedRAdam(RAdam):
    """RAdam with ε beside the root of the corrected second moment."""

    rules: ClassVar[Any] = (warming, corrected_radam)


class ClampedAdamW(AdamW):
    """AdamW whose root is at least ε."""

    rules: ClassVar[Any] = (clamped_adamw,)


class ClampedNAdam(NAdam):
    """NAdam whose root is at least ε."""

    rules: ClassVar[Any] = (clamped_nadam,)


class ClampedScheduleFree(ScheduleFreeAdamW):
    """Schedule-Free AdamW whose root is at least ε."""

    rules: ClassVar[Any] = (clamped_schedule_free,)
    moves: ClassVar[Any] = {clamped_schedule_free: (to_average_of_two, from_average_of_two)}


class WaitingRAdam(RAdam):
    """RAdam that stands still until it rectifies."""

    rules: ClassVar[Any] = (waiting, RAdam.rules[1])


class RootedScheduleFree(ScheduleFreeAdamW):
    """Schedule-Free AdamW with 1e-15 inside the root, beside ε outside."""

    rules: ClassVar[Any] = (rooted_schedule_free,)
    moves: ClassVar[Any] = {rooted_schedule_free: (to_average_of_two, from_average_of_two)}


class RelativeDecayAdafactor(Adafactor):
    """Adafactor whose decay is multiplied by the relative step and the parameter's size, as its step is."""

    rules: ClassVar[Any] = (relative_decay,)
    vector_rule = staticmethod(relative_decay_vector)


class ExactMuon(Muon):
    """Muon in the parameter's precision, with corrected means, for matrices stored as (in, out)."""

    rules: ClassVar[Any] = (exact_muon,)
    counted = True
    scalars = staticmethod(corrected_momentum)
