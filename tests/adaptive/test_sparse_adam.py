"""Facts about SparseAdam, and about sparse gradients in the methods that take them; torch's numbers: test_torch.py."""

import numpy as np
import pytest
import torch
from torch import nn

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)
LR, B1, B2, EPS = 0.05, 0.8, 0.95, 1e-3
SETTING = dict(lr=LR, betas=(B1, B2), eps=EPS)
TAKERS = {"SparseAdam": dlopt.SparseAdam, "SGD": dlopt.SGD, "Adagrad": dlopt.Adagrad, "FTRL": dlopt.FTRL}
each_taker = pytest.mark.parametrize("taker", TAKERS)


def sparse(rows, values, shape=(8, 3)):
    """An uncoalesced gradient; a row may be named twice."""
    values = torch.as_tensor(np.asarray(values), dtype=torch.float64)
    with torch.sparse.check_sparse_tensor_invariants():
        return torch.sparse_coo_tensor(torch.tensor([rows], dtype=torch.int64), values, shape)


def table(seed=0, shape=(8, 3)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def steps(opt, p, grads, face="torch"):
    with faces.use(face):
        for g in grads:
            p.grad = g
            opt.step()


@each_face
def test_the_paper_on_the_rows_that_are_touched(face):
    """Algorithm 1 of Kingma & Ba in the order of the end of section 2, on the touched rows; t is the table's count."""
    rng = np.random.default_rng(0)
    p = table()
    opt = dlopt.SparseAdam([p], **SETTING)
    theta, m, v = p.detach().numpy().copy(), np.zeros((8, 3)), np.zeros((8, 3))
    for t in range(1, 101):
        rows = rng.choice(7, size=3, replace=False)  # the last row is never seen
        g = rng.normal(size=(3, 3))
        for row, grad in zip(rows, g, strict=True):
            m[row] = B1 * m[row] + (1 - B1) * grad
            v[row] = B2 * v[row] + (1 - B2) * grad**2
            alpha = LR * np.sqrt(1 - B2**t) / (1 - B1**t)
            theta[row] = theta[row] - alpha * m[row] / (np.sqrt(v[row]) + EPS)
        steps(opt, p, [sparse(rows.tolist(), g)], face)
    np.testing.assert_allclose(p.detach().numpy(), theta, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(opt.state[p]["exp_avg"].numpy(), m, rtol=1e-11, atol=1e-14)


@each_face
@each_taker
def test_untouched_rows_keep_every_bit(face, taker):
    p = table().detach()
    p[6], p[7] = float("nan"), torch.tensor([0.1, -0.0, float("inf")])
    p.requires_grad_()
    before = p.detach().clone()
    opt = TAKERS[taker]([p], lr=LR)
    steps(opt, p, [sparse([1, 4], np.full((2, 3), k + 1.0)) for k in range(5)], face)
    still = [0, 2, 3, 5, 6, 7]
    assert p.detach()[still].numpy().tobytes() == before[still].numpy().tobytes()
    assert (p.detach()[[1, 4]] != before[[1, 4]]).all()
    for name, state in opt.state[p].items():
        if isinstance(state, torch.Tensor) and state.shape == p.shape:
            assert not state[still].any(), name


def test_a_row_first_seen_at_step_1000():
    """Its moments are fresh, its correction is not, so its first step is 2.5 lr, not lr. So is Adam's, which goes on."""
    one, two = (torch.zeros(2, 1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    sparse_adam, adam = dlopt.SparseAdam([one], lr=1.0, eps=1e-30), dlopt.Adam([two], lr=1.0, eps=1e-30)
    for t in range(1, 1101):
        row = int(t == 1000)
        steps(sparse_adam, one, [sparse([row], [[1.0]], (2, 1))])
        steps(adam, two, [sparse([row], [[1.0]], (2, 1)).to_dense()])
        if t == 1000:
            length = 0.1 / np.sqrt(0.001) * np.sqrt(1 - 0.999**1000) / (1 - 0.9**1000)
            assert length == pytest.approx(2.51, abs=0.01)
            assert -one[1].item() == pytest.approx(length, rel=1e-12)
    assert -one[1].item() == pytest.approx(length, rel=1e-12)
    assert 9 < two[1].item() / one[1].item() < 11.5


@each_face
@each_taker
def test_a_row_named_twice_counts_the_sum_once(face, taker):
    one, two = table(), table()
    first, second = TAKERS[taker]([one], lr=LR), TAKERS[taker]([two], lr=LR)
    for k in range(4):
        a, b = np.full((1, 3), 1.0 + k), np.full((1, 3), 0.5)
        steps(first, one, [sparse([5, 2, 5], np.vstack([a, a, b]))], face)
        steps(second, two, [sparse([2, 5], np.vstack([a, a + b]))], face)
    torch.testing.assert_close(one, two, rtol=1e-14, atol=0)
    assert not one.grad.is_coalesced() and one.grad._nnz() == 3  # the gradient is as it was given


@each_face
def test_an_empty_gradient_counts_a_step_and_moves_nothing(face):
    p = table()
    before = p.detach().clone()
    opt = dlopt.SparseAdam([p], **SETTING)
    empty = sparse([], np.zeros((0, 3)))
    steps(opt, p, [empty, empty], face)
    assert torch.equal(p.detach(), before) and float(opt.state[p]["step"]) == 2
    other = table()
    reference = torch.optim.SparseAdam([other], **SETTING)
    for g in (empty, empty, sparse([3], np.ones((1, 3)))):
        other.grad = g.clone()
        reference.step()
    steps(opt, p, [sparse([3], np.ones((1, 3)))], face)
    torch.testing.assert_close(p, other, rtol=1e-12, atol=0)


def test_no_gradient_is_no_step():
    p = table()
    opt = dlopt.SparseAdam([p], **SETTING)
    opt.step()
    assert not opt.state


def test_a_dense_gradient_is_refused_by_a_word_for_adam():
    p = table()
    before = p.detach().clone()
    opt = dlopt.SparseAdam([p], **SETTING)
    p.grad = torch.ones(8, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="does not support dense gradients, please consider dlopt.Adam instead"):
        opt.step()
    assert torch.equal(p.detach(), before) and not opt.state


@each_face
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sgd_and_adagrad_take_sparse_gradients_as_torch_does(name, face):
    rng = np.random.default_rng(3)
    ours, theirs = table(), table()
    first, second = getattr(dlopt, name)([ours], lr=LR), getattr(torch.optim, name)([theirs], lr=LR)
    for _ in range(50):
        rows = rng.integers(8, size=5).tolist()
        g = sparse(rows, rng.normal(size=(5, 3)))
        steps(first, ours, [g], face)
        theirs.grad = g.clone()
        second.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@each_face
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_sgd_and_adagrad_are_the_dense_ones(name, face):
    """A row whose gradient is zero does not move, so touching it or not is the same. Adam's would: momentum."""
    rng = np.random.default_rng(4)
    one, two = table(), table()
    first, second = (getattr(dlopt, name)([p], lr=LR) for p in (one, two))
    for _ in range(50):
        g = sparse(rng.integers(8, size=4).tolist(), rng.normal(size=(4, 3)))
        steps(first, one, [g], face)
        steps(second, two, [g.to_dense()], face)
    torch.testing.assert_close(one, two, rtol=1e-13, atol=0)


@each_face
@each_taker
def test_a_number_takes_a_sparse_gradient_as_a_row_of_one_does(taker, face):
    ends = []
    for shape in ((), (1,)):
        p = torch.full(shape, 0.5, dtype=torch.float64, requires_grad=True)
        opt = TAKERS[taker]([p], lr=LR)
        steps(opt, p, [torch.full(shape, g, dtype=torch.float64).to_sparse() for g in (3.0, -1.0)], face)
        ends.append(p.item())
    assert ends[0] == ends[1] != 0.5


def test_sparse_adam_is_not_adam_where_rows_rest():
    """Adam keeps moving a row on old momentum; SparseAdam leaves it."""
    one, two = table(), table()
    sparse_adam, adam = dlopt.SparseAdam([one], lr=LR), dlopt.Adam([two], lr=LR)
    for rows in ([0], [1], [1], [1]):
        g = sparse(rows, np.ones((1, 3)))
        steps(sparse_adam, one, [g])
        steps(adam, two, [g.to_dense()])
    start = table()
    assert (start - one)[0].detach() == pytest.approx(LR, rel=1e-6)
    assert ((start - two)[0].detach() > 2 * LR).all()


@pytest.mark.parametrize(
    "kw, words",
    [
        (dict(lr=0.0), "Invalid learning rate: 0.0"),
        (dict(lr=-1.0), "Invalid learning rate: -1"),
        (dict(lr=float("nan")), "Invalid learning rate: nan"),
        (dict(lr=float("inf")), "Invalid learning rate: inf"),
        (dict(lr="0.1"), "Invalid learning rate"),
        (dict(eps=0.0), "Invalid epsilon value: 0.0"),
        (dict(eps=float("nan")), "Invalid epsilon value: nan"),
        (dict(eps="tiny"), "Invalid epsilon value"),
        (dict(betas=(1.0, 0.9)), "Invalid beta parameter at index 0: 1.0"),
        (dict(betas=(0.9, -0.1)), "Invalid beta parameter at index 1: -0.1"),
        (dict(betas=(0.9, float("nan"))), "Invalid beta parameter at index 1: nan"),
        (dict(betas=(0.9,)), "Invalid betas"),
        (dict(betas=0.9), "Invalid betas"),
        (dict(betas="ab"), "Invalid betas"),
    ],
    ids=str,
)
def test_bad_hyperparameters_are_refused(kw, words):
    with pytest.raises(ValueError, match=words):
        dlopt.SparseAdam([table()], **kw)


def test_a_sparse_or_complex_parameter_is_refused():
    with pytest.raises(ValueError, match="requires dense parameter tensors"):
        dlopt.SparseAdam([sparse([0], np.ones((1, 3))).requires_grad_()])
    with pytest.raises(ValueError, match="complex"):
        dlopt.SparseAdam([torch.zeros(2, 2, dtype=torch.complex64, requires_grad=True)])


def test_an_embedding_learns_end_to_end():
    words = nn.Embedding(50, 4, sparse=True)
    opt = dlopt.SparseAdam(words.parameters(), lr=0.05)
    torch.manual_seed(0)
    seen, target = torch.arange(20), torch.randn(20, 4)
    losses = []
    for _ in range(200):
        opt.zero_grad()
        loss = ((words(seen) - target) ** 2).mean()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-2 * losses[0]
