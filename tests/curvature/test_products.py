import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian

from dlopt.curvature import hessian_operator, hvp

# torch's own Hessian still compiles a part of itself
FORWARD = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def net(dtype=torch.float64, frozen=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    model[0].bias.requires_grad_(not frozen)
    inputs, targets = torch.randn(7, 3, dtype=dtype), torch.randn(7, 2, dtype=dtype)
    return model, lambda: (model(inputs) - targets).square().mean(), (inputs, targets)


def dense(model, batch):
    """The matrix by torch's forward-over-reverse differentiation, of the trainable parameters in order."""
    inputs, targets = batch
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(parameters):
        return (functional_call(model, parameters, inputs) - targets).square().mean()

    blocks = hessian(loss)(named)
    rows = [torch.cat([blocks[a][b].reshape(named[a].numel(), -1) for b in named], 1) for a in named]
    return torch.cat(rows)


def columns(operator):
    return torch.stack([operator(unit) for unit in torch.eye(operator.size, dtype=operator.gradient.dtype)], 1)


@FORWARD
@pytest.mark.parametrize("frozen", [False, True])
def test_every_column_is_that_of_the_dense_hessian(frozen):
    model, loss, batch = net(frozen=frozen)
    operator = hessian_operator(loss, model.parameters())
    truth = dense(model, batch)
    assert operator.size == len(truth) == (22 if frozen else 26)
    torch.testing.assert_close(columns(operator), truth, rtol=1e-12, atol=1e-14)


@FORWARD
def test_float32_agrees_with_float64():
    model, loss, batch = net(torch.float32)
    operator = hessian_operator(loss, model.parameters())
    torch.testing.assert_close(columns(operator), dense(model, batch), rtol=1e-4, atol=1e-6)


def test_the_matrix_is_symmetric_and_linear():
    model, loss, _ = net()
    operator = hessian_operator(loss, model.parameters())
    torch.manual_seed(1)
    u, v = torch.randn(2, operator.size, dtype=torch.float64)
    assert float(u @ operator(v)) == pytest.approx(float(v @ operator(u)), rel=1e-12)
    torch.testing.assert_close(operator(2 * u - 3 * v), 2 * operator(u) - 3 * operator(v))


def test_a_product_is_the_change_of_the_gradient():
    model, loss, _ = net()
    operator = hessian_operator(loss, model.parameters())
    torch.manual_seed(2)
    v, r = torch.randn(operator.size, dtype=torch.float64), 1e-5
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    gradients = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(flat + sign * r * v, model.parameters())
        gradients.append(hessian_operator(loss, model.parameters()).gradient)
    torch.testing.assert_close(operator_at(model, loss, flat)(v), (gradients[0] - gradients[1]) / (2 * r), rtol=1e-7,
                               atol=1e-9)  # fmt: skip


def operator_at(model, loss, flat):
    nn.utils.vector_to_parameters(flat, model.parameters())
    return hessian_operator(loss, model.parameters())


def test_loss_and_gradient_come_along_and_nothing_is_touched():
    model, loss, _ = net()
    before = [p.detach().clone() for p in model.parameters()]
    operator = hessian_operator(loss, model.parameters())
    operator(operator.gradient)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert operator.loss == loss().item()
    gradients = torch.autograd.grad(loss(), list(model.parameters()))
    torch.testing.assert_close(operator.gradient, torch.cat([g.flatten() for g in gradients]))
    assert not operator.gradient.requires_grad and not operator(operator.gradient).requires_grad


def test_parameters_that_do_not_curve_have_zeros():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y, unused = torch.tensor(3.0, requires_grad=True), torch.ones(2, requires_grad=True)
    operator = hessian_operator(lambda: (x**3).sum() + 5 * y, [x, y, unused])
    np.testing.assert_array_equal(columns(operator), np.diag([6, 12, 0, 0, 0]))
    np.testing.assert_array_equal(columns(hessian_operator(lambda: 5 * y, [y])), [[0]])


def test_it_works_where_gradients_are_off():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    with torch.no_grad():
        assert hvp(lambda: (w**3).sum(), [w], torch.ones(2)).tolist() == [6, 12]


W = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    "loss, parameters, reason",
    [
        (lambda: (W * W).sum().detach(), [W], "no graph"),
        (lambda: W * W, [W], r"scalar tensor, got a tensor of shape \(2,\)"),
        (lambda: 1.0, [W], "got float"),
        (lambda: (W * float("nan")).sum(), [W], "the loss is nan"),
        (lambda: (W * W).sum(), [], "no parameter that requires"),
        (lambda: (W * W).sum(), [torch.ones(2)], "no parameter that requires"),
        (lambda: (W * W).sum(), W, "a list of parameters"),
        (lambda: (W * W).sum(), [W, W], "given twice"),
        (lambda: (W * W).sum(), [W * 2], "must be a leaf"),
        (lambda: (W * W).sum(), ["w"], "must be a leaf tensor, got str"),
        (lambda: (W * W).sum(), [W, torch.ones(2, dtype=torch.float64, requires_grad=True)], "one dtype"),
        (lambda: (W * W).sum(), [torch.ones(2, dtype=torch.complex64, requires_grad=True)], "must be real"),
    ],
)
def test_bad_input_is_refused(loss, parameters, reason):
    with pytest.raises(ValueError, match=reason):
        hessian_operator(loss, parameters)


@pytest.mark.parametrize(
    "vector, reason",
    [
        (torch.ones(3), r"shape \(2,\), got \(3,\)"),
        (torch.ones(2, 1), "shape"),
        ([1.0, 2.0], "got list"),
        (torch.ones(2, dtype=torch.float64), "float32 on cpu, got torch.float64"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vector, reason):
    with pytest.raises(ValueError, match=reason):
        hvp(lambda: (W**3).sum(), [W], vector)
