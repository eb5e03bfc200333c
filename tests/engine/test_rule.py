"""The grammar: what it takes, and that it refuses the rest by line and reason."""

import inspect
import math

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import GrammarError, RuleOptimizer, rule_of, scalars, xp
from dlopt.engine.lowering import lower_program
from dlopt.engine.program import Program
from dlopt.engine.scalars import evaluate


def loop(g, p):
    for _ in range(3):
        g = g + p
    return g


def branch(g, p, *, lr):
    if lr > 1:
        g = -g
    return g


def power(g, p):
    return g**2


def method(g, p):
    return g.sqrt()


def unknown_function(g, p):
    return xp.tanh(g)


def bare_torch(g, p):
    return torch.sqrt(g)


def in_place(g, p):
    g += p
    return g


def subscript(g, p):
    p[0] = g
    return p


def unassigned(g, p):
    return g * speed  # noqa: F821


def chained(g, p):
    return xp.where(0 < g < p, g, p)


def boolean(g, p):
    return xp.where(g > 0 and p > 0, g, p)


def text(g, p):
    return g * "2"


def no_return(g, p):
    g = g + p


def default(g, p, *, lr=0.1):
    return -lr * g


def star(g, *rest):
    return g


def keyword(g, p):
    return xp.maximum(g, b=p)


def comprehension(g, p):
    return sum(x for x in (g, p))


def two_values(g, p):
    a = b = g
    return a + b


def walrus(g, p):
    return (a := g) + a


def shadows_xp(g, p):
    xp = g  # noqa: F841
    return g


def shadows_a_rule(g, p):
    walrus = g + p
    return walrus


def reserved(g, p, *, l2):
    return l2 * g


def too_exact(g, p):
    return 9007199254740993 * g


def first_of_a_circle(g, p):
    return second_of_a_circle(g, p)


def second_of_a_circle(g, p):
    return first_of_a_circle(g, p)


def rounded_down(g, p):
    return xp.floor(g)


REFUSED = [
    (shadows_xp, 1, "'xp' is the name of a namespace"),
    (shadows_a_rule, 1, "'walrus' is the name of a namespace or a function"),
    (reserved, 0, "keeps the names"),
    (too_exact, 1, "float64 does not hold"),
    (first_of_a_circle, 0, "in a circle"),
    (loop, 1, "only assignments and a final return are allowed, not 'for'"),
    (branch, 1, "not 'if'"),
    (rounded_down, 1, "xp.floor is not in the grammar"),
    (power, 1, "'\\*\\*' is not in the grammar"),
    (method, 1, "neither a function of xp nor a rule"),
    (unknown_function, 1, "xp.tanh is not in the grammar"),
    (bare_torch, 1, "'torch.sqrt' is neither"),
    (in_place, 1, "not 'augassign'"),
    (subscript, 1, "only a plain name can be assigned to"),
    (unassigned, 1, "'speed' is neither an argument nor assigned above"),
    (chained, 1, "one comparison at a time"),
    (boolean, 1, "BoolOp"),
    (text, 1, "numbers only, not '2'"),
    (no_return, 1, "a rule ends with return"),
    (default, 0, "nor defaults"),
    (star, 0, "neither \\*args"),
    (keyword, 1, "takes 2 argument\\(s\\), by position"),
    (comprehension, 1, "'sum' is neither"),
    (two_values, 1, "only assignments"),
    (walrus, 1, "NamedExpr"),
]


