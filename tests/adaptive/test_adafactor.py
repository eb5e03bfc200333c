"""Adafactor: Shazeer and Stern's algorithms 4 and 5 in NumPy, both conventions, and facts of mathematics.

torch.optim.Adafactor is the oracle of tests/adaptive/test_torch.py.
"""

import numpy as np
import pytest
import torch

import dlopt

EPS = float(np.finfo(np.float64).eps)


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def paper(x, gradients, lr=1e-2, exponent=-0.8, eps1=1e-30, eps2=1e-3, d=1.0, decay=0.0, torchs=False):
    """Algorithm 4 for matrices (the last two dimensions of more), algorithm 5 for vectors; the points visited.

    With `torchs`, torch's reading of eps1: not added to the squared gradient, but the least value of the row
    factor's mean, and its square the least second moment. Decay, which the paper has not, is decoupled.
    """
    x = np.array(x, dtype=np.float64)
    row, column, whole = 0.0, 0.0, 0.0
    points = [x]
    for t, g in enumerate(gradients, 1):
        rho = min(lr, 1 / np.sqrt(t))
        alpha = max(eps2, rms(x)) * rho
        beta = 1 - t**exponent
        square = g**2 + (0 if torchs else eps1)
        if x.ndim >= 2:
            n, m = x.shape[-2:]
            row = beta * row + (1 - beta) * square.sum(-1) / (m if torchs else 1)  # G^2 1_m
            column = beta * column + (1 - beta) * square.sum(-2) / (n if torchs else 1)  # 1_n' G^2
            total = row.sum(-1)[..., None, None]  # 1_n' R
            outer = row[..., :, None] * column[..., None, :]
            v = outer / np.maximum(total / n, eps1) if torchs else outer / total
        else:
            v = whole = beta * whole + (1 - beta) * square
        u = g / np.sqrt(np.maximum(v, eps1**2) if torchs else v)
        u = u / max(1, rms(u) / d)
        x = x - alpha * u - lr * decay * x
        points.append(x)
    return np.array(points)


def ours(x, gradients, **kw):
    w = torch.tensor(np.array(x), dtype=torch.float64, requires_grad=True)
    opt = dlopt.Adafactor([w], **kw)
    points = [w.detach().numpy().copy()]
    for g in gradients:
        w.grad = torch.tensor(g)
        opt.step()
        points.append(w.detach().numpy().copy())
    return np.array(points)


def draws(shape, steps=40, seed=0):
    """Gradients whose size jumps: some steps are clipped, some not."""
    rng = np.random.default_rng(seed)
    scale = np.where(np.arange(steps) % 7 == 3, 20.0, 1.0)
    return [s * rng.normal(size=shape) * (1 + np.arange(shape[-1] if shape else 1)) for s in scale]


def start(shape):
    return np.random.default_rng(1).normal(size=shape) + 1


