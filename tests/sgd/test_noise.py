import itertools
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import dlopt
from dlopt import lab
from dlopt.sgd import example_gradients, gradient_covariance, stationary_covariance, stationary_variance
from tests.sgd.exercises.stochastic_gradients import batch_error

METHODS = [(0.0, False), (0.9, False), (0.5, False), (0.9, True), (0.5, True)]


def state_space(lr, h, mu, nesterov):
    """Point and buffer after one step as a matrix, and how unit noise enters; written from torch's update."""
    d = len(h)
    eye, zero = np.eye(d), np.zeros((d, d))
    buffer = np.hstack([h, mu * eye])  # b' = mu b + H x + noise
    move = np.hstack([h, zero]) + mu * buffer if nesterov else buffer
    point = np.hstack([eye, zero]) - lr * move
    enters = np.vstack([-lr * (1 + mu if nesterov else 1) * eye, eye])
    return np.vstack([point, buffer]), enters


def lyapunov(lr, h, c, mu, nesterov):
    step, enters = state_space(lr, h, mu, nesterov)
    return scipy.linalg.solve_discrete_lyapunov(step, enters @ c @ enters.T)[: len(h), : len(h)]


# The stationary spread


def test_facts():
    assert stationary_variance(0.1, 1.0, momentum=0.9) == pytest.approx(0.513514, abs=1e-6)
    assert stationary_variance(0.1, 2.0, 3.0) == pytest.approx(0.1 * 3 / (2 * (2 - 0.2)), rel=1e-14)


@pytest.mark.parametrize("mu, nesterov", METHODS)
@pytest.mark.parametrize("step", [1e-6, 0.01, 0.5, 1.0, 1.3])
def test_the_variance_is_scipys(mu, nesterov, step):
    lr, sigma2 = 0.25, 1.7
    h = step / lr
    expected = lyapunov(lr, np.array([[h]]), np.array([[sigma2]]), mu, nesterov)[0, 0]
    assert stationary_variance(lr, h, sigma2, mu, nesterov) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("mu, nesterov", METHODS)
def test_the_variance_is_what_walkers_have(mu, nesterov):
    """40,000 walkers under the optimizer itself: the variance of their variance is 2 / 40,000."""
    torch.manual_seed(0)
    h, lr = torch.tensor([0.3, 1.0, 2.0]).double(), 0.2
    make = partial(dlopt.SGD, lr=lr, momentum=mu, nesterov=nesterov)
    walkers = lab.iterates(make, lambda x: h * x + 2 * torch.randn_like(x), np.zeros((40_000, 3)), 200)[-1]
    np.testing.assert_allclose(walkers.var(0), stationary_variance(lr, h, 4.0, mu, nesterov), rtol=0.04)


@pytest.mark.parametrize("mu, nesterov", METHODS)
def test_infinite_exactly_where_the_optimizer_does_not_settle(mu, nesterov):
    edge = (2 + 2 * mu) / (1 + 2 * mu) if nesterov else 2 + 2 * mu
    steps = np.array([-0.5, 0.0, 0.1, 0.999 * edge, edge * (1 + 1e-12), 1.001 * edge, 9.0])
    found = stationary_variance(1.0, steps, momentum=mu, nesterov=nesterov)
    make = partial(dlopt.SGD, lr=1.0, momentum=mu, nesterov=nesterov)
    settles = [lab.rate(make, h) < 1 - 1e-9 for h in steps]
    assert np.isfinite(found).tolist() == settles
    assert (found[np.isfinite(found)] > 0).all()


def test_linear_scaling():
    """Learning rate and batch times k: the variance grows by (2 - lr h) / (2 - k lr h), and is lost at k = 200."""
    lr, h = 0.01, 1.0
    ratio = [stationary_variance(k * lr, h, 1 / k) / stationary_variance(lr, h) for k in (1, 8, 100, 199, 200, 300)]
    np.testing.assert_allclose(ratio[:4], [1, 1.0365, 1.990, 199], rtol=3e-4)
    np.testing.assert_allclose(ratio[:4], [(2 - lr) / (2 - k * lr) for k in (1, 8, 100, 199)], rtol=1e-12)
    assert ratio[4:] == [np.inf, np.inf]


