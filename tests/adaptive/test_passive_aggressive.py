"""Three truths for PassiveAggressive: the optimization problems that define it, scikit-learn, and the paper's bounds."""

import io
import warnings

import numpy as np
import pytest
import scipy.optimize
import torch

import dlopt
from dlopt.lab import data

VARIANTS = ["PA", "PA-I", "PA-II"]
each_variant = pytest.mark.parametrize("variant", VARIANTS)
C, EPSILON = 0.2, 0.3


def objective(variant, loss, start, w):
    """Equations 3, 6 and 7 of the paper with the slack put in: xi = loss(w)."""
    near = 0.5 * np.sum((w - start) ** 2)
    return near + {"PA": 0.0, "PA-I": C * loss(w), "PA-II": C * loss(w) ** 2}[variant]


def solved(variant, start, constraints):
    """The minimum by SLSQP over w and the slack, in which the problem is smooth. `constraints(w) >= -slack`."""
    n = start.size

    def value(z):
        slack = {"PA": 0.0, "PA-I": C * z[n], "PA-II": C * z[n] ** 2}[variant]
        return 0.5 * np.sum((z[:n] - start.ravel()) ** 2) + slack

    bounds = [(None, None)] * n + [(0, 0 if variant == "PA" else None)]
    held = {"type": "ineq", "fun": lambda z: np.atleast_1d(constraints(z[:n].reshape(start.shape))) + z[n]}
    begin = np.append(start.ravel(), 0.0)
    options = {"ftol": 1e-14, "maxiter": 500}
    found = scipy.optimize.minimize(value, begin, bounds=bounds, constraints=[held], method="SLSQP", options=options)
    assert found.success or found.status == 8  # 8: no further descent in the line search, at the minimum
    return found.x[:n].reshape(start.shape)


def examples(task, seed=0, n=25, features=4):
    rng = np.random.default_rng(seed)
    for x in rng.normal(size=(n, features)):
        yield x, {"binary": rng.choice([-1, 1]), "multiclass": rng.integers(3), "regression": 2 * rng.normal()}[task]


@each_variant
def test_binary_update_solves_its_problem(variant):
    model = dlopt.PassiveAggressive(variant=variant, C=C, classes=[-1, 1])
    for x, y in examples("binary"):
        start = np.zeros(4) if model.weights is None else model.weights
        suffered = model.partial_fit(x, y)
        assert suffered == pytest.approx(max(0, 1 - y * (start @ x)), abs=1e-15)
        expected = solved(variant, start, lambda w, x=x, y=y: y * (w @ x) - 1)
        np.testing.assert_allclose(model.weights, expected, atol=2e-6)
        loss = lambda w, x=x, y=y: max(0, 1 - y * (w @ x))  # noqa: E731
        near = [objective(variant, loss, start, model.weights + d) for d in 1e-3 * np.eye(4)]
        if variant != "PA":
            assert objective(variant, loss, start, model.weights) <= min(near) + 1e-15


@each_variant
def test_regression_update_solves_its_problem(variant):
    model = dlopt.PassiveAggressive("regression", variant=variant, C=C, epsilon=EPSILON)
    for x, y in examples("regression"):
        start = np.zeros(4) if model.weights is None else model.weights
        suffered = model.partial_fit(x, y)
        assert suffered == pytest.approx(max(0, abs(start @ x - y) - EPSILON), abs=1e-15)
        expected = solved(variant, start, lambda w, x=x, y=y: np.array([EPSILON - (w @ x - y), EPSILON + (w @ x - y)]))
        np.testing.assert_allclose(model.weights, expected, atol=2e-6)


