"""Two layer-wise rules: SGD that steps in proportion to a layer's norm, and Adam's step of the layer's own length."""

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
