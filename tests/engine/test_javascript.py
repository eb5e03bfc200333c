"""The JavaScript face against NumPy in float64: V8 runs what a browser would."""

import ast
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import RuleOptimizer, faces, xp
from dlopt.engine.faces.javascript import RUNTIME, Translator, javascript
from dlopt.engine.rule import GrammarError, rule_of
from dlopt.lab import landscapes
from tests.engine.test_contract import CASES, OPTIMIZERS, label

racer = pytest.importorskip("py_mini_racer", reason="mini-racer runs the translated code")

IN_BROWSER = [(cls, setting) for cls, setting in CASES if not (cls.matrix or cls.sparse_only)]
MOVES = [move for cls, _ in IN_BROWSER for pair in getattr(cls, "moves", {}).values() for move in pair]
RULES = {rule for cls in OPTIMIZERS if not cls.matrix for rule in cls.rules} | set(MOVES)
RULES = sorted(RULES, key=lambda rule: (rule.__module__, rule.__name__))
SCALARS = sorted({cls.scalars for cls in OPTIMIZERS if cls.scalars}, key=lambda f: (f.__module__, f.__name__))
FILES = ("cosine", "decay", "one_cycle", "warmup")  # the package's functions of these names hide them
SCHEDULES = [
    value
    for module in (importlib.import_module(f"dlopt.sgd.schedules.{name}") for name in FILES)
    for value in vars(module).values()
    if getattr(value, "__module__", "") == module.__name__ and value.__code__.co_varnames[0] == "t"
]
LAST_BIT = {"exp", "log", "sin", "cos"}  # functions that V8 and the C library round differently now and then
N = 10_000

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda f: f.__name__)
each_landscape = pytest.mark.parametrize("name", landscapes.LANDSCAPES)


@pytest.fixture(scope="module")
def run():
    """Evaluates a script in a fresh scope; a Float64Array comes back as an array."""
    context = racer.MiniRacer()
    context.eval(RUNTIME)

    def evaluate(script):
        found = context.eval(f"globalThis.kept = (() => {{ {script} }})()")  # kept: V8 frees what nothing names
        return np.frombuffer(found, np.float64).copy() if isinstance(found, memoryview) else found

    return evaluate


def numbers(values):
    """A list of floats as JavaScript, with what JSON lacks."""
    return "[" + ",".join(repr(float(v)).replace("inf", "Infinity").replace("nan", "NaN") for v in values) + "]"


def calls(function):
    """The names of xp's functions in `function` and in what it calls."""
    rule = rule_of(function, also=frozenset({"**", "stored", "reserved"}))
    found = {n.attr for s in rule.body for n in ast.walk(s) if isinstance(n, ast.Attribute)}
    return found.union(*(calls(other.function) for other in rule.calls.values()))


def powers(function):
    rule = rule_of(function, also=frozenset({"**"}))
    return any(isinstance(n, ast.Pow) for s in rule.body for n in ast.walk(s)) or any(
        powers(other.function) for other in rule.calls.values()
    )