@each_variant
def test_two_prototype_update_solves_its_problem(variant):
    """Section 7: against the best rival alone, as the paper has it, not against all rivals at once."""
    model = dlopt.PassiveAggressive(variant=variant, C=C, classes=range(3))
    for x, y in examples("multiclass"):
        start = np.zeros((3, 4)) if model.weights is None else model.weights
        rivals = [k for k in range(3) if k != y]
        rival = rivals[int(np.argmax((start @ x)[rivals]))]
        suffered = model.partial_fit(x, y)
        assert suffered == pytest.approx(max(0, 1 - (start[y] - start[rival]) @ x), abs=1e-15)
        expected = solved(variant, start, lambda w, x=x, y=y, r=rival: (w[y] - w[r]) @ x - 1)
        np.testing.assert_allclose(model.weights, expected, atol=2e-6)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_after_a_step_of_pa_the_example_is_served(task, intercept):
    if task == "regression":
        model = dlopt.PassiveAggressive("regression", variant="PA", epsilon=EPSILON, intercept=intercept)
    else:
        model = dlopt.PassiveAggressive(
            variant="PA", classes=[-1, 1] if task == "binary" else range(3), intercept=intercept
        )
    for x, y in examples(task, n=100):
        before = model.state_dict()["rows"]
        suffered = model.partial_fit(x, y)
        scores = model.decision_function(x)
        if task == "binary":
            left = 1 - y * scores
        elif task == "regression":
            left = abs(scores - y) - EPSILON
        elif before is not None and suffered > 0:
            rivals = (before.numpy() @ np.append(x, [1.0] * intercept)).copy()
            rivals[y] = -np.inf
            left = 1 - (scores[y] - scores[rivals.argmax()])
        else:
            continue
        assert left <= 1e-12
        if suffered:
            assert left == pytest.approx(0, abs=1e-12)
        else:  # passive: not one bit changes
            assert torch.equal(before, model.state_dict()["rows"])


def test_the_step_lengths_of_figure_1_by_hand():
    """x = (3, 4), loss 1: 1/25; min(0.02, 1/25); 1/(25 + 1/(2 * 0.02)) = 1/50. Two classes apart: over 50."""
    for variant, tau in zip(VARIANTS, [1 / 25, 0.02, 1 / 50], strict=True):
        model = dlopt.PassiveAggressive(variant=variant, C=0.02, classes=["no", "yes"])
        model.partial_fit([3.0, 4.0], "yes")
        np.testing.assert_allclose(model.weights, [3 * tau, 4 * tau], rtol=1e-15)
    for variant, tau in zip(VARIANTS, [1 / 50, 0.01, 1 / 100], strict=True):
        model = dlopt.PassiveAggressive(variant=variant, C=0.01, classes=["a", "b", "c"])
        model.partial_fit([3.0, 4.0], "b")
        np.testing.assert_allclose(model.weights, np.outer([-1, 1, 0], [3 * tau, 4 * tau]), rtol=1e-15)


def test_a_large_c_is_pa():
    pairs = list(examples("binary", n=50))
    weights = []
    for variant in VARIANTS:
        model = dlopt.PassiveAggressive(variant=variant, C=1e12, classes=[-1, 1])
        for x, y in pairs:
            model.partial_fit(x, y)
        weights.append(model.weights)
    assert np.array_equal(weights[0], weights[1])
    np.testing.assert_allclose(weights[0], weights[2], rtol=1e-9)


# scikit-learn


def sklearn_class(name):
    linear = pytest.importorskip("sklearn.linear_model")
    if not hasattr(linear, name):
        pytest.skip(f"this scikit-learn has no {name}")
    return getattr(linear, name)


