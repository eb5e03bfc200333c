"""Clipping against NumPy in float64, against torch.nn.utils, and against facts of mathematics."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dlopt.sgd import clip_grad_adaptive_, clip_grad_norm_, clip_grad_value_

SHAPES = ((5, 3), (), (7,), (20, 4, 3, 3), (0, 2))
NORMS = (2.0, 1.0, math.inf, 0.5, 3.5)


def parameters(dtype=torch.float64, scale=1.0, shapes=SHAPES, seed=0):
    """Parameters with gradients, and one without."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape in shapes:
        p = torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
        p.grad = scale * torch.randn(shape, generator=generator, dtype=dtype)
        made.append(p)
    return [*made, torch.ones(3, dtype=dtype, requires_grad=True)]


def gradients(params):
    return [p.grad.clone() for p in params if p.grad is not None]


def flat(grads):
    return np.concatenate([g.double().numpy().ravel() for g in grads])


def norm(x, p):
    x = np.abs(x)
    return x.max(initial=0) if p == math.inf else (x**p).sum() ** (1 / p)


# By norm


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("max_norm", [0.3, 1e6])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_norm_against_numpy(p, max_norm, foreach):
    params = parameters()
    before = flat(gradients(params))
    total = clip_grad_norm_(params, max_norm, p, foreach=foreach)
    expected = norm(before, p)
    assert total.item() == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(
        flat(gradients(params)), before * min(1, max_norm / (expected + 1e-6)), rtol=1e-13, atol=0
    )
    assert params[-1].grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("foreach", [None, True, False])
def test_norm_is_torchs_to_the_last_bit(dtype, p, foreach):
    ours, theirs = (parameters(dtype, shapes=SHAPES[:-1]) for _ in range(2))  # torch has no inf-norm of nothing
    total = clip_grad_norm_(ours, 0.7, p, foreach=foreach)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, p, foreach=foreach)
    assert torch.equal(total, expected) and total.dtype == expected.dtype
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))


def test_mixed_dtypes_as_torch():
    ours, theirs = ([*parameters(torch.float32), *parameters(torch.float64, seed=1)] for _ in range(2))
    total, expected = clip_grad_norm_(ours, 0.7), torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    torch.testing.assert_close(total, expected)
    assert total.dtype == expected.dtype
    for a, b in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_per_tensor_clips_each_by_itself(p):
    params = parameters()
    before = gradients(params)
    norms = clip_grad_norm_(params, 1.5, p, per_tensor=True)
    expected = [norm(flat([g]), p) for g in before]
    np.testing.assert_allclose(norms, expected, rtol=1e-13)
    for old, new, size in zip(before, gradients(params), expected, strict=True):
        np.testing.assert_allclose(new, old * min(1, 1.5 / (size + 1e-6)), rtol=1e-13)


def test_one_tensor_for_the_list_and_inf_by_name():
    p = parameters()[0]
    expected = p.grad.abs().max()
    assert clip_grad_norm_(p, 0.1, "inf") == expected
    assert p.grad.abs().max().item() == pytest.approx(0.1, rel=1e-5)


def test_norm_clipping_keeps_the_direction_and_value_clipping_does_not():
    for clip, kept in ((clip_grad_norm_, True), (clip_grad_value_, False)):
        params = parameters()
        before = flat(gradients(params))
        clip(params, 0.5)
        after = flat(gradients(params))
        cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
        assert (cosine == pytest.approx(1, abs=1e-14)) if kept else cosine < 0.98


def test_clipping_again_changes_nothing_beyond_the_small_number():
    params = parameters()
    clip_grad_norm_(params, 1.0)
    once = flat(gradients(params))
    assert clip_grad_norm_(params, 1.0) < 1
    np.testing.assert_allclose(flat(gradients(params)), once, rtol=1.1e-6)


def test_small_gradients_are_never_scaled_up():
    for grad in ([0.0, 0.0], [1e-9, 0.0], [0.5, 0.5]):
        p = torch.zeros(2, requires_grad=True)
        p.grad = torch.tensor(grad)
        clip_grad_norm_(p, 1.0)
        clip_grad_norm_([p], 1.0, per_tensor=True)
        assert p.grad.tolist() == torch.tensor(grad).tolist()


@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)], ids=["float16", "bfloat16"]
)
@pytest.mark.parametrize("foreach", [None, False])
def test_half_gradients_have_their_norm_in_float32(dtype, unit, foreach):
    params = parameters(dtype, scale=1e4)
    before = flat(gradients(params))  # its norm, 3e5, is no float16
    total = clip_grad_norm_(params, 3.0, foreach=foreach)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(np.linalg.norm(before), rel=1e-6)
    exact = before * 3.0 / (np.linalg.norm(before) + 1e-6)
    np.testing.assert_allclose(flat(gradients(params)), exact, rtol=1.01 * unit, atol=2**-25)  # rounded once