@pytest.mark.parametrize("function, offset, reason", REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_refused_when_the_class_is_made(function, offset, reason):
    first = inspect.getsourcelines(function)[1]
    with pytest.raises(GrammarError, match=reason) as raised:
        type("Bad", (RuleOptimizer,), {"rules": (function,)})
    assert raised.value.lineno == first + offset
    assert raised.value.filename == __file__
    assert f"line {first + offset}" in str(raised.value)


def number_as_condition(g, p):
    return xp.where(g, g, p)


def comparison_in_arithmetic(g, p):
    return (g > p) * g


@pytest.mark.parametrize("function", [number_as_condition, comparison_in_arithmetic])
def test_types_are_checked_when_the_class_is_made(function):
    with pytest.raises(GrammarError, match="xp.where"):
        type("Bad", (RuleOptimizer,), {"rules": (function,)})


def too_few(g, p, b):
    return -g


def scalar_change(g, p, *, lr):
    return -lr


def stateful(g, p, b):
    return -g, b


def swapped(p, g):
    return -g


@pytest.mark.parametrize(
    "function, words",
    [(too_few, "returns 1"), (scalar_change, "per element"), (stateful, "state_keys"), (swapped, "begins with g")],
)
def test_rules_that_do_not_fit_the_engine(function, words):
    with pytest.raises((GrammarError, TypeError), match=words):
        type("Bad", (RuleOptimizer,), {"rules": (function,)})


def test_lambdas_and_closures_are_refused():
    lr = 0.1

    def closed(g, p):
        return -lr * g

    for function in (lambda g, p: -g, closed):
        with pytest.raises(GrammarError):
            rule_of(function)


def inner(x, y, *, k):
    a = x * k
    return a, a + y


def outer(g, p, *, lr):
    u, w = inner(g, p, k=2 * lr)
    return -u * w


def test_a_rule_may_call_another():
    g, p = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    expected = -(g * 0.2) * (g * 0.2 + p)
    np.testing.assert_allclose(outer(g, p, lr=0.1), expected)
    lowered = lower_program(Program(rule_of(outer)))
    assert [slot.python() for slot in lowered.slots] == ["(2.0 * lr)"]


def bias(t, *, beta):
    correction = 1 - beta**t
    root = xp.sqrt(correction)
    infinite = 1 / (t - t)
    return correction, root, infinite


def test_scalars_are_float64_and_follow_ieee():
    values = evaluate(bias, 3, beta=0.5)
    assert values == {"correction": 0.875, "root": 0.875**0.5, "infinite": float("inf")}
    assert all(type(v) is float for v in values.values())


def divided(t, *, base):
    infinite = 1 / (t - t)
    return infinite


def overflowing(t, *, base):
    huge = base ** (1e4 * t)
    return huge


def imaginary(t, *, base):
    root = (t - base) ** 0.5
    return root


@pytest.mark.parametrize("function", [divided, overflowing])
def test_where_python_has_no_number_scalars_follow_ieee_too(function):
    (value,) = evaluate(function, 3, base=5.0).values()
    assert value == math.inf


def size(x):
    return xp.abs(x)


def called(t, *, base):
    root = size((t - base) ** 0.5)
    return root


def compared(t, *, base):
    root = (t - base) ** 0.5
    flag = (root > 1) * 2.0
    return root, flag


@pytest.mark.parametrize("function", [imaginary, called, compared])
def test_scalars_are_never_complex(function):
    values = evaluate(function, 3, base=5.0)
    assert math.isnan(values["root"]) and values.get("flag", 0.0) == 0.0


@pytest.mark.parametrize("cls", [dlopt.Adagrad, dlopt.Adam, dlopt.Adamax, dlopt.AMSGrad])
def test_scalars_have_the_bits_that_numpy_gives(cls, monkeypatch):
    rng = np.random.default_rng(0)
    group = cls([torch.zeros(1, requires_grad=True)]).param_groups[0]
    rule = rule_of(cls.scalars, also=frozenset({"**"}))
    assert scalars._plain(rule)
    for t in map(float, rng.integers(1, 10**6, 200)):
        hyper = {name: group.get(name, 0.99 + 0.01 * rng.random()) for name in rule.scalars}
        symbols = rng.random(len(cls.scalar_state))
        quick = evaluate(cls.scalars, t, *symbols, **hyper)
        monkeypatch.setattr(scalars, "_plain", lambda rule: False)
        assert quick == evaluate(cls.scalars, t, *symbols, **hyper)
        monkeypatch.undo()


def staircase(t, *, width):
    height = xp.floor(t / width) ** 2
    return height


def test_functions_of_scalars_may_round_down():
    assert [evaluate(staircase, t, width=3)["height"] for t in (-1, 0, 2, 3, 8.9, 9)] == [1, 0, 0, 1, 4, 9]
    assert staircase(7, width=3) == 4 and type(xp.floor(2.5)) is float
    assert xp.floor(np.array([1.5, -0.5])).tolist() == [1, -1]
    with pytest.raises(GrammarError, match="xp.floor takes 1 argument"):
        rule_of(two_floors, also=frozenset({"**"}))


def two_floors(t, *, width):
    return xp.floor(t, width)


def hoisted(g, p, *, lr, beta):
    return -lr * ((1 - beta) * g + 2 * p)


def test_scalar_parts_are_computed_once_on_the_host():
    lowered = lower_program(Program(rule_of(hoisted)))
    assert lowered.host(lr=0.1, beta=0.9) == (-0.1, 1 - 0.9)
    assert sorted(slot.python() for slot in lowered.slots) == ["(-lr)", "(1.0 - beta)"]


def test_the_weight_of_a_moment_is_not_rounded_to_float32_first():
    """1 - 0.999 taken in float32 would be off by 1.3e-5, and so would v."""
    beta, g = 0.999, np.float32(1.0)
    _, host = lower_program(Program(rule_of(hoisted))).host(lr=1.0, beta=beta)
    assert abs(host / (1 - beta) - 1) < 1e-15
    wrong = np.float32(1) - np.float32(beta)
    assert abs(float(wrong) / (1 - beta) - 1) > 1e-5
    assert abs(float(np.float32(host) * g) / (1 - beta) - 1) < 1e-7