def sklearn_steps(make, x, y, **first):
    """Coefficients after each example. The classes are deprecated since scikit-learn 1.8, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model, points = make(), []
        for i in range(len(x)):
            model.partial_fit(x[i : i + 1], y[i : i + 1], **(first if i == 0 else {}))
            points.append(model.coef_.ravel().copy())
    return np.array(points)


@pytest.mark.parametrize("variant, loss", [("PA-I", "hinge"), ("PA-II", "squared_hinge")])
def test_scikit_learns_classifier_step_by_step(variant, loss):
    theirs = sklearn_class("PassiveAggressiveClassifier")
    cancer = data.breast_cancer().train
    x, y = cancer.inputs.double().numpy()[:200], cancer.targets.numpy()[:200]
    expected = sklearn_steps(lambda: theirs(C=C, loss=loss, fit_intercept=False), x, y, classes=[0, 1])
    model, points = dlopt.PassiveAggressive(variant=variant, C=C, classes=[0, 1]), []
    for i in range(len(x)):
        model.partial_fit(x[i], y[i])
        points.append(model.weights)
    np.testing.assert_allclose(points, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant, loss", [("PA-I", "epsilon_insensitive"), ("PA-II", "squared_epsilon_insensitive")])
def test_scikit_learns_regressor_step_by_step(variant, loss):
    theirs = sklearn_class("PassiveAggressiveRegressor")
    rows = data.diabetes().train
    x, y = rows.inputs.double().numpy()[:200], rows.targets.flatten().double().numpy()[:200]
    expected = sklearn_steps(lambda: theirs(C=C, loss=loss, epsilon=EPSILON, fit_intercept=False), x, y)
    model, points = dlopt.PassiveAggressive("regression", variant=variant, C=C, epsilon=EPSILON), []
    for i in range(len(x)):
        model.partial_fit(x[i], y[i])
        points.append(model.weights)
    np.testing.assert_allclose(points, expected, rtol=1e-12, atol=1e-12)


# The paper's bounds


@pytest.mark.parametrize("seed", range(5))
def test_the_mistake_bound_on_separable_data(seed):
    """Theorem 2: if u has margin 1 on every example, the squared losses sum to at most R^2 |u|^2; so do mistakes."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=10)
    direction /= np.linalg.norm(direction)
    x = rng.normal(size=(3000, 10))
    x = x[np.abs(x @ direction) > 0.3]
    y = np.sign(x @ direction).astype(int)
    u = direction / np.abs(x @ direction).min()
    losses = dlopt.PassiveAggressive(variant="PA", classes=[-1, 1]).partial_fit(x, y)
    bound = (np.linalg.norm(x, axis=1).max() * np.linalg.norm(u)) ** 2
    assert (losses**2).sum() <= bound
    assert 0 < (losses >= 1).sum() <= bound


