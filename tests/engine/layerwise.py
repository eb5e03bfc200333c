"""Two layer-wise rules: SGD that steps in proportion to a layer's norm, and Adam's step of the layer's own length.

``python -m tests.engine.layerwise`` measures what the norms cost: each rule beside itself without them, in turns.
The pass that sums reads every stream of its quantities once more, and where memory is the limit it is reading that
takes the time: for large tensors the ratio cannot be far below that of the bytes that both passes read.
"""

from functools import partial
from itertools import product

from dlopt.engine import RuleOptimizer, xp
from dlopt.lab.bench import compare, table
from dlopt.lab.bench_cases import ONE_TENSOR, SMALL_TENSORS, TRANSFORMER, Case


def trusting(g, p, b, *, lr, momentum, p_norm, g_norm):
    """You et al. 2017, without the trust coefficient and with decay in ``g``."""
    ratio = xp.where(p_norm * g_norm > 0, p_norm / g_norm, 1)
    b = momentum * b + lr * ratio * g
    return -b, b


def both(g, p):
    return g, p


class Trusting(RuleOptimizer):
    rules = (trusting,)
    norms = {trusting: both}
    state_keys = {"b": "momentum_buffer"}
    counted = False

    def __init__(self, params, lr=0.1, momentum=0.9, weight_decay=0.05, **engine):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay), **engine)

    def sparse(self, group):
        return "dense"


def proposed(g, p, m, v, *, beta, bias, eps, weight_decay):
    m = beta * m + (1 - beta) * g
    v = beta * v + (1 - beta) * g * g
    u = m / bias / (xp.sqrt(v / bias) + eps) + weight_decay * p
    return u, m, v


def lengths(g, p, m, v, *, beta, bias, eps, weight_decay):
    u, m, v = proposed(g, p, m, v, beta=beta, bias=bias, eps=eps, weight_decay=weight_decay)
    return p, u


def layered(g, p, m, v, *, lr, beta, bias, eps, weight_decay, p_norm, u_norm):
    """You et al. 2020, algorithm 2, with one beta."""
    u, m, v = proposed(g, p, m, v, beta=beta, bias=bias, eps=eps, weight_decay=weight_decay)
    return -lr * xp.where(xp.minimum(p_norm, u_norm) > 0, p_norm / u_norm, 1) * u, m, v


def count(t, *, beta):
    bias = 1 - beta**t
    return bias


class Layered(RuleOptimizer):
    rules = (layered,)
    norms = {layered: lengths}
    state_keys = {"m": "exp_avg", "v": "exp_avg_sq"}
    scalars = staticmethod(count)
    decoupled = True

    def __init__(self, params, lr=0.01, beta=0.9, eps=1e-6, weight_decay=0.05, **engine):
        super().__init__(params, dict(lr=lr, beta=beta, eps=eps, weight_decay=weight_decay), **engine)


def trusting_core(g, p, b, *, lr, momentum):
    b = momentum * b + lr * g
    return -b, b


def layered_core(g, p, m, v, *, lr, beta, bias, eps, weight_decay):
    u, m, v = proposed(g, p, m, v, beta=beta, bias=bias, eps=eps, weight_decay=weight_decay)
    return -lr * u, m, v


class TrustingCore(Trusting):
    rules = (trusting_core,)


class LayeredCore(Layered):
    rules = (layered_core,)


SHAPES = {"10 M in one tensor": ONE_TENSOR, "400 of 64×64": SMALL_TENSORS, "transformer of 27 M": TRANSFORMER}
READ = {Trusting: 5 / 3, Layered: 8 / 4}  # streams read in both passes, over those of the core

if __name__ == "__main__":
    rows = []
    for (where, shapes), (whole, core) in product(SHAPES.items(), [(Trusting, TrustingCore), (Layered, LayeredCore)]):
        name = f"{whole.__name__}, {where}; reads {READ[whole]:.2f} × as much"
        rows.append(compare(Case(name, partial(whole, fused=True), partial(core, fused=True), shapes, bar=1.7)))
    print(table(rows))