@pytest.mark.parametrize("inf", [math.inf, np.float32("inf"), np.float64("inf"), torch.tensor(math.inf)])
def test_infinite_threshold_only_measures(inf):
    params = parameters()
    params[0].grad[0, 0] = math.inf
    before = gradients(params)
    assert clip_grad_norm_(params, inf).isinf()
    assert clip_grad_norm_(params, inf, per_tensor=True)[0].isinf()
    assert torch.equal(clip_grad_norm_(params[1:], inf, inf), clip_grad_norm_(params[1:], math.inf, math.inf))
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(params), strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite(bad):
    ours, theirs = parameters(), parameters()
    for params in (ours, theirs):
        params[0].grad[0, 0] = bad
    before = gradients(ours)
    messages = []
    for params, clip in ((ours, clip_grad_norm_), (theirs, torch.nn.utils.clip_grad_norm_)):
        with pytest.raises(RuntimeError) as raised:
            clip(params, 1.0, error_if_nonfinite=True)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    for a, b in zip(before, gradients(ours), strict=True):
        assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    clip_grad_norm_(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    np.testing.assert_array_equal(flat(gradients(ours)), flat(gradients(theirs)))


def test_nothing_to_clip():
    assert clip_grad_norm_([], 1.0) == 0
    assert clip_grad_norm_([torch.ones(2, requires_grad=True)], 1.0) == 0
    assert clip_grad_norm_([], 1.0, per_tensor=True).shape == (0,)
    clip_grad_value_([], 1.0)
    clip_grad_adaptive_([])
    for clip in (clip_grad_norm_, torch.nn.utils.clip_grad_norm_):
        with pytest.warns(UserWarning, match="`parameters` is an empty generator") as caught:
            clip((p for p in []), 1.0)
        assert caught[0].filename == __file__


# By value


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_value_is_torchs(dtype, foreach):
    ours, theirs = parameters(dtype), parameters(dtype)
    clip_grad_value_(ours, 0.3, foreach)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))
    np.testing.assert_allclose(flat(gradients(ours)), np.clip(flat(gradients(parameters(dtype))), -0.3, 0.3), rtol=4e-3)


def test_value_of_infinity_of_nan_and_of_complex_numbers():
    p = torch.zeros(3, requires_grad=True)
    p.grad = torch.tensor([math.inf, -math.inf, math.nan])
    clip_grad_value_([p], 2.0)
    assert p.grad[:2].tolist() == [2, -2] and p.grad[2].isnan()
    z = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    z.grad = torch.tensor([3 + 0.5j, -1 - 4j])
    clip_grad_value_([z], 2.0)
    assert z.grad.tolist() == [2 + 0.5j, -1 - 2j]


@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize("view", [lambda z: z.conj(), lambda z: z.conj().imag], ids=["conj", "neg"])
@pytest.mark.parametrize(
    "clip",
    [
        lambda w, foreach: clip_grad_norm_(w, 1.5, foreach=foreach),
        lambda w, foreach: clip_grad_value_(w, 1.5, foreach),
        lambda w, foreach: clip_grad_adaptive_(w, 0.3),
    ],
    ids=["norm", "value", "adaptive"],
)
def test_views_that_conjugate_or_negate(clip, view, foreach):
    grad = view(torch.tensor([3 + 0.5j, -1 - 4j]))
    a, b = (torch.ones(2, dtype=grad.dtype, requires_grad=True) for _ in range(2))
    a.grad, b.grad = grad, grad.resolve_conj().resolve_neg().clone()
    assert a.grad.is_conj() or a.grad.is_neg()
    clip(a, foreach)
    clip(b, foreach)
    assert torch.equal(a.grad, b.grad) and not torch.equal(a.grad, view(torch.tensor([3 + 0.5j, -1 - 4j])))


# Adaptive


def adaptive(g, w, clip_factor, eps):
    """Brock et al. 2021, eq. 3, unit by unit."""
    if g.ndim < 2:
        size, limit = np.linalg.norm(g), clip_factor * max(np.linalg.norm(w), eps)
        return limit * g / size if size > limit else g
    return np.array([adaptive(row.ravel(), unit.ravel(), clip_factor, eps).reshape(row.shape)
                     for row, unit in zip(g, w, strict=True)]).reshape(g.shape)  # fmt: skip


