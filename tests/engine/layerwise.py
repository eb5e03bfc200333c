"""Two layer-wise rules: SGD that steps in proportion to a layer's norm, and Adam's step of the layer's own length.

``python -m tests.engine.layerwise`` measures what the norms cost: each rule beside itself without them, in turns.
The pass that sums reads every stream of its quantities once more, and where memory is the limit it is reading that
takes the time: for large tensors the ratio cannot be far below that of the bytes that both passes read.
"""

import statistics
import time

import torch

from dlopt.engine import RuleOptimizer, xp


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


SHAPES = {
    "10 M in one": [(3200, 3125)],
    "400 of 64×64": [(64, 64)] * 400,
    "transformer, 29 M": [(1000, 768), *[(768,), (2304, 768), (768, 768), (3072, 768), (768, 3072), (768,)] * 4],
}


def prepared(optimizer, shapes):
    params = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    return optimizer(params, fused=True)


def median_ratio(pair, rounds=25):
    """The first's time over the second's, in turns; the first three turns do not count."""
    ratios = []
    for _ in range(rounds + 3):
        times = []
        for optimizer in pair:
            start = time.perf_counter()
            optimizer.step()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios[3:])


if __name__ == "__main__":
    torch.set_num_threads(2)
    for name, shapes in SHAPES.items():
        for whole, core, reads in ((Trusting, TrustingCore, (3 + 2, 3)), (Layered, LayeredCore, (4 + 4, 4))):
            ratio = median_ratio([prepared(each, shapes) for each in (whole, core)])
            print(f"{name:18} {whole.__name__:9} {ratio:.2f} × its core; bytes read {reads[0] / reads[1]:.2f} ×")