def test_in_kind_and_broadcast():
    assert isinstance(stationary_variance(0.1, 1), float)
    assert isinstance(stationary_variance(0.1, [1.0]), np.ndarray)
    h = torch.tensor([1, 2])
    torch.testing.assert_close(stationary_variance(torch.tensor(0.5), h), torch.tensor([1 / 3, 0.25]).double())
    table = stationary_variance(0.1, np.ones((3, 1)), np.arange(4))
    assert table.shape == (3, 4) and (table[:, 0] == 0).all()


def matrices(d=4):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, d, d))
    return a @ a.T / d + 0.1 * np.eye(d), b @ b.T


@pytest.mark.parametrize("mu, nesterov", METHODS)
def test_the_covariance_is_scipys(mu, nesterov):
    h, c = matrices()
    assert np.abs(h @ c - c @ h).max() > 0.1
    ours = stationary_covariance(0.2, h, torch.tensor(c), mu, nesterov)
    np.testing.assert_allclose(ours, lyapunov(0.2, h, c, mu, nesterov), rtol=1e-9)
    diagonal = stationary_covariance(0.2, np.diag([1.0, 2.0]), np.diag([3.0, 0.0]), mu, nesterov).diagonal()
    np.testing.assert_allclose(diagonal, stationary_variance(0.2, [1.0, 2.0], [3.0, 0.0], mu, nesterov), rtol=1e-12)


