"""Rules that take norms of whole tensors: two toys on every face, against each written out in NumPy."""

import io

import numpy as np
import pytest
import torch

from dlopt.engine import GrammarError, RuleOptimizer, device, faces
from dlopt.engine.faces.numpy import Number
from dlopt.engine.norms import CHUNK, norms, partial
from tests.engine.layerwise import Layered, Trusting, layered
from tests.engine.test_contract import FACES

each_toy = pytest.mark.parametrize("optimizer", [Trusting, Layered])
each_face = pytest.mark.parametrize("face", FACES)
SHAPES = [(5,), (CHUNK + 77,), (0,), (), (7, 33), (4, 3, 5, 5), (3,)]


def start(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    params = [torch.randn(s, generator=g, dtype=torch.float64).to(dtype) for s in SHAPES]
    params[5] = params[5].to(memory_format=torch.channels_last)
    params[6].zero_()
    return [p.requires_grad_() for p in params]


def grads(params, steps, seed=1):
    """Gradients of the parameters for some steps; the first of the first tensor is zero."""
    g = torch.Generator().manual_seed(seed)
    made = [[torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype) for p in params] for _ in range(steps)]
    made[0][0].zero_()
    return made


def run(opt, params, made, face):
    with faces.use(face):
        for row in made:
            for p, grad in zip(params, row, strict=True):
                p.grad = grad.clone()
            opt.step()
    return [*params, *(v for p in params for _, v in sorted(opt.state[p].items()))]


def by_hand_trusting(w, made, lr=0.1, momentum=0.9, decay=0.05):
    b = 0 * w
    for g in made:
        g = g + decay * w
        norm = np.linalg.norm(w) * np.linalg.norm(g)
        b = momentum * b + lr * (np.linalg.norm(w) / np.linalg.norm(g) if norm > 0 else 1) * g
        w = w - b
    return w


def by_hand_layered(w, made, lr=0.01, beta=0.9, eps=1e-6, decay=0.05):
    m, v = 0 * w, 0 * w
    for t, g in enumerate(made, 1):
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * g * g
        u = m / (1 - beta**t) / (np.sqrt(v / (1 - beta**t)) + eps) + decay * w
        lengths = np.linalg.norm(w), np.linalg.norm(u)
        w = w - lr * (lengths[0] / lengths[1] if min(lengths) > 0 else 1) * u
    return w


@each_toy
@each_face
def test_against_the_formula(optimizer, face):
    params, made = start(), grads(start(), 4)
    expected = [
        {Trusting: by_hand_trusting, Layered: by_hand_layered}[optimizer](p.detach().numpy(), [row[k].numpy() for row in made])
        for k, p in enumerate(params)
    ]  # fmt: skip
    run(optimizer(params), params, made, face)
    for p, w in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach(), torch.tensor(w), rtol=1e-12, atol=1e-13)