@pytest.mark.parametrize("seed", range(5))
def test_the_bounds_with_noise(seed):
    """Theorem 4 (PA-I, mistakes) and theorem 5 (PA-II, squared losses) against any fixed u."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=10)
    x = rng.normal(size=(1000, 10))
    y = np.where(rng.random(1000) < 0.1, -1, 1) * np.sign(x @ u).astype(int)
    suffered, square = np.maximum(0, 1 - y * (x @ u)), (x**2).sum(1).max()
    first = dlopt.PassiveAggressive(variant="PA-I", C=C, classes=[-1, 1]).partial_fit(x, y)
    assert (first >= 1).sum() <= max(square, 1 / C) * (u @ u + 2 * C * suffered.sum())
    second = dlopt.PassiveAggressive(variant="PA-II", C=C, classes=[-1, 1]).partial_fit(x, y)
    assert (second**2).sum() <= (square + 1 / (2 * C)) * (u @ u + 2 * C * (suffered**2).sum())


# The interface


def made(task, **kw):
    kw = {"C": C, "intercept": True, **kw}
    return dlopt.PassiveAggressive(**({"task": task} if task == "regression" else {}), **kw)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@each_variant
def test_resume_is_exact_and_a_batch_is_its_examples_in_order(task, variant):
    classes = {"binary": ["no", "yes"], "multiclass": [3, 1, 7], "regression": None}[task]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 5))
    y = rng.normal(size=60) if classes is None else rng.choice(classes, size=60)
    whole = made(task, variant=variant, classes=classes)
    losses = whole.partial_fit(x, y)
    first = made(task, variant=variant)
    parts = [first.partial_fit(x[:1], y[:1], **({} if classes is None else {"classes": classes}))]
    parts += [np.array([first.partial_fit(a, b)]) for a, b in zip(x[1:20], y[1:20], strict=True)]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again = dlopt.PassiveAggressive("regression", variant="PA", C=99.0)
    again.load_state_dict(torch.load(file, weights_only=True))
    parts.append(again.partial_fit(x[20:], y[20:]))
    assert np.array_equal(np.concatenate(parts), losses)
    assert np.array_equal(again.weights, whole.weights) and np.array_equal(again.bias, whole.bias)
    assert again.seen == whole.seen == 60 and again.variant == variant and again.weights.dtype == np.float64
    assert np.array_equal(again.predict(x), whole.predict(x))
    assert np.array_equal(again.predict(x[0]), whole.predict(x)[0])


def test_the_intercept_is_a_constant_feature():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 3)), rng.integers(3, size=50)
    with_one = dlopt.PassiveAggressive(classes=range(3), C=C)
    with_one.partial_fit(np.hstack([x, np.ones((50, 1))]), y)
    model = dlopt.PassiveAggressive(classes=range(3), C=C, intercept=True)
    model.partial_fit(x, y)
    assert np.array_equal(with_one.weights, np.hstack([model.weights, model.bias[:, None]]))
    assert model.weights.shape == (3, 3) and model.decision_function(x).shape == (50, 3)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_scores_are_those_of_the_weights_and_the_bias(task, intercept):
    classes = {"binary": [-1, 1], "multiclass": range(3), "regression": None}[task]
    model = made(task, classes=classes, intercept=intercept)
    x, y = map(np.array, zip(*examples(task), strict=True))
    model.partial_fit(x, y)
    assert np.shape(model.bias) == ((3,) if task == "multiclass" else ()) and bool(np.any(model.bias)) == intercept
    np.testing.assert_allclose(model.decision_function(x), x @ model.weights.T + model.bias, rtol=1e-12, atol=1e-15)


def test_lists_and_tensors_are_taken_and_a_zero_example_moves_nothing():
    model = dlopt.PassiveAggressive(variant="PA", classes=[0, 1])
    assert model.partial_fit(torch.zeros(2), 1) == 1.0
    assert not model.weights.any() and model.seen == 1
    model.partial_fit(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([1, 0]))
    assert model.predict([[1, 0], [0, 1]]).tolist() == [1, 0]
    model.weights[:] = 7  # a copy
    assert model.weights.tolist() == [1.0, -0.5] and model.bias == 0.0


@pytest.mark.parametrize(
    "kw, words",
    [
        (dict(C=0), "Invalid C: 0"),
        (dict(C=-1.0), "Invalid C: -1"),
        (dict(C=float("nan")), "Invalid C: nan"),
        (dict(C=float("inf")), "Invalid C: inf"),
        (dict(C="1"), "Invalid C: '1'"),
        (dict(C=None, variant="PA"), "Invalid C: None"),
        (dict(epsilon=-0.1), "Invalid epsilon: -0.1"),
        (dict(epsilon=float("nan")), "Invalid epsilon: nan"),
        (dict(variant="PA-III"), "Invalid variant: 'PA-III', not one of 'PA', 'PA-I', 'PA-II'"),
        (dict(variant=None), "Invalid variant"),
        (dict(task="ranking"), "Invalid task: 'ranking'"),
        (dict(task="regression", classes=[0, 1]), "regression has no classes"),
        (dict(classes=[1]), "two or more different labels"),
        (dict(classes=[1, 1, 2]), "two or more different labels"),
        (dict(classes=[[0, 1]]), "one dimension"),
        (dict(classes=[0.0, float("nan")]), "classes must be"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(kw, words):
    with pytest.raises(ValueError, match=words):
        dlopt.PassiveAggressive(**kw)


@pytest.mark.parametrize(
    "x, y, words",
    [
        ([[1.0, float("nan")]], [0], "x has NaN or infinite values"),
        ([[1.0, float("inf")]], [0], "x has NaN or infinite values"),
        ([[1.0, 2.0, 3.0]], [0], "the model has 2 features, x has 3"),
        ([[1.0, 2.0], [3.0, 4.0]], [0, 5], "unknown label 5; the classes are \\[0, 1\\]"),
        ([[1.0, 2.0]], ["0"], "unknown label '0'"),
        ([[1.0, 2.0]], [float("nan")], "unknown label nan"),
        ([[1.0, 2.0]], 0, "needs y of shape"),
        ([1.0, 2.0], [0], "needs y of shape"),
        ([[1.0, 2.0]], [0, 1], "needs y of shape"),
        ([[[1.0, 2.0]]], [0], "one or two dimensions"),
        (1.0, 0, "one or two dimensions"),
        ([[1.0, 2.0], [1e-170, 0.0]], [0, 1], "too large or too small"),
        ([[1.0, 2.0], [1e160, 0.0]], [0, 1], "too large or too small"),
    ],
    ids=str,
)
def test_bad_examples_are_refused_before_anything_changes(x, y, words):
    model = dlopt.PassiveAggressive(classes=[0, 1], intercept=True)
    model.partial_fit([1.0, 2.0], 1)
    before = model.state_dict()
    with pytest.raises(ValueError, match=words):
        model.partial_fit(x, y)
    after = model.state_dict()
    assert torch.equal(before.pop("rows"), after.pop("rows")) and before == after


def test_other_misuse_is_refused():
    model = dlopt.PassiveAggressive()
    with pytest.raises(RuntimeError, match="call partial_fit first"):
        model.predict([1.0])
    with pytest.raises(ValueError, match="classes are needed"):
        model.partial_fit([1.0], 1)
    with pytest.raises(ValueError, match="unknown label 7"):
        model.partial_fit([1.0], 7, classes=[0, 1])
    assert model.weights is None and model.classes is None
    model.partial_fit([1.0], 1, classes=[1, 0])
    model.partial_fit([1.0], 1, classes=[0, 1])
    with pytest.raises(ValueError, match=r"the classes are \[0, 1\] already, not \[0, 2\]"):
        model.partial_fit([1.0], 0, classes=[0, 2])
    regression = dlopt.PassiveAggressive("regression")
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="y has NaN or infinite values"):
            regression.partial_fit([1.0], value)
    with pytest.raises(ValueError, match="regression has no classes"):
        regression.partial_fit([1.0], 1.0, classes=[0, 1])
    with pytest.raises(ValueError, match="x has NaN"):
        model.predict([float("nan")])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(extra=1), "a state has the keys"),
        (dict(C=-1.0), "Invalid C"),
        (dict(variant="?"), "Invalid variant"),
        (dict(seen=-1), "Invalid seen"),
        (dict(rows=torch.zeros(3, 2)), "1 vectors of them"),
        (dict(rows=torch.tensor([[1.0, float("nan")]])), "must be finite"),
        (dict(classes=[0, 1, 2]), "3 vectors of them"),
    ],
    ids=str,
)
def test_a_bad_state_is_refused_before_anything_changes(change, words):
    model = dlopt.PassiveAggressive(classes=[0, 1])
    model.partial_fit([1.0, 2.0], 1)
    before, bad = model.state_dict(), {**model.state_dict(), **change}
    with pytest.raises(ValueError, match=words):
        model.load_state_dict(bad)
    assert torch.equal(before.pop("rows"), model.state_dict()["rows"])
    assert all(model.state_dict()[key] == value for key, value in before.items())
    with pytest.raises(ValueError, match="a state has the keys"):
        model.load_state_dict({})