SHAPES = [(5, 4), (4, 5), (1, 6), (6, 1), (7,), (1,), (2, 3, 4), (3, 2, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize(
    "kw",
    [
        dict(weight_decay=0.05),
        dict(weight_decay=0.1, lr=0.5, beta2_decay=-0.5, d=2.0),
        dict(weight_decay=0.1, lr=0.1, eps=(1e-1, 10.0)),
    ],
    ids=str,
)
def test_algorithms_4_and_5(shape, convention, kw):
    grads = [g.reshape(shape) for g in draws(shape)]
    names = {"weight_decay": "decay", "beta2_decay": "exponent", "lr": "lr", "d": "d"}
    asked = {names[k]: v for k, v in kw.items() if k in names}
    eps1, eps2 = kw.get("eps", (1e-30 if convention == "paper" else EPS, 1e-3))
    expected = paper(start(shape), grads, eps1=eps1, eps2=eps2, torchs=convention == "torch", **asked)
    points = ours(start(shape), grads, convention=convention, **kw)
    np.testing.assert_allclose(points, expected, rtol=1e-10, atol=1e-13)


def test_a_number_without_dimensions():
    grads = [np.array(g) for g in (1.0, -2.0, 30.0, 0.1)]
    for convention in ("torch", "paper"):
        expected = paper(2.0, grads, eps1=1e-30 if convention == "paper" else EPS, torchs=convention == "torch")
        np.testing.assert_allclose(ours(2.0, grads, convention=convention), expected, rtol=1e-12)


def test_the_conventions_differ_by_eps_alone():
    """For gradients of ordinary size the two agree; for tiny ones they do not."""
    grads = draws((4, 3))
    torchs, papers = (ours(start((4, 3)), grads, convention=c) for c in ("torch", "paper"))
    np.testing.assert_allclose(torchs, papers, rtol=1e-12)
    tiny = [1e-12 * g for g in draws((4, 3))]
    eps = {"torch": (1e-7, 1e-3), "paper": (1e-30, 1e-3)}  # their defaults, torch's in float32
    torchs, papers = (ours(start((4, 3)), tiny, convention=c, eps=eps[c]) for c in ("torch", "paper"))
    assert abs(papers[1] - papers[0]).max() > 1e-3 > 1e3 * abs(torchs[1] - torchs[0]).max()


# Facts


def second_moment(opt, w):
    """What the factors stand for: R C / mean(R)."""
    row, column = (opt.state[w][key].double() for key in ("row_var", "col_var"))
    return row * column / row.mean(-2, keepdim=True)


def after(grads, **kw):
    w = torch.ones(grads[0].shape, dtype=torch.float64, requires_grad=True)
    opt = dlopt.Adafactor([w], **kw)
    for g in grads:
        w.grad = torch.as_tensor(g)
        opt.step()
    return opt, w


def test_rank_one_second_moments_are_exact():
    """If every squared gradient is a multiple of one product a b', factoring loses nothing."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.1, 10, (6, 1)), rng.uniform(0.01, 1, (1, 5))
    grads = [rng.normal() * np.sqrt(a * b) * rng.choice([-1, 1], (6, 5)) for _ in range(20)]
    v = 0.0
    for t, g in enumerate(grads, 1):
        v = (1 - t**-0.8) * v + t**-0.8 * g**2
    np.testing.assert_allclose(second_moment(*after(grads)), v, rtol=1e-12)


def test_factors_minimize_the_generalized_divergence():
    """Of all matrices r c', the means' one has the least sum of V log(V / A) - V + A; and it keeps the sums."""
    rng = np.random.default_rng(0)
    v = rng.exponential(size=(6, 5)) + 1e-3
    best = second_moment(*after([np.sqrt(v)])).numpy()  # beta2 is 0 on the first step
    np.testing.assert_allclose(best.sum(0), v.sum(0), rtol=1e-12)
    np.testing.assert_allclose(best.sum(1), v.sum(1), rtol=1e-12)

    def divergence(a):
        return (v * np.log(v / a) - v + a).sum()

    for scale in (1e-3, 0.1, 1.0):
        for _ in range(50):
            other = best * np.exp(scale * rng.normal(size=(6, 1))) * np.exp(scale * rng.normal(size=(1, 5)))
            assert divergence(other) > divergence(best)
    u, s, w = np.linalg.svd(v)
    assert divergence(np.abs(s[0] * np.outer(u[:, 0], w[0]))) > divergence(best)  # least squares is another one


@pytest.mark.parametrize("shape", [(6, 4), (5,)], ids=str)
def test_a_step_is_a_share_of_the_parameters_own_size(shape):
    """Parameters c times larger with any gradients: c times the step. The rate has no unit."""
    grads = draws(shape)
    one, ten = (ours(c * start(shape), grads, lr=0.05) for c in (1.0, 10.0))
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-10)


def test_the_relative_step():
    """min(lr, 1 / sqrt(t)) times max(eps2, RMS): of gradients that are all one, the whole step."""
    points = ours(np.zeros((2, 2)), [np.ones((2, 2))] * 6, lr=0.5, eps=(None, 1.0))
    lengths = [rms(step) for step in np.diff(points, axis=0)]
    sizes = [max(1.0, rms(p)) for p in points[:-1]]
    np.testing.assert_allclose(lengths, [min(0.5, t**-0.5) * s for t, s in enumerate(sizes, 1)], rtol=1e-12)


@pytest.mark.parametrize("d", [1.0, 3.0])
def test_clipping_bounds_the_update(d):
    """After a hundred small gradients a large one: the update's RMS is d, not what 1 / sqrt(1 - beta2) allows."""
    grads = [np.ones((3, 3)) * (1000.0 if t == 99 else 1.0) for t in range(100)]
    points = ours(np.ones((3, 3)), grads, lr=1e-3, d=d)
    assert rms(points[-1] - points[-2]) == pytest.approx(1e-3 * rms(points[-2]) * d, rel=1e-9)
    assert 100**0.4 > d  # unclipped it would have been about as long as that


def test_the_first_step_forgets_nothing_and_the_last_almost_nothing():
    """beta2 is 0 at t = 1 and rises as 1 - t^-0.8."""
    opt, w = after([np.full((2, 2), 3.0)])
    assert opt.state[w]["row_var"].tolist() == [[9.0], [9.0]]
    w.grad = torch.full((2, 2), 1.0, dtype=torch.float64)
    opt.step()
    assert opt.state[w]["row_var"][0, 0].item() == pytest.approx(9 - 8 * 2**-0.8)


@pytest.mark.parametrize(
    "shape, state",
    [
        ((), {"variance": ()}),
        ((7,), {"variance": (7,)}),
        ((5, 4), {"row_var": (5, 1), "col_var": (1, 4)}),
        ((2, 3, 4), {"row_var": (2, 3, 1), "col_var": (2, 1, 4)}),
        ((8, 3, 5, 5), {"row_var": (8, 3, 5, 1), "col_var": (8, 3, 1, 5)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_state_shapes_and_dtypes(shape, state, dtype):
    w = torch.ones(shape, dtype=dtype, requires_grad=True)
    opt = dlopt.Adafactor([w])
    w.grad = torch.full(shape, 0.5, dtype=dtype)
    opt.step()
    kept = {k: v for k, v in opt.state[w].items() if k != "step" and v is not None}
    assert {k: tuple(v.shape) for k, v in kept.items()} == state
    assert {v.dtype for v in kept.values()} == {torch.float64 if dtype is torch.float64 else torch.float32}


def test_a_step_allocates_two_tensors_as_large_as_the_parameter():
    """One in which the change is made, one for what the parameter becomes."""
    w = torch.ones(500, 400, requires_grad=True)
    w.grad = torch.ones(500, 400)
    opt = dlopt.Adafactor([w], weight_decay=0.1)
    opt.step()
    with torch.profiler.profile(profile_memory=True) as profile:
        opt.step()
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    assert 2 * w.nbytes <= allocated < 2.1 * w.nbytes


def test_bfloat16_is_float32_rounded_at_the_end():
    """Every step is computed in float32, from the rounded parameter and with the eps asked for."""
    g = torch.Generator().manual_seed(0)
    w = torch.randn(4, 3, generator=g).bfloat16().requires_grad_()
    wide = w.detach().float().requires_grad_()
    half, whole = (dlopt.Adafactor([p], lr=0.1, eps=(1e-7, 1e-3), weight_decay=0.1) for p in (w, wide))
    for _ in range(10):
        w.grad = torch.randn(4, 3, generator=g).bfloat16()
        wide.grad = w.grad.float()
        half.step(), whole.step()
        with torch.no_grad():
            wide.copy_(wide.bfloat16())
        torch.testing.assert_close(w.detach().float(), wide.detach(), rtol=2**-7, atol=0)
        torch.testing.assert_close(half.state[w]["row_var"], whole.state[wide]["row_var"], rtol=1e-6, atol=0)
        with torch.no_grad():
            wide.copy_(w)


def test_a_filter_is_factored_over_its_last_two_dimensions_only():
    """A stack of matrices takes the steps of its matrices, but for clipping and scale, which are the tensor's."""
    grads = draws((2, 4, 3), steps=1)
    whole = ours(np.ones((2, 4, 3)), grads, d=1e6)
    for i in range(2):
        alone = ours(np.ones((4, 3)), [g[i] for g in grads], d=1e6)
        np.testing.assert_allclose(whole[:, i], alone, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("convention", ["torch", "paper"])
def test_zero_size(shape, convention):
    w, other = torch.ones(shape, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    opt = dlopt.Adafactor([w, other], convention=convention)
    w.grad, other.grad = torch.ones(shape), torch.ones(2, 2)
    opt.step()
    opt.step()
    assert w.shape == shape and other.isfinite().all() and (other < 1).all()


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_zero_gradient_moves_nothing(convention, dtype):
    for shape in ((3, 2), (4,)):
        w = torch.ones(shape, dtype=dtype, requires_grad=True)
        opt = dlopt.Adafactor([w], convention=convention)
        for _ in range(3):
            w.grad = torch.zeros_like(w)
            opt.step()
        assert (w == 1).all()


@pytest.mark.parametrize("shape", [(2, 2), (4,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_torchs_least_second_moment_is_that_of_the_parameters_dtype(dtype, shape):
    """A gradient of a quarter of the machine epsilon is divided by the whole."""
    w = torch.ones(shape, dtype=dtype, requires_grad=True)
    w.grad = torch.full_like(w, torch.finfo(dtype).eps / 4)
    dlopt.Adafactor([w], lr=1.0).step()
    assert (w == 0.75).all()


@pytest.mark.parametrize("size", [1e-14, 1e-12, 1e12])
def test_squares_of_squares_do_not_leave_float32(size):
    """R C is a fourth power of the gradient: it must not be formed. torch's default eps ends in steps of 0."""
    for convention in ("paper", "torch") if size > 1 else ("paper",):
        w = torch.ones(3, 2, requires_grad=True)
        w.grad = torch.full((3, 2), size)
        dlopt.Adafactor([w], lr=0.1, convention=convention).step()
        torch.testing.assert_close(w.detach(), torch.full((3, 2), 0.9), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "kw",
    [
        *(dict(lr=x) for x in (-1, float("nan"), float("inf"), "0.1", None, torch.ones(2))),
        *(dict(beta2_decay=x) for x in (0.1, float("nan"), float("-inf"), "-0.8", None)),
        *(dict(eps=x) for x in ((-1, 1e-3), (None, -1e-3), (None, float("nan")), (float("inf"), 1e-3), (None, None))),
        *(dict(eps=x) for x in (1e-3, None, (1e-30,), (1e-30, 1e-3, 1.0), ("a", 1e-3))),
        *(dict(d=x) for x in (0.5, -1, float("nan"), float("inf"), "1", None)),
        *(dict(weight_decay=x) for x in (-0.1, float("nan"), float("inf"), "0.1", None)),
        *(dict(convention=x) for x in ("Paper", "", None, 1)),
    ],
    ids=str,
)
def test_bad_hyperparameters_are_refused(kw):
    w = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(ValueError):
        dlopt.Adafactor([w], **kw)
    with pytest.raises(ValueError):
        dlopt.Adafactor([dict(params=[w], **kw)])


def test_what_it_cannot_take_is_refused_before_anything_changes():
    w = torch.ones(3, 3, requires_grad=True)
    opt = dlopt.Adafactor([w])
    w.grad = torch.eye(3).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        opt.step()
    assert (w == 1).all() and not opt.state[w]
    z = torch.ones(2, 2, dtype=torch.complex64, requires_grad=True)
    z.grad = torch.ones_like(z)
    with pytest.raises(RuntimeError, match="complex"):
        dlopt.Adafactor([z]).step()