def test_the_covariance_is_what_walkers_have():
    torch.manual_seed(0)
    h, c = (torch.tensor(m) for m in matrices())
    root = torch.linalg.cholesky(c)
    walkers = lab.iterates(
        partial(dlopt.SGD, lr=0.2, momentum=0.5),
        lambda x: x @ h + torch.randn_like(x) @ root.T,
        np.zeros((40_000, 4)),
        300,
    )[-1]
    expected = stationary_covariance(0.2, h, c, 0.5).numpy()
    assert np.abs(np.cov(walkers.T) - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize(
    "args, words",
    [
        ((0.0, 1.0), "Invalid learning rate: 0 never moves"),
        ((-0.1, 1.0), "Invalid learning rate: -0.1"),
        ((float("nan"), 1.0), "Invalid learning rate"),
        (("0.1", 1.0), "Invalid learning rate"),
        ((0.1, 1.0, -1.0), "Invalid variance: -1.0"),
        ((0.1, [1.0, np.inf]), "Invalid curvature"),
        ((0.1, []), "Invalid curvature: it is empty"),
        ((0.1, "1.0"), "not made of real numbers"),
        ((0.1, torch.tensor([1j])), "no real number"),
        ((0.1, 1.0, 1.0, 1.0), "Invalid momentum value: 1.0"),
        ((0.1, 1.0, 1.0, -0.1), "Invalid momentum value: -0.1"),
    ],
    ids=str,
)
def test_variance_refuses(args, words):
    with pytest.raises(ValueError, match=words):
        stationary_variance(*args)


@pytest.mark.parametrize(
    "args, words",
    [
        ((0.1, np.eye(2), np.eye(3)), "noise covariance has shape"),
        ((0.1, np.ones((2, 3)), np.eye(2)), "Hessian must be square"),
        ((0.1, [[1.0, 0.5], [0.0, 1.0]], np.eye(2)), "Hessian must be symmetric"),
        ((0.1, np.eye(2), [[1.0, 2.0], [2.0, 1.0]]), "negative eigenvalue"),
        ((0.1, np.diag([1.0, -1.0]), np.eye(2)), "nothing settles"),
        ((2.1, np.eye(2), np.eye(2)), "nothing settles"),
        ((0.1, np.eye(2) * np.nan, np.eye(2)), "not finite"),
        ((0.1, np.eye(2), np.eye(2), 1.5), "Invalid momentum value"),
    ],
    ids=str,
)
def test_covariance_refuses(args, words):
    with pytest.raises(ValueError, match=words):
        stationary_covariance(*args)


# Per-example gradients


def network(*extra, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), *extra, nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def examples(n=23, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 2, 3, generator=g, dtype=dtype), torch.randint(3, (n,), generator=g)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return self.scale * x


def by_backward(model, loss, inputs, targets):
    rows = []
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        loss(model(x[None]), y[None]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    model.zero_grad()
    return torch.stack(rows)


@pytest.mark.parametrize("chunk", [np.int64(4), 1, 5, 23, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_of_backward_passes(chunk, dtype):
    model, batch = network(dtype=dtype), examples(dtype=dtype)
    model[1].weight.requires_grad_(False)
    rows = example_gradients(model, F.cross_entropy, *batch, chunk=chunk)
    torch.testing.assert_close(rows, by_backward(model, F.cross_entropy, *batch))
    assert rows.dtype == dtype and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("layer", [nn.LayerNorm(5), nn.BatchNorm1d(5).eval(), nn.Dropout(0.5).eval()], ids=str)
def test_layers_that_keep_examples_apart(layer):
    model, batch = network(layer).eval(), examples()
    torch.testing.assert_close(
        example_gradients(model, F.cross_entropy, *batch), by_backward(model, F.cross_entropy, *batch)
    )


def test_a_convolution_and_attention():
    (inputs, targets), model = next(lab.tasks.digits_convnet().batches(0, 6)), lab.models.convnet()
    torch.testing.assert_close(
        example_gradients(model, F.cross_entropy, inputs, targets),
        by_backward(model, F.cross_entropy, inputs, targets),
        rtol=1e-4,
        atol=1e-5,
    )
    tokens = torch.randint(7, (4, 9), generator=torch.Generator().manual_seed(0))
    model = lab.models.character_transformer(7, width=8, heads=2, context=8)

    def loss(logits, after):
        return F.cross_entropy(logits.flatten(0, -2), after.flatten())

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no batching rule, and torch warns
        rows = example_gradients(model, loss, tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(rows, by_backward(model, loss, tokens[:, :-1], tokens[:, 1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 23])
def test_mean_and_covariance_are_numpys(chunk):
    model, batch = network(dtype=torch.float64), examples(dtype=torch.float64)
    rows = example_gradients(model, F.cross_entropy, *batch).numpy()
    full = np.cov(rows.T, bias=True)
    for kind, expected in {"full": full, "diagonal": full.diagonal(), "trace": full.trace()}.items():
        mean, covariance = gradient_covariance(model, F.cross_entropy, *batch, kind=kind, chunk=chunk)
        np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(covariance, expected, rtol=1e-10, atol=1e-14)


def test_the_mean_is_the_batch_gradient_and_a_large_common_part_costs_no_digits():
    model, batch = network(dtype=torch.float64), examples(dtype=torch.float64)
    mean, _ = gradient_covariance(model, F.cross_entropy, *batch, chunk=4)
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    torch.testing.assert_close(mean, torch.cat([p.grad.flatten() for p in model.parameters()]))
    x = torch.arange(10.0).double()
    _, variance = gradient_covariance(Scaled(), lambda out, _: out.mean(), 1e8 + x, x, chunk=3)
    assert variance.item() == pytest.approx(8.25, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_variance_of_a_mini_batch_over_all_subsets(size):
    """tr C / B with replacement, times (n - B) / (n - 1) without: exact, over every draw of B of 6."""
    model, batch = network(dtype=torch.float64), examples(6, dtype=torch.float64)
    rows = example_gradients(model, F.cross_entropy, *batch)
    trace = gradient_covariance(model, F.cross_entropy, *batch, kind="trace").covariance.item()
    draws = {
        trace / size * (6 - size) / 5: itertools.combinations(range(6), size),
        trace / size: itertools.product(range(6), repeat=size) if size < 6 else [],
    }
    for expected, subsets in draws.items():
        means = [rows[list(subset)].mean(0) for subset in subsets]
        if means:
            spread = (torch.stack(means) - rows.mean(0)).square().sum(1).mean().item()
            assert spread == pytest.approx(expected, rel=1e-10, abs=1e-15)


def compares(outputs, targets):
    """A loss that sees the whole batch: distance from the batch's mean, and a little of the outputs."""
    return (outputs - outputs.mean(0)).square().mean() + outputs.square().mean()


def late(outputs, targets):
    """The mean of the losses in a large batch, and twice as much in a batch of two."""
    return outputs.square().mean() * (1 + (len(outputs) == 2))


class Drops(nn.Linear):
    def __init__(self):
        super().__init__(6, 3)

    def forward(self, x):
        return super().forward(F.dropout(x))


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(model=network(nn.BatchNorm1d(5))), "2 is batch normalization .* depends on the others"),
        (dict(model=network(nn.BatchNorm1d(5, track_running_stats=False)).eval()), "batch normalization"),
        (dict(model=network(nn.Dropout(0.5))), "2 is dropout in training mode"),
        (dict(model=nn.Flatten()), "no parameter"),
        (dict(loss=partial(F.cross_entropy, reduction="sum")), "it is a sum, weighted"),
        (dict(loss=partial(F.cross_entropy, weight=torch.tensor([1.0, 5.0, 25.0]))), "it is a sum, weighted"),
        (dict(loss=compares), "compares examples"),
        (dict(loss=lambda outputs, _: outputs), "must be one number, got shape"),
        (dict(targets=torch.zeros(3).long()), "equally many, got 23 and 3"),
        (dict(inputs=torch.zeros(0, 6), targets=torch.zeros(0).long()), "equally many, got 0 and 0"),
        (
            dict(inputs=torch.where(torch.arange(23)[:, None] == 17, torch.nan, torch.ones(23, 6))),
            "example 17 is not finite",
        ),
        (dict(chunk=0), "chunk must be"),
        (dict(chunk=2.0), "chunk must be"),
        (dict(chunk=True), "chunk must be"),
        (dict(chunk=1, loss=partial(F.cross_entropy, reduction="sum")), "the loss of 2 examples is .* it is a sum"),
        (dict(chunk=1, loss=partial(F.cross_entropy, weight=torch.tensor([1.0, 5.0, 25.0]))), "it is a sum, weighted"),
        (dict(chunk=1, loss=compares), "compares examples"),
        (dict(chunk=22, loss=late), "the loss of 2 examples is .* compares examples"),
        (dict(model=Drops()), "draws random numbers"),
        (dict(kind="half"), "kind must be one of full, diagonal, trace, got 'half'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_gradients_refuse(change, words):
    inputs, targets = examples()
    call = dict(model=network(), loss=F.cross_entropy, inputs=inputs, targets=targets, chunk=8)
    with pytest.raises(ValueError, match=words):
        gradient_covariance(**{**call, **change})


# Delay: the gradient is that of a point some steps back


@pytest.mark.parametrize("delay, edge", [(0, 2.0), (1, 1.0), (2, 0.618034), (4, 0.347296)])
def test_delayed_gradient_descent_is_stable_below_its_edge(delay, edge):
    """x' = x - lr h x_{t - delay} is stable iff lr h < 2 sin(pi / (2 (2 delay + 1)))."""
    assert edge == pytest.approx(2 * np.sin(np.pi / (2 * (2 * delay + 1))), abs=1e-6)

    def radius(step):
        return abs(np.roots([1.0, -1.0, *[0.0] * (delay - 1), step] if delay else [1.0, step - 1.0])).max()

    exact = 2 * np.sin(np.pi / (2 * (2 * delay + 1)))
    assert radius(0.999 * exact) < 1 < radius(1.001 * exact)
    assert radius(exact) == pytest.approx(1, abs=1e-9)

    def last(step):
        seen = [torch.tensor(1.0)] * delay

        def stale(x):
            seen.append(x.clone())
            return seen[-1 - delay]

        return abs(lab.iterates(partial(dlopt.SGD, lr=step), stale, 1.0, 3000)[-20:]).max()

    assert last(0.98 * exact) < 1e-3 < 1e3 < last(1.02 * exact)


def test_the_model_answer_of_the_exercise_is_unbiased():
    """Its mean over all 20 batches of 3 out of 6 is the mean squared error over them."""
    rows = np.random.default_rng(0).normal(size=(6, 4)) + 2
    batches = [rows[list(three)] for three in itertools.combinations(range(6), 3)]
    truth = np.mean([((batch.mean(0) - rows.mean(0)) ** 2).sum() for batch in batches])
    assert np.mean([batch_error(batch, 6) for batch in batches]) == pytest.approx(truth, rel=1e-12)