@pytest.mark.parametrize("clip_factor", [0.02, 0.9, 5.0])
def test_adaptive_against_numpy(clip_factor):
    params = parameters()
    with torch.no_grad():
        params[0][1] = 0.0  # a unit without weights
        params[2].zero_()  # biases as they start
        params[3].grad[4] = 0.0  # a unit without gradient
    before = gradients(params)
    clip_grad_adaptive_(params, clip_factor)
    for p, g, new in zip(params, before, gradients(params), strict=False):
        np.testing.assert_allclose(new, adaptive(g.numpy(), p.detach().numpy(), clip_factor, 1e-3), rtol=1e-13)


def test_adaptive_leaves_no_unit_above_the_ratio_and_others_as_they_were():
    (p, _) = parameters(shapes=((6, 2, 3, 3),))
    before = p.grad.clone()
    clip_grad_adaptive_(p, 1.0)
    ratio = p.grad.flatten(1).norm(dim=1) / p.detach().flatten(1).norm(dim=1)
    was = before.flatten(1).norm(dim=1) / p.detach().flatten(1).norm(dim=1)
    assert 0 < (was <= 1).sum() < 6
    torch.testing.assert_close(ratio, was.clamp(max=1.0))
    assert torch.equal(p.grad[was <= 1], before[was <= 1])


def test_adaptive_in_bfloat16_is_rounded_once():
    params = parameters(torch.bfloat16)
    before = gradients(params)
    clip_grad_adaptive_(params, 0.1)
    for p, g, new in zip(params, before, gradients(params), strict=False):
        exact = adaptive(g.double().numpy(), p.detach().double().numpy(), 0.1, 1e-3)
        np.testing.assert_allclose(new.double(), exact, rtol=1.01 * 2**-8)


# Sparse gradients


def embedding(sparse):
    """The gradient of an embedding whose row 2 is looked up twice; uncoalesced if it is sparse."""
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out = F.embedding(torch.tensor([2, 5, 2, 0]), weight, sparse=sparse)
    (out**3).sum().backward()
    return weight


@pytest.mark.parametrize(
    "clip",
    [
        lambda w: clip_grad_norm_(w, 0.5),
        lambda w: clip_grad_norm_([w], 0.5, per_tensor=True),
        lambda w: clip_grad_value_(w, 0.5),
        lambda w: clip_grad_adaptive_(w, 0.1),
    ],
)
def test_a_sparse_gradient_is_clipped_as_the_dense_one(clip):
    sparse, dense = embedding(True), embedding(False)
    assert not sparse.grad.is_coalesced()
    a, b = clip(sparse), clip(dense)
    assert sparse.grad.is_sparse
    torch.testing.assert_close(sparse.grad.to_dense(), dense.grad)
    assert a is None or torch.allclose(a, b)


def test_adaptive_refuses_a_sparse_gradient_without_rows():
    w = torch.ones(2, 2, requires_grad=True)
    w.grad = torch.eye(2).to_sparse()
    with pytest.raises(RuntimeError, match="whole rows"):
        clip_grad_adaptive_(w)


# What is refused


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, -math.inf, "1.0", None, torch.ones(2)])
@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("max_norm", lambda p, v: clip_grad_norm_(p, v)),
        ("norm_type", lambda p, v: clip_grad_norm_(p, 1.0, v)),
        ("clip_value", lambda p, v: clip_grad_value_(p, v)),
        ("clip_factor", lambda p, v: clip_grad_adaptive_(p, v)),
        ("eps", lambda p, v: clip_grad_adaptive_(p, 0.1, v)),
    ],
)
def test_bad_thresholds_are_refused(what, call, value):
    params = parameters()
    before = gradients(params)
    with pytest.raises(ValueError, match=what):
        call(params, value)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(params), strict=True))


@pytest.mark.parametrize("what", ["clip_factor", "eps"])
def test_adaptive_needs_finite_numbers(what):
    with pytest.raises(ValueError, match=f"Invalid {what}: inf"):
        clip_grad_adaptive_(parameters(), **{what: math.inf})


@pytest.mark.parametrize(
    "clip", [lambda p: clip_grad_norm_(p, 1.0), lambda p: clip_grad_value_(p, 1.0), clip_grad_adaptive_]
)
def test_bad_parameters_are_refused(clip):
    p = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="given twice"):
        clip([p, p])
    q = torch.ones(2, requires_grad=True)
    p.grad = q.grad = torch.tensor([3.0, 4.0])
    with pytest.raises(ValueError, match="share one tensor as their gradient"):
        clip([p, q])
    assert p.grad.tolist() == [3, 4]
    with pytest.raises(TypeError, match="must be tensors, not Linear"):
        clip(torch.nn.Sequential(torch.nn.Linear(2, 2)))
