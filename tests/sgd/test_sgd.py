"""Three truths for SGD: the papers in NumPy, torch.optim.SGD, and facts of mathematics."""

import copy
import itertools

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)

H = np.diag([1.0, 10.0, 100.0])  # a quadratic with kappa = 100
START = np.array([1.0, -2.0, 0.5])
DECAY = 0.05


def iterates(face, steps, grad=lambda x: H @ x, start=START, **kw):
    """The points dlopt.SGD visits on a quadratic, in float64."""
    w = torch.tensor(start, requires_grad=True)
    opt = dlopt.SGD([w], **kw)
    points = [start]
    with faces.use(face):
        for _ in range(steps):
            w.grad = torch.tensor(grad(w.detach().numpy()))
            opt.step()
            points.append(w.detach().numpy().copy())
    return np.array(points)


# The papers


@each_face
def test_polyak_1964(face):
    """x+ = x - a grad f(x) + b (x - x-), with f's own L2 term as the coupled decay."""
    a, b = 0.005, 0.8
    x, before = START.copy(), START.copy()
    expected = [x]
    for _ in range(100):
        x, before = x - a * (H @ x + DECAY * x) + b * (x - before), x
        expected.append(x)
    points = iterates(face, 100, lr=a, momentum=b, weight_decay=DECAY)
    np.testing.assert_allclose(points, expected, rtol=1e-11, atol=1e-14)


@each_face
def test_nesterov_after_the_shift_of_sutskever_2013(face):
    """v = mu v - e grad f(x + mu v); x += v. The optimizer holds x + mu v; unshifted the two differ."""
    e, mu = 0.005, 0.8
    x, v = START.copy(), np.zeros(3)
    shifted, unshifted = [x], [x]
    for _ in range(100):
        y = x + mu * v
        v = mu * v - e * (H @ y + DECAY * y)
        x = x + v
        shifted.append(x + mu * v)
        unshifted.append(x)
    points = iterates(face, 100, lr=e, momentum=mu, nesterov=True, weight_decay=DECAY)
    np.testing.assert_allclose(points, shifted, rtol=1e-11, atol=1e-14)
    assert np.abs(points - unshifted).max() > 1e-3


@each_face
def test_sgdw_loshchilov_hutter_algorithm_1(face):
    """m = b1 m + a g; x = x - m - eta lambda x, with a = eta = lr at a constant rate."""
    a, b1 = 0.005, 0.8
    x, m = START.copy(), np.zeros(3)
    expected = [x]
    for _ in range(100):
        m = b1 * m + a * (H @ x)
        x = x - m - a * DECAY * x
        expected.append(x)
    points = iterates(face, 100, lr=a, momentum=b1, weight_decay=DECAY, decoupled_weight_decay=True)
    np.testing.assert_allclose(points, expected, rtol=1e-11, atol=1e-14)


@each_face
def test_lr_inside_the_velocity_is_the_same_only_at_a_constant_rate(face):
    """v = mu v + lr g; x -= v is torch's form until lr changes."""

    def inside(rates):
        x, v = START.copy(), np.zeros(3)
        for lr in rates:
            v = 0.9 * v + lr * (H @ x)
            x = x - v
        return x

    def ours(rates):
        w = torch.tensor(START, requires_grad=True)
        opt = dlopt.SGD([w], lr=1.0, momentum=0.9)
        with faces.use(face):
            for lr in rates:
                opt.param_groups[0]["lr"] = lr
                w.grad = torch.tensor(H @ w.detach().numpy())
                opt.step()
        return w.detach().numpy()

    constant, dropped = [0.005] * 40, [0.005] * 20 + [0.0005] * 20
    np.testing.assert_allclose(ours(constant), inside(constant), rtol=1e-11)
    assert np.abs(ours(dropped) - inside(dropped)).max() > 1e-3


# torch

SETTINGS = [
    dict(lr=0.01, momentum=m, dampening=d, weight_decay=w, nesterov=n, maximize=x)
    for m, d, w, n, x in itertools.product((0, 0.9), (0, 0.3), (0, 0.1), (False, True), (False, True))
    if not (n and (m == 0 or d))
]


