"""The finite-sum methods against the papers' pseudo-code, scikit-learn's compiled solver, and facts of mathematics."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._sag import get_auto_step_size, sag_solver

from dlopt.sgd import linear_loss, sag, saga, sarah, scsg, svrg, table_bytes
from dlopt.sgd.finite_sums.problem import HandOn
from tests.sgd.exercises import variance_reduction as exercise

SOLVERS = [sag, saga, svrg, sarah, scsg]
LAM = 1e-2


@pytest.fixture(scope="module")
def cancer():
    """All 569 rows, standardized, then every row to length 1: with λ = 1e-2 the theory's L/ℓ is .26/.01 = 26."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    w = np.zeros(30)
    for _ in range(30):  # Newton
        p = 1 / (1 + np.exp(-x @ w))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) / 569 + LAM * np.eye(30)
        w = w - np.linalg.solve(hessian, x.T @ (p - y) / 569 + LAM * w)
    return x, y.astype(float), w


def small(seed=0, n=7, d=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, (rng.random(n) < 0.5).astype(float), rng.normal(size=d)


def slope(z, y):
    return 1 / (1 + np.exp(-z)) - y


def losses(x, y):
    """The same loss for the fast path, and dressed so that the solvers take the general one."""
    fast = linear_loss(x, y)
    return {"linear": fast, "general": lambda w, i: fast(w, i)}


# The papers' pseudo-code, with f_i including the ridge where the paper has no word for it.


def paper_sag(x, y, w, order, lr, lam):
    table, seen = np.zeros_like(x), set()
    for i in order:
        table[i] = slope(x[i] @ w, y[i]) * x[i]
        seen.add(i)
        w = w - lr * (table.sum(0) / len(seen) + lam * w)
    return w


def paper_saga(x, y, w, order, lr, lam):
    table = slope(x @ w, y)[:, None] * x
    for i in order:
        g = slope(x[i] @ w, y[i]) * x[i]
        w = w - lr * (g - table[i] + table.mean(0) + lam * w)
        table[i] = g
    return w


def paper_svrg(x, y, w, order, lr, lam, inner):
    def g(w, i):
        return slope(x[i] @ w, y[i]) * x[i] + lam * w

    for s in range(0, len(order), inner):
        anchor = w
        full = np.mean([g(anchor, i) for i in range(len(x))], axis=0)
        for i in order[s : s + inner]:
            w = w - lr * (g(w, i) - g(anchor, i) + full)
    return w


def paper_sarah(x, y, w, order, lr, lam, inner):
    def g(w, i):
        return slope(x[i] @ w, y[i]) * x[i] + lam * w

    for s in range(0, len(order), inner):
        v = np.mean([g(w, i) for i in range(len(x))], axis=0)
        old, w = w, w - lr * v
        for i in order[s : s + inner]:
            v = g(w, i) - g(old, i) + v
            old, w = w, w - lr * v
    return w


def paper_scsg(x, y, w, order, lr, lam, batches, lengths):
    def g(w, i):
        return slope(x[i] @ w, y[i]) * x[i] + lam * w

    order = list(order)
    for rows, length in zip(batches, lengths, strict=True):
        anchor = w
        full = np.mean([g(anchor, i) for i in rows], axis=0)
        for _ in range(min(length, len(order))):
            i = order.pop(0)
            w = w - lr * (g(w, i) - g(anchor, i) + full)
    return w


@pytest.mark.parametrize("path", ["linear", "general"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_the_papers_pseudo_code(path, dtype, tolerance):
    x, y, w0 = small()
    loss = losses(x, y)[path]
    order = np.random.default_rng(1).integers(7, size=40)
    start, lr, lam = torch.tensor(w0, dtype=dtype), 0.3, 0.05
    common = dict(lr=lr, steps=40, indices=order, l2=lam)
    lengths = [3, 0, 10, 1, 12, 30]
    rng = np.random.default_rng([5, 1])
    batches = [rng.choice(7, 3, replace=False) for _ in lengths]
    pairs = [
        (sag(loss, start, 7, **common), paper_sag(x, y, w0, order, lr, lam)),
        (saga(loss, start, 7, **common), paper_saga(x, y, w0, order, lr, lam)),
        (svrg(loss, start, 7, **common), paper_svrg(x, y, w0, order, lr, lam, 14)),
        (svrg(loss, start, 7, **common, inner=9), paper_svrg(x, y, w0, order, lr, lam, 9)),
        (svrg(loss, start, 7, **common, inner=1), paper_svrg(x, y, w0, order, lr, lam, 1)),
        (sarah(loss, start, 7, **common), paper_sarah(x, y, w0, order, lr, lam, 7)),
        (sarah(loss, start, 7, **common, inner=9), paper_sarah(x, y, w0, order, lr, lam, 9)),
        (scsg(loss, start, 7, **common, batch=3, lengths=lengths, seed=5), paper_scsg(x, y, w0, order, lr, lam, batches, lengths)),
    ]  # fmt: skip
    for ours, paper in pairs:
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours.numpy(), paper, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(start.numpy(), w0.astype(start.numpy().dtype))


def sklearn_draws(seed, n, count):
    """scikit-learn's sequence: a 32-bit xorshift whose seed is drawn from NumPy's RandomState (utils/_random.pxd)."""
    state, drawn = int(np.random.RandomState(seed).randint(1, np.iinfo(np.int32).max)), []
    for _ in range(count):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        drawn.append(state % 2**31 % n)
    return drawn


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("l1", [None, 0.0, 0.02])
def test_scikit_learns_compiled_solver_to_nine_decimals(cancer, loss, l1):
    x, y, _ = cancer
    epochs, name, is_saga = 8, {"logistic": "log"}.get(loss, loss), l1 is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sag_solver(
            x.copy(), y, loss=name, alpha=LAM * 569, beta=(l1 or 0) * 569, max_iter=epochs, tol=0, random_state=3,
            is_saga=is_saga,
        )[0]  # fmt: skip
    lr = get_auto_step_size((x**2).sum(1).max(), LAM, name, False, n_samples=569, is_saga=is_saga)
    common = dict(lr=lr, steps=epochs * 569, indices=sklearn_draws(3, 569, epochs * 569), l2=LAM)
    if is_saga:
        common |= dict(table="empty", prox=lambda w, lr: w.sign() * (w.abs() - l1 * lr).clamp(min=0) if l1 else w)
    ours = (saga if is_saga else sag)(linear_loss(x, y, loss), torch.zeros(30).double(), 569, **common)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=5e-10)
    assert np.abs(theirs).max() > 0.3
    if l1:
        assert ((theirs == 0) == (ours.numpy() == 0)).all() and 5 < (theirs == 0).sum() < 30


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_minimum_to_machine_precision(cancer, solver):
    x, y, best = cancer
    more = dict(batch=569) if solver is scsg else {}
    w = solver(linear_loss(x, y), torch.zeros(30).double(), 569, lr=0.1 / 0.26, steps=80 * 569, l2=LAM, **more)
    gradient = x.T @ slope(x @ w.numpy(), y) / 569 + LAM * w.numpy()
    assert np.linalg.norm(w.numpy() - best) < 1e-12
    assert np.abs(gradient).max() < 1e-14


def test_published_facts_of_breast_cancer(cancer):
    """Squared distances to the minimum: SAGA 1e-16 or so after 30 epochs, SVRG far below after 12, SGD stays near .3."""
    x, y, best = cancer
    loss, start, big = linear_loss(x, y), torch.zeros(30).double(), 0.25 + LAM
    assert (np.linalg.norm(x, axis=1).max() ** 2 / 4 + LAM) / LAM == pytest.approx(26)

    def distance(w):
        return float(((w.numpy() - best) ** 2).sum())

    tenth = dict(lr=0.1 / big, l2=LAM)
    after = [distance(saga(loss, start, 569, **tenth, steps=30 * 569, seed=seed)) for seed in range(5)]
    assert 1e-20 < np.median(after) < 1e-14
    assert distance(svrg(loss, start, 569, lr=0.05 / big, l2=LAM, steps=12 * 2 * 569)) < 1e-20
    w, far = np.zeros(30), []
    for i in np.random.default_rng(0).integers(569, size=30 * 569):
        w = w - 0.07 / big * (slope(x[i] @ w, y[i]) * x[i] + LAM * w)
        far.append(((w - best) ** 2).sum())
    assert 0.15 < np.mean(far[15 * 569 :]) < 0.45


def test_saga_is_at_least_as_fast_as_theorem_1(cancer):
    """E‖w_k − w*‖² ≤ (1 − min(1/4n, ℓ/3L))^k (‖w_0 − w*‖² + (2n/3L)(gap at w_0)) for a strongly convex f_i."""
    x, y, best = cancer
    big, steps = 0.25 + LAM, 12 * 569

    def loss_of(w):
        return np.mean(np.logaddexp(0, x @ w) - y * (x @ w)) + LAM / 2 * w @ w

    start = (best**2).sum() + 2 * 569 / (3 * big) * (loss_of(np.zeros(30)) - loss_of(best))
    bound = start * (1 - min(1 / (4 * 569), LAM / (3 * big))) ** steps
    kw = dict(lr=1 / (3 * big), steps=steps, l2=LAM)
    reached = [saga(linear_loss(x, y), torch.zeros(30).double(), 569, **kw, seed=seed).numpy() for seed in range(6)]
    assert np.mean([((w - best) ** 2).sum() for w in reached]) < bound


def test_svrg_is_at_least_as_fast_as_theorem_1(cancer):
    x, y, best = cancer
    big, inner = 0.25 + LAM, 20 * 26
    lr = 0.1 / big
    rate = 1 / (LAM * lr * (1 - 2 * big * lr) * inner) + 2 * big * lr / (1 - 2 * big * lr)
    assert rate < 1

    def gap(w):
        z = x @ w
        return np.mean(np.logaddexp(0, z) - y * z) + LAM / 2 * w @ w

    kw = dict(lr=lr, steps=4 * inner, inner=inner, l2=LAM, option="random")
    ends = [svrg(linear_loss(x, y), torch.zeros(30).double(), 569, **kw, seed=s).numpy() for s in range(6)]
    measured = np.mean([gap(w) - gap(best) for w in ends]) / (gap(np.zeros(30)) - gap(best))
    assert measured < rate**4


def directions(solver, x, y, prefix, **more):
    """The n directions that the step after `prefix` may take, by where the solver ends up."""
    loss, start = linear_loss(x, y), torch.tensor(small()[2])
    kw = dict(lr=0.3, l2=0.05, **more)
    here = solver(loss, start, len(x), steps=len(prefix), indices=prefix, **kw).numpy()
    steps = len(prefix) + 1
    ends = [solver(loss, start, len(x), steps=steps, indices=[*prefix, i], **kw).numpy() for i in range(len(x))]
    exact = x.T @ slope(x @ here, y) / len(x) + 0.05 * here
    return (here - np.array(ends)) / 0.3, exact


def test_saga_and_svrg_are_unbiased_sag_and_sarah_are_not():
    x, y, _ = small()
    prefix = [0, 3, 3, 6, 1]
    for solver, more in ((saga, {}), (svrg, dict(inner=9))):
        each, exact = directions(solver, x, y, prefix, **more)
        np.testing.assert_allclose(each.mean(0), exact, rtol=0, atol=1e-12)
        assert np.linalg.norm(each - exact) > 0.05
    for solver, more in ((sag, {}), (sarah, dict(inner=9)), (scsg, dict(batch=3, lengths=[20]))):
        each, exact = directions(solver, x, y, prefix, **more)
        assert np.linalg.norm(each.mean(0) - exact) > 0.01


def test_the_variance_vanishes_at_the_minimum():
    x, y, _ = small(n=30)
    loss, start, every = linear_loss(x, y), torch.zeros(4).double(), np.tile(np.arange(30), 800)
    for solver, more in ((saga, {}), (svrg, {}), (sag, {}), (sarah, {}), (scsg, dict(batch=30))):
        kw = dict(lr=0.1, l2=0.1, **more)
        w = solver(loss, start, 30, steps=24000, indices=every, **kw)
        moved = [solver(loss, w, 30, steps=1, indices=[i], **kw) for i in range(30)] if solver is not sag else [w]
        assert max(float((m - w).norm()) for m in moved) < 1e-14
        assert np.abs(x.T @ slope(x @ w.numpy(), y) / 30 + 0.1 * w.numpy()).max() < 1e-14
    at = x * slope(x @ w.numpy(), y)[:, None]
    assert at.std(0).max() > 0.1  # plain SGD would go on trembling here


def test_sarahs_inner_loop_converges_and_svrgs_does_not():
    """Theorem 1 of the SARAH paper: within one loop E‖v‖² goes to 0; SVRG's direction keeps its noise."""
    x, y, _ = small(n=40)
    path = {}
    for solver in (sarah, svrg):
        points = [torch.ones(4).double()]
        solver(
            linear_loss(x, y), points[0], 40, lr=0.2, steps=4000, l2=0.3, inner=4000,
            callback=lambda step, w, points=points: points.append(w),
        )  # fmt: skip
        path[solver] = np.linalg.norm(np.diff(torch.stack(points).numpy(), axis=0), axis=1)
    assert path[sarah][-100:].max() < 1e-12
    assert path[svrg][-100:].mean() > 1e-3


def test_special_cases_are_gradient_descent():
    x, y, w0 = small()
    loss, start = linear_loss(x, y), torch.tensor(w0)
    w, points = w0, []
    for _ in range(5):
        w = w - 0.3 * x.T @ slope(x @ w, y) / 7
        points.append(w)
    np.testing.assert_allclose(svrg(loss, start, 7, lr=0.3, steps=5, inner=1).numpy(), w, atol=1e-14)
    full = scsg(loss, start, 7, lr=0.3, steps=5, batch=100, lengths=[1] * 5)
    np.testing.assert_allclose(full.numpy(), w, atol=1e-14)
    one = linear_loss(x[:1], y[:1])
    alone = [s(one, start, 1, lr=0.3, steps=5) for s in (sag, saga, svrg, scsg)]
    for w in alone[1:]:
        np.testing.assert_allclose(w, alone[0], atol=1e-14)


def test_options_of_the_inner_loop():
    x, y, w0 = small()
    loss, start = linear_loss(x, y), torch.tensor(w0)
    for solver, first, last in ((svrg, 0, 5), (sarah, 0, 7)):
        seen = [start]
        solver(loss, start, 7, lr=0.3, steps=5, callback=lambda step, w, seen=seen: seen.append(w))
        if solver is sarah:  # the step along the full gradient is not reported
            seen.insert(1, start - 0.3 * torch.tensor(x.T @ slope(x @ w0, y) / 7))
        looked_at = torch.stack(seen)[first:last]
        average = solver(loss, start, 7, lr=0.3, steps=5, option="average")
        torch.testing.assert_close(average, looked_at.mean(0), rtol=0, atol=1e-14)
        # the seed decides both the order and the choice, so the order is given here
        kw = dict(lr=0.3, steps=5, indices=np.random.default_rng(0).integers(7, size=5), option="random")
        drawn = torch.stack([solver(loss, start, 7, **kw, seed=s) for s in range(200)])
        counts = [torch.isclose(drawn, point, rtol=0, atol=1e-14).all(1).sum().item() for point in looked_at]
        assert sum(counts) == 200 and min(counts) > 200 / len(counts) / 2.5


@pytest.mark.parametrize("m", [2, 5])
def test_a_random_iterate_is_each_one_equally_often(m):
    counts = np.zeros((2, m))
    for seed in range(3000):
        hand_on = HandOn("random", seed)
        for loop in range(2):
            for k in range(m):
                hand_on.add(k)
            counts[loop, hand_on.take(-1)] += 1
    assert counts.sum() == 6000
    for loop in counts:
        assert chisquare(loop).pvalue > 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("path", ["linear", "general"])
def test_a_prox_with_a_graph_leaves_none(solver, path):
    x, y, w0 = small()
    shrink = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    kw = dict(lr=0.1, steps=9)
    seen = []
    w = solver(losses(x, y)[path], torch.tensor(w0), 7, prox=lambda w, lr: w * shrink, callback=lambda step, w: seen.append(w), **kw)  # fmt: skip
    assert not any(v.requires_grad for v in (w, *seen))
    plain = solver(losses(x, y)[path], torch.tensor(w0), 7, prox=lambda w, lr: w * 0.9, **kw)
    torch.testing.assert_close(w, plain, rtol=0, atol=0)


def test_lengths_and_batches_of_scsg_are_those_of_the_paper():
    """The lengths are geometric with mean B, and the default batch is j^1.5."""
    x, y, w0 = small()
    calls = []

    def batch(j):
        calls.append(j)
        return 4

    scsg(linear_loss(x, y), torch.tensor(w0), 7, lr=1e-3, steps=20000, batch=batch)
    assert calls == list(range(1, len(calls) + 1))
    assert 20000 / len(calls) == pytest.approx(4, rel=0.06)
    kw = dict(lr=0.3, steps=60, seed=2)
    np.testing.assert_array_equal(
        scsg(linear_loss(x, y), torch.tensor(w0), 7, **kw),
        scsg(linear_loss(x, y), torch.tensor(w0), 7, **kw, batch=lambda j: int(np.ceil(j**1.5))),
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_both_paths_any_shape_and_a_loss_of_ones_own(solver):
    x, y, w0 = small(d=6)
    start = torch.tensor(w0).reshape(2, 3)
    soft = dict(prox=lambda w, lr: w.sign() * (w.abs() - 0.1 * lr).clamp(min=0))
    kw = dict(lr=0.2, steps=50, l2=0.1, **soft)
    built_in = solver(linear_loss(x, y, "squared"), start, 7, **kw)
    own = solver(linear_loss(x, y, lambda z, y: (z - y) ** 2 / 2), start, 7, **kw)
    fast = linear_loss(x, y, "squared")
    general = solver(lambda w, i: fast(w, i), start, 7, **kw)
    matrix = solver(lambda w, i: fast(w.reshape(-1), i), start, 7, **kw)
    for other in (own, general, matrix):
        torch.testing.assert_close(other, built_in, rtol=0, atol=1e-13)
    assert built_in.shape == (2, 3) and built_in.dtype == torch.float64
    torch.testing.assert_close(start, torch.tensor(w0).reshape(2, 3), rtol=0, atol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_many_examples_in_chunks_and_a_scalar_w(solver):
    values = torch.linspace(-1, 1, 2500).double() ** 2
    w = solver(lambda w, i: (w - values[i]) ** 2 / 2, torch.tensor(3.0).double(), 2500, lr=0.3, steps=0)
    assert w.shape == () and float(w) == 3
    kw = dict(lr=1.0, steps=1, indices=[7]) | (dict(batch=2500, lengths=[1]) if solver is scsg else {})
    once = solver(lambda w, i: (w - values[i]) ** 2 / 2, w, 2500, **kw)
    expected = values[7] if solver is sag else values.mean()
    assert float(once) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("path", ["linear", "general"])
def test_the_callback_sees_every_step_and_can_stop(solver, path):
    x, y, w0 = small()
    loss, start, seen = losses(x, y)[path], torch.tensor(w0), []
    end = solver(loss, start, 7, lr=0.1, steps=20, callback=lambda step, w: seen.append((step, w)))
    assert [step for step, _ in seen] == list(range(1, 21))
    torch.testing.assert_close(seen[-1][1], end, rtol=0, atol=0)
    assert len({w.data_ptr() for _, w in seen}) == 20
    stopped = solver(loss, start, 7, lr=0.1, steps=20, callback=lambda step, w: torch.tensor(step == 5))
    torch.testing.assert_close(stopped, seen[4][1], rtol=0, atol=0)
    again = solver(loss, start, 7, lr=0.1, steps=5, **(dict(inner=20) if solver in (svrg, sarah) else {}))
    torch.testing.assert_close(stopped, again, rtol=0, atol=0)


def test_the_drawn_indices_are_those_documented():
    x, y, w0 = small()
    for solver in SOLVERS:
        drawn = np.random.default_rng(4).integers(7, size=30)
        kw = dict(lr=0.1, steps=30, seed=4)
        first = solver(linear_loss(x, y), torch.tensor(w0), 7, **kw)
        for given in (drawn, drawn.tolist(), torch.tensor(drawn), [*drawn, 0, 0]):
            assert torch.equal(first, solver(linear_loss(x, y), torch.tensor(w0), 7, **kw, indices=given))


def test_a_table_costs_what_is_said():
    x, y, _ = small()
    fast = linear_loss(x, y)
    assert table_bytes(fast, torch.zeros(2, 2), 7) == 7 * 4
    assert table_bytes(fast, torch.zeros(4).double(), 7) == 7 * 8
    assert table_bytes(lambda w, i: fast(w, i), torch.zeros(2, 2).double(), 7) == 7 * 4 * 8


def test_a_learning_rate_too_large_diverges_in_silence():
    x, y, w0 = small()
    for solver in SOLVERS:
        for loss in losses(x * 100, y).values():
            w = solver(loss, torch.tensor(w0), 7, lr=1e300, steps=30, l2=1.0)
            assert not w.isfinite().all()


def test_the_model_answer_of_the_exercise_is_our_saga():
    start, order = exercise.START, exercise.ORDER
    w, table = start, np.array([exercise._gradient(start, i) for i in range(5)])
    mean = table.mean(0)
    for i in order:
        w, table, mean = exercise.saga(w, i, table, mean, exercise._gradient, 0.1)
    loss = linear_loss(exercise.ROWS, exercise.TARGETS, "squared")
    ours = saga(loss, torch.tensor(start), 5, lr=0.1, steps=len(order), indices=order)
    np.testing.assert_allclose(w, ours.numpy(), rtol=0, atol=1e-13)