@each_toy
@pytest.mark.parametrize("writing", ["plain", "kahan"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_faces_agree(optimizer, dtype, writing):
    """The compiled face is NumPy bit for bit, the norms included; torch adds up in another order."""
    made = grads(start(dtype), 3)
    results = {face: run(optimizer(params := start(dtype), writing=writing), params, made, face) for face in FACES}
    for a, b, c in zip(*(results[face] for face in ("numpy", "torch", FACES[-1])), strict=True):
        assert torch.equal(a, c)
        unit = torch.finfo(a.dtype).eps * 8
        torch.testing.assert_close(a, b, rtol=unit, atol=unit)


@each_toy
def test_any_number_of_threads_and_any_batch_give_the_same_bits(optimizer):
    if "llvm" not in FACES:
        pytest.skip("needs llvmlite")
    made, threads, results = grads(start(torch.float32), 2), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            params = start(torch.float32)
            groups = [{"params": [p]} for p in params] if count == 2 else params
            results.append(run(optimizer(groups), params, made, "llvm"))
    finally:
        torch.set_num_threads(threads)
    for a, *others in zip(*results, strict=True):
        assert all(torch.equal(a, b) for b in others)


@each_toy
@each_face
def test_groups_and_exact_resume(optimizer, face):
    made = grads(start(torch.bfloat16), 4)

    def fresh():
        params = start(torch.bfloat16)
        return params, optimizer([{"params": params[:2]}, {"params": params[2:], "lr": 0.03}], writing="kahan")

    params, opt = fresh()
    whole = run(opt, params, made, face)
    params, opt = fresh()
    run(opt, params, made[:2], face)
    file = io.BytesIO()
    torch.save((opt.state_dict(), [p.detach() for p in params]), file)
    file.seek(0)
    state, values = torch.load(file, weights_only=True)
    params, opt = fresh()
    opt.load_state_dict(state)
    for p, value in zip(params, values, strict=True):
        p.data.copy_(value)
    for a, b in zip(run(opt, params, made[2:], face), whole, strict=True):
        assert torch.equal(a, b)


@each_face
def test_sparse_and_scaled_gradients(face):
    """A sparse gradient has the norm of the dense one; a scaled one that of the unscaled."""
    for made in (lambda g: g.to_sparse(1), lambda g: g * 4):
        params = [torch.ones(4, 3, requires_grad=True) for _ in range(2)]
        opts = [Trusting([p], weight_decay=0) for p in params]
        grad = torch.zeros(4, 3)
        grad[1] = 2.0
        params[0].grad, params[1].grad = made(grad), grad
        if not params[0].grad.is_sparse:
            opts[0].grad_scale = torch.tensor(4.0)
        with faces.use(face):
            for opt in opts:
                opt.step()
        assert torch.equal(*params) and (params[0][0] == 1).all()


def test_rows_alone_have_not_the_norm_of_the_whole():
    class Rows(Trusting):
        def sparse(self, group):
            return "rows"

    p = torch.ones(4, 3, requires_grad=True)
    p.grad = torch.ones(4, 3).to_sparse(1)
    with pytest.raises(RuntimeError, match="Rows takes the norm of the whole tensor"):
        Rows([p], weight_decay=0).step()
    assert (p == 1).all()


@each_toy
def test_scalars_that_stay_on_the_device(optimizer, monkeypatch):
    made = grads(start(), 3)
    expected = run(optimizer(params := start()), params, made, "torch")
    monkeypatch.setattr(device, "DEVICES", ["cpu"])
    lr = torch.tensor(0.1 if optimizer is Trusting else 0.01, dtype=torch.float64)
    for a, b in zip(expected, run(optimizer(params := start(), lr=lr), params, made, "torch"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def nameless(g, p):
    return g, p * p


def scalar_only(g, p, *, lr):
    s = lr + 1
    return g, s


def stranger(g, p, q):
    return g, q


@pytest.mark.parametrize("named, reason", [
    (nameless, "name the quantities"), (scalar_only, "a norm is that of a value per element"), (stranger, "no argument"),
])  # fmt: skip
def test_norms_outside_the_grammar(named, reason):
    with pytest.raises(GrammarError, match=reason):

        class Bad(RuleOptimizer):
            rules = (layered,)
            norms = {layered: named}
            state_keys = {"m": "exp_avg", "v": "exp_avg_sq"}


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, CHUNK, CHUNK + 5])
def test_sums(size):
    q = np.random.default_rng(0).normal(size=size).astype(np.float32)
    assert partial(q).shape == (-(-size // CHUNK), 16)
    np.testing.assert_allclose(norms(partial(q)[:, None], [size])[0, 0], np.linalg.norm(q.astype(float)), rtol=1e-14)


def test_a_norm_divides_by_zero_and_leaves_arrays_as_narrow_as_they_are():
    zero, one, row = Number(0.0), Number(1.0), np.ones(3, np.float32)
    with np.errstate(all="ignore"):
        assert one / zero == np.inf and zero / 0 != zero / 0 and 1 / one == 1 and -one - 1 == -2
    assert all(x.dtype == np.float32 for x in (one * row, row * one, row / one, 2 - row * (one + 1)))
    assert (row < one + 1).all() and (one == row).all() and isinstance(one > 0, bool)
