"""8-bit state on the Triton face, in Triton's interpreter, against NumPy. Run by test_triton.py, as interpreted.py."""

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import RuleOptimizer, device, xp
from dlopt.engine.eight_bits import BLOCK, KINDS, SMALLEST, dynamic_map, levels
from dlopt.engine.faces import triton as face
from tests.engine.layerwise import Layered
from tests.engine.test_contract import label
from tests.engine.test_state8 import CASES, go, tensors, train

SIZES = [SMALLEST + BLOCK + 44, 5, 0]  # the last tile: a block, a piece of one, two that are outside


def both(optimizer, sizes=SIZES, **keywords):
    """Parameters and state after a step on NumPy's face, which is quick, and one on this face or on NumPy's."""
    for name in ("triton", "numpy"):
        ps, opt, grads = train(optimizer, name, steps=2, sizes=sizes, **keywords)
        go(ps, opt, grads[:1], "numpy")
        go(ps, opt, grads[1:], name)
        yield tensors(ps, opt)


def same(got, expected):
    assert any(t.dtype is torch.uint8 for t in got)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


OUTSIDE = {"maximize", "decoupled_weight_decay"}  # what they change is not at the state
INSIDE = [(c, s) for c, s in CASES if not OUTSIDE & s.keys() and (c is not dlopt.SGD or "momentum" in s)]


@pytest.mark.parametrize("optimizer, setting", [pytest.param(c, s, id=label(c, s)) for c, s in INSIDE])
def test_the_bits_are_numpys(optimizer, setting):
    same(*both(optimizer, **setting))


WRITTEN = [
    (dlopt.AdamW, torch.bfloat16, "stochastic"), (dlopt.AdamW, torch.bfloat16, "master"),
    (dlopt.AdamW, torch.float16, "kahan"), (dlopt.AdamW, torch.float16, "stochastic"),
    (dlopt.AdamW, torch.float64, "plain"), (dlopt.Lion, torch.bfloat16, "stochastic"),
    (dlopt.ScheduleFreeAdamW, torch.bfloat16, "master"), (dlopt.ScheduleFreeAdamW, torch.float16, "kahan"),
]  # fmt: skip


@pytest.mark.parametrize("optimizer, dtype, writing", WRITTEN, ids=str)
def test_with_every_dtype_and_writer(optimizer, dtype, writing):
    same(*both(optimizer, dtype=dtype, writing=writing))


def test_tensors_of_several_chunks():
    same(*both(dlopt.Adam, sizes=[face.CHUNK + BLOCK + 1, face.CHUNK * 2], lr=0.1))


def keeping(g, p, m, v):
    return 0 * p, g, xp.where(p == 0, 1, xp.abs(g))  # outside of the tensor p reads as 0


class Keeping(RuleOptimizer):
    """Its state is the gradient, and the size of the gradient."""

    rules = (keeping,)
    state_keys = {"m": "gradient", "v": "size"}
    quantized = {"m": "signed", "v": "unsigned"}

    def __init__(self, params, **engine):
        super().__init__(params, {}, **engine)


def hard():
    """Rows of 256: where codes begin, with the next numbers below and above; scales of all sizes; lost blocks."""
    edges = np.unique(np.concatenate([levels(kind)[0, 1:] for kind in KINDS] + [dynamic_map(kind) for kind in KINDS]))
    edges = np.abs(np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(1))]))
    edges = np.concatenate([edges, -edges]).astype(np.float32)
    rows = np.pad(edges, (0, -len(edges) % (BLOCK - 1))).reshape(-1, BLOCK - 1)
    rows = np.pad(rows, ((0, 0), (1, 0)), constant_values=1)  # beside a 1, so that they are shares of the largest
    rng = np.random.default_rng(0)
    scales = np.array([0, 1e-45, 1e-42, 1e-38, 1e-20, 1, 1e20, 3e38], np.float32)
    drawn = rng.uniform(-1, 1, (8, BLOCK)).astype(np.float32) * scales[:, None]
    decades = (10 ** rng.uniform(-9, 0, (4, BLOCK)) * rng.choice([-1, 1], (4, BLOCK))).astype(np.float32)
    lost = np.ones((3, BLOCK), np.float32)
    lost[[0, 1, 2], [3, 200, 255]] = np.nan, np.inf, -np.inf
    return torch.from_numpy(np.concatenate([rows, drawn, decades, lost]))


def test_numbers_that_are_hard_to_encode():
    rows = hard()
    grad = torch.cat([rows.repeat(-(-SMALLEST // rows.numel()), 1).view(-1), torch.linspace(0.1, 0.2, BLOCK + 30)])
    results = []
    for name in ("triton", "numpy"):
        p = torch.ones(grad.shape, requires_grad=True)
        opt = Keeping([p], optim_bits=8)
        go([p], opt, [[grad]], name)
        results.append(tensors([p], opt))
    assert results[0][0].eq(1).all() and results[0][2].isnan().any() and results[0][2].isinf().sum() >= 2
    same(*results)


class Eight(Layered):
    quantized = {"m": "signed", "v": "unsigned"}


def test_norms_of_8_bit_state():
    """What the order does to a sum of float64 is lost in float32."""
    same(*both(Eight))


@pytest.mark.parametrize("stays", [True, False])
def test_a_step_with_an_infinite_gradient_leaves_codes_and_scales(stays, monkeypatch):
    monkeypatch.setattr(device, "DEVICES", ["cpu"] if stays else ["cuda"])
    ps, opt, grads = train(dlopt.Adam, "triton", steps=3, sizes=SIZES)
    go(ps, opt, grads[:1], "triton")
    before = [t.clone() for t in tensors(ps, opt)]
    opt.grad_scale, opt.found_inf = torch.tensor(1.0), torch.tensor(1.0)
    go(ps, opt, grads[1:2], "triton")
    same(tensors(ps, opt), before)
    opt.found_inf = torch.tensor(0.0)
    go(ps, opt, grads[2:], "triton")
    other, twin, _ = train(dlopt.Adam, "numpy", steps=3, sizes=SIZES)
    go(other, twin, [grads[0], grads[2]], "numpy")
    same(tensors(ps, opt), tensors(other, twin))


def test_bits_may_be_changed_between_steps():
    ends = []
    for name in ("triton", "numpy"):
        ps, opt, grads = train(dlopt.NAdam, name, steps=3, sizes=SIZES)
        for bits, row in zip((8, 32, 8), grads, strict=True):
            opt.param_groups[0]["optim_bits"] = bits
            go(ps, opt, [row], name)
        ends.append(tensors(ps, opt))
    same(*ends)
