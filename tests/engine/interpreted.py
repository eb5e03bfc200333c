"""The Triton face in Triton's interpreter, against NumPy. Run by test_triton.py, in a process of its own."""

import pytest
import torch

import dlopt
from dlopt.engine import RuleOptimizer, device, faces, xp
from dlopt.engine.faces import triton as face
from tests.engine.layerwise import Layered, Trusting
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


@pytest.mark.parametrize("writing", ["stochastic", "master"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cls, setting", [pytest.param(c, s, id=label(c, s)) for c, s in ELEMENTWISE])
def test_every_rule_with_the_other_writers(cls, setting, dtype, writing):
    setting = {**setting, "writing": writing}
    got, expected = (steps(cls, setting, name, dtype, SIZES) for name in ("triton", "numpy"))
    assert all(map(torch.equal, got, expected))


def test_every_bfloat16_is_read_as_it_is():
    """Subnormal ones too: the first momentum is the gradient in float32."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    results = []
    for name in ("triton", "numpy"):
        p = torch.zeros(len(bits), dtype=torch.bfloat16, requires_grad=True)
        p.grad, opt = bits.view(torch.bfloat16).clone(), dlopt.SGD([p], lr=0.0, momentum=0.9)
        with faces.use(name):
            opt.step()
        results.append(opt.state[p]["momentum_buffer"])
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)


def literals(g, p, *, lr):
    a = xp.where(g > p, 0.1, 0.3) + xp.maximum(g, 0.1) + xp.minimum(0.7, p)
    return a + xp.where(lr > 0, 0.2, 0.6) * g


class Literal(RuleOptimizer):
    rules = (literals,)

    def __init__(self, params, lr=0.1, **engine):
        super().__init__(params, {"lr": lr}, **engine)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_in_a_rule_are_as_wide_as_the_arithmetic(dtype):
    got, expected = (steps(Literal, {}, name, dtype, SIZES) for name in ("triton", "numpy"))
    assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("writing", ["stochastic", "master"])
def test_other_writers_have_numpys_bits(writing, dtype):
    """Two chunks, and numbers below float16's least normal one."""
    sizes = [face.CHUNK + 3, 5, 0]
    setting = {"writing": writing, "lr": 1e-5, "weight_decay": 0.9999e5}  # decay brings all near zero
    got, expected = (steps(dlopt.AdamW, setting, name, dtype, sizes) for name in ("triton", "numpy"))
    assert all(map(torch.equal, got, expected))


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


STAYING = [
    (dlopt.SGD, {"momentum": 0.9, "dampening": 0.3}),
    (dlopt.AdamW, {"amsgrad": True, "maximize": True}),
    (dlopt.Adam, {"weight_decay": 0.1}),
    (dlopt.NAdam, {}),
    (dlopt.ScheduleFreeAdamW, {"warmup_steps": 3}),
    (dlopt.ProximalSGD, {"l1": 0.1}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cls, setting", STAYING)
def test_scalars_that_stay_on_the_device_make_the_same_bits(cls, setting, dtype, monkeypatch):
    """Every parameter has a column of the table; float64 is a power away from the host's bits."""
    expected = steps(cls, setting, "numpy", dtype, SIZES, count=3)
    monkeypatch.setattr(device, "DEVICES", ["cpu"])
    kernels = face.kernel.cache_info().currsize
    for lr in (1.0, 1e-3):  # the first is another computation with the same kernel
        tensor = torch.tensor(lr if lr == 1.0 else default_lr(cls), dtype=torch.float64)
        got = steps(cls, {**setting, "lr": tensor, "capturable": True}, "triton", dtype, SIZES, count=3)
    assert face.kernel.cache_info().currsize <= kernels + 2  # with aligned tensors, and without
    tolerance = 1e-14 if dtype is torch.float64 else 0
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance / 100)


def default_lr(cls):
    return cls([torch.ones(1, requires_grad=True)]).param_groups[0]["lr"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("stays", [True, False])
def test_a_scaled_gradient_and_one_that_is_infinite(dtype, stays, monkeypatch):
    """The step unscales in place and, found infinite, changes nothing, on the host's word or the device's."""
    monkeypatch.setattr(device, "DEVICES", ["cpu"] if stays else ["cuda"])
    results = []
    for name in ("triton", "numpy"):
        torch.manual_seed(0)
        params = [torch.randn(n).to(dtype).requires_grad_() for n in SIZES]
        opt = dlopt.Adam(params, lr=0.1, maximize=True, weight_decay=0.1)
        for scale, found in ((8.0, 0.0), (8.0, 1.0), (4.0, 0.0)):
            for p in params:
                p.grad = torch.randn(p.shape).to(dtype)
            if name == "triton":
                opt.grad_scale, opt.found_inf = torch.tensor(scale), torch.tensor(found)
                for p in params:
                    p.grad *= scale
            if name == "triton" or not found:
                with faces.use(name):
                    opt.step()
        results.append([*params, *(p.grad for p in params), *(v for p in params for v in opt.state[p].values())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cls", [Trusting, Layered])
def test_norms_are_numpys_but_for_the_order_of_the_sum(cls, dtype):
    """Two chunks, one, none; a zero tensor. What order does to a sum of float64 is lost in float32."""
    sizes = [face.CHUNK + 5, 3, 0]
    got, expected = (steps(cls, {"writing": "kahan"}, name, dtype, sizes) for name in ("triton", "numpy"))
    tolerance = 1e-14 if dtype is torch.float64 else 0
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_norms_beside_scalars_that_stay(monkeypatch):
    expected = steps(Layered, {}, "numpy", torch.float32, SIZES)
    monkeypatch.setattr(device, "DEVICES", ["cpu"])
    got = steps(
        Layered, {"capturable": True, "lr": torch.tensor(0.01, dtype=torch.float64)}, "triton", torch.float32, SIZES
    )
    assert all(map(torch.equal, got, expected))


def test_addresses_that_a_graph_holds():
    addresses = [2**47 - 16, 0, 12345678901234, *range(300)]
    assert face.baked(addresses, torch.device("cpu")).tolist() == addresses


def test_a_matrix_rule_and_sparse_tensors_are_refused_with_the_reason():
    p = torch.ones(2, 2, requires_grad=True)
    p.grad = torch.ones(2, 2)
    with faces.use("triton"), pytest.raises(RuntimeError, match="the triton face cannot take this step: a matrix rule"):
        dlopt.Muon([p]).step()
    assert p.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_every_element_wise_optimizer_is_here():
    assert {cls for cls, _ in ELEMENTWISE} == {c for c in OPTIMIZERS if not (c.matrix or c.sparse_only)}
