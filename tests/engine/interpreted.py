"""The Triton face in Triton's interpreter, against NumPy. Run by test_triton.py, in a process of its own."""

import pytest
import torch

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import triton as face
from tests.engine.test_contract import CASES, DTYPES, OPTIMIZERS, WRITING, label

ELEMENTWISE = [(cls, setting) for cls, setting in CASES if not (cls.matrix or cls.sparse_only)]
SIZES = [5, face.BLOCK + 3, 0]


def steps(cls, setting, name, dtype, sizes, count=2):
    """The parameters and their state after some steps on the face `name`."""
    torch.manual_seed(0)
    params = [torch.randn(n, dtype=torch.float64).to(dtype).requires_grad_() for n in sizes]
    optimizer = cls(params, **setting)
    with faces.use(name):
        for _ in range(count):
            for p in params:
                p.grad = torch.randn(p.shape, dtype=torch.float64).to(dtype)
            optimizer.step()
        if hasattr(optimizer, "eval"):
            optimizer.eval()
    state = [v for p in params for _, v in sorted(optimizer.state.get(p, {}).items())]
    return [*params, *state]


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cls, setting", [pytest.param(c, s, id=label(c, s)) for c, s in ELEMENTWISE])
def test_the_bits_are_numpys(cls, setting, dtype, writing):
    setting = {**setting, "writing": writing}
    got, expected = (steps(cls, setting, name, dtype, SIZES) for name in ("triton", "numpy"))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_a_tensor_of_several_chunks():
    sizes = [face.CHUNK * 2 + 17, 3]
    got, expected = (steps(dlopt.Adam, {"lr": 0.1}, name, torch.float32, sizes) for name in ("triton", "numpy"))
    assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("writing", WRITING)
def test_nan_and_infinity_pass_through(writing):
    def run(name):
        p = torch.tensor([1.0, 2.0, -3.0, 0.0], dtype=torch.bfloat16, requires_grad=True)
        p.grad = torch.tensor([float("nan"), float("inf"), 1e38, 0.0], dtype=torch.bfloat16)
        with faces.use(name):
            dlopt.AdamW([p], lr=1e3, writing=writing).step()
        return p.detach().float()

    torch.testing.assert_close(run("triton"), run("numpy"), rtol=0, atol=0, equal_nan=True)


def test_addresses_are_sent_again_when_gradients_move():
    p = torch.ones(5, requires_grad=True)
    optimizer = dlopt.SGD([p], lr=1.0)
    with faces.use("triton"):
        for value in (1.0, 2.0, 3.0):
            p.grad = torch.full((5,), value)
            optimizer.step()
    assert p.tolist() == [-5.0] * 5


def test_a_matrix_rule_and_sparse_tensors_are_refused_with_the_reason():
    p = torch.ones(2, 2, requires_grad=True)
    p.grad = torch.ones(2, 2)
    with faces.use("triton"), pytest.raises(RuntimeError, match="the triton face cannot take this step: a matrix rule"):
        dlopt.Muon([p]).step()
    assert p.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_every_element_wise_optimizer_is_here():
    assert {cls for cls, _ in ELEMENTWISE} == {c for c in OPTIMIZERS if not (c.matrix or c.sparse_only)}