def states(elements, seed=0):
    """Random gradients, parameters and states over twelve decades; one in a hundred is 0, inf or NaN."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in elements:
        values = rng.choice([-1.0, 1.0], N) * 10 ** rng.uniform(-6, 6, N)
        values = np.abs(values) if name in ("v", "v_max", "v_hat", "u", "G", "n") else values
        special = rng.random(N) < 0.01
        arrays[name] = np.where(special, rng.choice([0.0, -0.0, np.inf, np.nan], N), values)
    return arrays


def compare(run, function, arrays, hyper, exact):
    """Evaluate `function` at every index of `arrays` in both languages."""
    translator = Translator()
    name = translator.function(function)
    columns = ", ".join(f"{key}: {numbers(values)}" for key, values in arrays.items())
    given = "{" + ", ".join(f"{key}: {numbers([value])}[0]" for key, value in hyper.items()) + "}"
    arguments = ", ".join([*(f"of.{key}[i]" for key in arrays), *([given] if hyper else [])])
    count = len(rule_of(function, also=frozenset({"**", "reserved", "stored"})).returns)
    got = run(f"""{translator.source()}
        const of = {{{columns}}}, out = new Float64Array({N * count});
        for (let i = 0; i < {N}; i++) {{
          const found = {name}({arguments});
          out.set(Array.isArray(found) ? found : [found], i * {count});
        }}
        return out.buffer;""").reshape(N, count)
    with np.errstate(all="ignore"):
        expected = function(*arrays.values(), **hyper)
    expected = expected if isinstance(expected, tuple) else (expected,)
    expected = np.stack([np.broadcast_to(e, N) for e in expected], axis=1)
    if exact:
        assert np.array_equal(got, expected, equal_nan=True)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@each_rule
def test_a_rule_gives_the_same_bits_at_10_000_random_states(run, rule):
    described = rule_of(rule)
    rng = np.random.default_rng(1)
    hyper = {name: rng.uniform(0.01, 0.99) for name in described.scalars}
    assert not calls(rule) & LAST_BIT
    compare(run, rule, states(described.elements), hyper, exact=True)


@pytest.mark.parametrize("function", [*SCALARS, *SCHEDULES], ids=lambda f: f.__name__)
def test_functions_of_the_step_agree_to_1e_12(run, function):
    described = rule_of(function, also=frozenset({"**"}))
    rng = np.random.default_rng(2)
    arrays = {name: rng.integers(1, 2000, N).astype(float) for name in described.elements}
    hyper = {name: rng.uniform(0.2, 0.999) for name in described.scalars}
    hyper |= {name: 100.0 for name in hyper if name in ("steps", "warmup", "step_size", "decay_steps")}
    hyper |= {name: 2.0 for name in hyper if name == "multiplier"}
    whole = {name: np.float64(value) for name, value in hyper.items()}
    compare(run, function, arrays, whole, exact=not (powers(function) or calls(function) & LAST_BIT))


@each_landscape
@pytest.mark.parametrize("part", ["f", "grad"])
def test_a_landscape_agrees_at_10_000_points(run, name, part):
    landscape = landscapes.LANDSCAPES[name]
    rng = np.random.default_rng(3)
    left, right, bottom, top = landscape.domain
    points = {"x": rng.uniform(left, right, N), "y": rng.uniform(bottom, top, N)}
    function = getattr(landscape, part)
    compare(run, function, points, dict(landscape.constants), exact=not calls(function) & LAST_BIT)


def browser_path(run, cls, setting, landscape, steps):
    translator = Translator()
    made = translator.optimizer(cls, **setting)
    grad = translator.function(landscape.grad)
    arguments = "p[0], p[1]" + (f", {json.dumps(dict(landscape.constants))}" if landscape.constants else "")
    return run(f"""{translator.source()}
        const optimizer = {made}, memory = dlopt.remember(optimizer), p = Float64Array.from({list(landscape.start)});
        const path = new Float64Array({2 * steps + 4});
        path.set(p);
        for (let k = 1; k <= {steps}; k++) {{
          dlopt.step(optimizer, optimizer.group, memory, p, {grad}({arguments}));
          path.set(p, 2 * k);
        }}
        path.set(dlopt.used(optimizer, optimizer.group, memory, p), {2 * steps + 2});
        return path.buffer;""").reshape(-1, 2)


def python_path(cls, setting, landscape, steps):
    with faces.use("numpy"):
        made = []
        path = landscape.path(lambda params: made.append(cls(params, **setting)) or made[0], steps)
        if hasattr(made[0], "eval"):
            made[0].eval()
    last = made[0].param_groups[0]["params"][0].tolist()
    return np.concatenate([path, [last]])


each_case = pytest.mark.parametrize("cls, setting", [pytest.param(c, s, id=label(c, s)) for c, s in IN_BROWSER])


@each_case
def test_an_optimizer_walks_as_in_python(run, cls, setting):
    """Every setting, 50 steps, with the translated `hyper`, `rule`, `initial` and the moves of its class."""
    landscape = landscapes.LANDSCAPES["himmelblau"]
    setting = {**setting, "lr": 0.01} if cls is not dlopt.Adadelta else setting
    got, expected = browser_path(run, cls, setting, landscape, 50), python_path(cls, setting, landscape, 50)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


POLYNOMIALS = [landscape for landscape in landscapes.LANDSCAPES.values() if not calls(landscape.grad) & LAST_BIT]


def python_walks(cls, setting, steps):
    """The paths over all polynomial landscapes at once, each a parameter of its own."""
    points = [torch.tensor(each.start, dtype=torch.float64, requires_grad=True) for each in POLYNOMIALS]
    optimizer, paths = cls(points, **setting), [[p.tolist()] for p in points]
    with faces.use("numpy"), np.errstate(all="ignore"):
        for _ in range(steps):
            for p, each in zip(points, POLYNOMIALS, strict=True):
                p.grad = torch.tensor([float(g) for g in each.gradient(*np.float64(p.tolist()))], dtype=torch.float64)
            optimizer.step()
            for path, p in zip(paths, points, strict=True):
                path.append(p.tolist())
    return np.array(paths)


@pytest.mark.parametrize("cls", dict.fromkeys(cls for cls, _ in IN_BROWSER), ids=lambda c: c.__name__)
def test_a_thousand_steps_over_polynomials_end_at_the_same_bits(run, cls):
    setting = {} if cls is dlopt.Adadelta else {"lr": 1e-3}
    walks = python_walks(cls, setting, 1000)
    for landscape, expected in zip(POLYNOMIALS, walks, strict=True):
        got = browser_path(run, cls, setting, landscape, 1000)[:-1]
        assert np.array_equal(got, expected, equal_nan=True), landscape.name


def test_the_page_counts_the_landscapes_right():
    assert len(POLYNOMIALS) == 15
    page = Path(__file__).parents[2] / "book" / "text" / "explorers.md"
    assert "on the fifteen landscapes without exponentials, logarithms, sines and cosines" in page.read_text()


def test_powers_round_as_the_c_library_does(run):
    """A thousandth of them may not: the C library itself is a little less than exact."""
    bases = [0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 0.5, 2.0, 1.5]
    got = run(f"""const out = new Float64Array({len(bases) * 1000});
        {json.dumps(bases)}.forEach((base, i) => {{
          for (let t = 1; t <= 1000; t++) out[1000 * i + t - 1] = dlopt.power(base, t);
        }});
        return out.buffer;""").reshape(len(bases), -1)
    expected = np.array([[np.float64(b) ** np.float64(t) for t in range(1, 1001)] for b in bases])
    assert (got != expected).mean() < 0.002
    np.testing.assert_allclose(got, expected, rtol=3e-16)


@pytest.mark.parametrize(
    "base, exponent",
    [
        (0.0, 0.0),
        (0.0, 3.0),
        (2.0, 5000.0),
        (0.5, -3.0),
        (0.3, 1e10),
        (4.0, 0.5),
        (1.0, np.nan),
        (1.0, np.inf),
        (-1.0, -np.inf),
        (-1.0, np.nan),
        (np.nan, 0.0),
        (-0.0, 0.5),
        (-np.inf, 0.5),
        (-8.0, 1 / 3),
    ],
)
def test_powers_at_the_edges(run, base, exponent):
    with np.errstate(all="ignore"):
        expected = np.float64(base) ** np.float64(exponent)
    found = run(f"return Float64Array.of(dlopt.power(...{numbers([base, exponent])})).buffer")
    np.testing.assert_array_equal(found[0], expected)


def swap(g, p, new, delete, *, function):
    var = new - delete
    return -function * g + var, delete, new


def test_names_that_are_words_of_javascript(run):
    compare(run, swap, states(rule_of(swap).elements), {"function": 0.5}, exact=True)


def outside(g, p, *, lr):
    return -lr * g @ p


def test_outside_the_grammar_is_refused_with_the_line():
    with pytest.raises(GrammarError, match="MatMult") as caught:
        javascript(outside)
    assert caught.value.text.strip() == "return -lr * g @ p"


def sum_of_tests(x, y):
    return (x > 0) + (y > 0)


def equals_one(x, y):
    return xp.where((x > 0) == 1, x, y)


def less_a_test(x, y):
    above = x > 0
    return y - above


def number_as_condition(x, y):
    return xp.where(x, 1, 2) * y


def a_test(x, y):
    return x > y


@pytest.mark.parametrize("function", [sum_of_tests, equals_one, less_a_test, number_as_condition, a_test])
def test_a_comparison_is_no_number_and_a_number_no_comparison(function):
    with pytest.raises(GrammarError, match="a comparison"):
        javascript(function)


def one_over_sign(x):
    return 1 / xp.sign(x)


def test_signs_of_zero_are_those_of_numpy(run):
    special = np.array([0.0, -0.0, np.nan, 2.0, -np.inf])
    compare(run, one_over_sign, {"x": np.resize(special, N)}, {}, exact=True)


def scaled(g, p):
    return g * p


another_name = scaled
del scaled  # as if it had been imported under the other name only


def hiding(g, p, scaled):
    scaled = scaled + another_name(g, p)
    return -scaled, scaled


def test_an_argument_does_not_hide_a_function(run):
    compare(run, hiding, states(rule_of(hiding).elements), {}, exact=True)


def shift(g, p, *, lr):
    return -lr * xp.sign(g)


class Odd(RuleOptimizer):
    rules = (shift,)

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def rule(self, group, t):
        return [rule for rule in self.rules][0]


def test_a_method_that_is_not_translated_is_named():
    with pytest.raises(GrammarError, match="Odd.rule.*has no JavaScript"):
        Translator().optimizer(Odd)


@pytest.mark.parametrize("cls", [dlopt.Muon, dlopt.Adafactor, dlopt.SparseAdam])
def test_matrix_rules_and_sparse_ones_are_refused(cls):
    with pytest.raises(TypeError, match="does not run in a browser"):
        Translator().optimizer(cls)


def test_functions_of_one_name_stay_apart(run):
    translator = Translator()
    first, second = (translator.function(cls.scalars) for cls in (dlopt.ScheduleFreeSGD, dlopt.ScheduleFreeAdamW))
    named = translator.function(dlopt.ScheduleFreeSGD.scalars, named=True)
    assert len({first, second, named}) == 3