@each_face
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["float64", "complex128"])
def test_torch_sgd(face, setting, dtype):
    g = torch.Generator().manual_seed(0)
    start = [torch.randn(s, generator=g, dtype=dtype) + 3 for s in ((5, 3), (), (7,))]
    ours, theirs = ([t.clone().requires_grad_() for t in start] for _ in range(2))
    a, b = dlopt.SGD(ours, **setting), torch.optim.SGD(theirs, **setting)
    for k in range(100):
        for p, q in zip(ours, theirs, strict=True):
            q.grad = 0.1 * torch.randn(q.shape, generator=g, dtype=dtype) + 0.01 * q.detach() * (-1) ** k
            p.grad = q.grad.clone()
        with faces.use(face):
            a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
    keys = [entry.keys() for entry in a.state_dict()["state"].values()]
    assert keys == [entry.keys() for entry in b.state_dict()["state"].values()]


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s["momentum"]], ids=str)
@each_face
def test_torch_checkpoint_in_and_out(face, setting):
    torch.manual_seed(0)
    grads = torch.randn(20, 6, dtype=torch.float64)

    def train(opt, w, part):
        for grad in part:
            w.grad = grad.clone()
            with faces.use(face):
                opt.step()

    def relay(first, second):
        w = torch.ones(6, dtype=torch.float64, requires_grad=True)
        opt = first([w], **setting)
        train(opt, w, grads[:10])
        v = w.detach().clone().requires_grad_()
        again = second([v], **{**setting, "lr": 99.0})
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        train(again, v, grads[10:])
        return v

    expected = relay(torch.optim.SGD, torch.optim.SGD)
    for pair in itertools.product((dlopt.SGD, torch.optim.SGD), repeat=2):
        torch.testing.assert_close(relay(*pair), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "kw, words",
    [
        (dict(lr=-0.1), "Invalid learning rate: -0.1"),
        (dict(lr=torch.tensor([0.1, 0.1])), "Tensor lr must be 1-element"),
        (dict(lr=0.1, momentum=-0.5), "Invalid momentum value: -0.5"),
        (dict(lr=0.1, weight_decay=-1), "Invalid weight_decay value: -1"),
        (dict(lr=0.1, nesterov=True), "Nesterov momentum requires a momentum and zero dampening"),
        (dict(lr=0.1, momentum=0.9, dampening=0.1, nesterov=True), "Nesterov momentum requires a momentum"),
        (dict(lr=0.1, fused=True, foreach=True), "`fused` and `foreach` cannot be `True` together."),
        (dict(lr=0.1, fused=True, differentiable=True), "`fused` does not support `differentiable`"),
    ],
)
def test_refuses_as_torch_does(kw, words):
    messages = []
    for optimizer in (dlopt.SGD, torch.optim.SGD):
        with pytest.raises((ValueError, RuntimeError), match=words) as raised:
            optimizer([torch.ones(2, requires_grad=True)], **kw)
        messages.append((raised.type, str(raised.value)))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", ["momentum", "dampening", "weight_decay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.9", None])
def test_refuses_where_torch_forgets(name, value):
    with pytest.raises(ValueError, match=f"Invalid {name} value"):
        dlopt.SGD([torch.ones(2, requires_grad=True)], lr=0.1, **{name: value})


# Facts


def one_step_map(h, **kw):
    """The linear map (p, b) -> (p', b') of one step on h p^2 / 2, read off the optimizer itself; p alone without b."""
    columns = []
    states = ((1.0, 0.0), (0.0, 1.0)) if kw.get("momentum") else ((1.0, 0.0),)
    for p, b in states:
        w = torch.tensor([p], dtype=torch.float64, requires_grad=True)
        opt = dlopt.SGD([w], **kw)
        opt.state[w]["momentum_buffer"] = torch.tensor([b], dtype=torch.float64)
        w.grad = h * w.detach()
        opt.step()
        columns.append([w.item(), opt.state[w]["momentum_buffer"].item()][: len(states)])
    return np.array(columns).T


