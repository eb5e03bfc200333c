"""A rule that uses every part of the contract: a count, scalar state, two rules, two moments."""

from dlopt.engine import RuleOptimizer, xp


def warm(g, p, m, v, *, lr, beta, share):
    m = beta * m + (1 - beta) * g
    v = xp.maximum(v, g * g)
    return -lr * share * m, m, v


def adaptive(g, p, m, v, *, lr, beta, eps, share):
    m = beta * m + (1 - beta) * g
    v = xp.maximum(v, g * g)
    return -lr * share * m / (xp.sqrt(v) + eps), m, v


def clock(t, total, *, beta):
    weight = 1 - beta**t
    total = total + weight
    share = weight / total
    return share, total


class Toy(RuleOptimizer):
    rules = (warm, adaptive)
    state_keys = {"m": "exp_avg", "v": "max_sq"}
    scalars = staticmethod(clock)
    scalar_state = {"total": ("weight_sum", 0.0)}

    def __init__(self, params, lr=0.1, beta=0.9, eps=1e-8, weight_decay=0.0, **engine):
        super().__init__(params, dict(lr=lr, beta=beta, eps=eps, weight_decay=weight_decay), **engine)

    def rule(self, group, t):
        return warm if t < 3 else adaptive


def reference(w, grads, lr=0.1, beta=0.9, eps=1e-8):
    """The same in plain floats, written without the engine."""
    m = v = total = 0.0
    for t, g in enumerate(grads, 1):
        weight = 1 - beta**t
        total += weight
        m = beta * m + (1 - beta) * g
        v = max(v, g * g)
        d = m if t < 3 else m / (v**0.5 + eps)
        w -= lr * weight / total * d
    return w