def radius(h, **kw):
    return abs(np.linalg.eigvals(one_step_map(h, **kw))).max()


L, MU = 100.0, 1.0
KAPPA = L / MU
ROOT = np.sqrt(3 * L + MU)


@pytest.mark.parametrize(
    "kw, expected",
    [
        (dict(lr=2 / (L + MU)), 0.980198),
        (dict(lr=4 / (np.sqrt(L) + np.sqrt(MU)) ** 2, momentum=((np.sqrt(L) - 1) / (np.sqrt(L) + 1)) ** 2), 0.818182),
        (dict(lr=1 / L, momentum=(1 - KAPPA**-0.5) / (1 + KAPPA**-0.5), nesterov=True), 0.900000),
        (dict(lr=4 / (3 * L + MU), momentum=(ROOT - 2) / (ROOT + 2), nesterov=True), 0.884722),
    ],
    ids=["gradient descent", "heavy ball", "Nesterov", "Nesterov, tuned"],
)
def test_rates_at_kappa_100(kw, expected):
    """Lessard, Recht & Packard 2016, table 1: the largest radius over the spectrum."""
    worst = max(radius(h, **kw) for h in np.geomspace(MU, L, 101))
    assert worst == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("nesterov", [False, True])
def test_edge_of_stability(beta, nesterov):
    """lr * h up to 2 + 2 beta for heavy ball, (2 + 2 beta) / (1 + 2 beta) for Nesterov."""
    edge = (2 + 2 * beta) / (1 + 2 * beta) if nesterov else 2 + 2 * beta
    kw = dict(momentum=beta, nesterov=nesterov)
    assert radius(1.0, lr=0.999 * edge, **kw) < 1 < radius(1.0, lr=1.001 * edge, **kw)
    assert radius(1.0, lr=edge, **kw) == pytest.approx(1, abs=1e-12)


def test_stationary_variance_of_heavy_ball():
    """C = M C M' + n n' with the optimizer's own M: lr s^2 (1 + b) / (h (1 - b) (2 (1 + b) - lr h))."""
    lr, beta = 0.1, 0.9
    m = one_step_map(1.0, lr=lr, momentum=beta)
    n = np.array([-lr, 1.0])  # what unit noise in the gradient does to (p, b)
    covariance = np.linalg.solve(np.eye(4) - np.kron(m, m), np.kron(n, n)).reshape(2, 2)
    assert covariance[0, 0] == pytest.approx(0.513514, abs=1e-6)
    assert covariance[0, 0] == pytest.approx(lr * (1 + beta) / ((1 - beta) * (2 * (1 + beta) - lr)), rel=1e-12)


def test_gradient_descent_on_nesterovs_tridiagonal_function():
    """No first-order method beats 3 L |x0 - x*|^2 / (32 (k+1)^2) here (Nesterov 2004, theorem 2.1.7)."""
    d, k, big = 101, 50, 4.0
    matrix = big / 4 * (2 * np.eye(d) - np.eye(d, k=1) - np.eye(d, k=-1))
    target = np.linalg.solve(matrix, big / 4 * np.eye(d)[0])
    last = iterates("numpy", k, grad=lambda x: matrix @ (x - target), start=np.zeros(d), lr=1 / big)[-1]
    gap = 0.5 * (last - target) @ matrix @ (last - target)
    assert gap / (3 * big * (target @ target) / (32 * (k + 1) ** 2)) == pytest.approx(10.59, abs=0.005)


@each_face
def test_dampening_spares_the_first_step(face):
    first, second = (
        iterates(face, n, grad=lambda x: np.ones(3), lr=1.0, momentum=0.5, dampening=0.75)[-1] for n in (1, 2)
    )
    np.testing.assert_array_equal(first, START - 1.0)
    np.testing.assert_array_equal(second, first - (0.5 + 0.25))
