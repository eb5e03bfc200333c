import copy

import pytest
import torch
from torch import nn

from dlopt.curvature import cg, flat_loss, newton_step
from dlopt.lab import tasks


def logistic():
    task = tasks.logistic_regression(l2=1e-2)
    return task.model(0).double(), lambda net, task=task: task.loss(net, double(next(task.batches(0, 341))))


def double(batch):
    return batch[0].double(), batch[1]


def test_value_gradient_and_hessian_are_autograds():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(7, 3).double()
    f, theta = flat_loss(net, lambda m: m(x).square().sum())
    value = net(x).square().sum()
    grads = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))])
    torch.testing.assert_close(f(theta), value)
    torch.testing.assert_close(torch.func.grad(f)(theta), grads)
    expected = torch.autograd.functional.hessian(f, theta)
    torch.testing.assert_close(torch.func.jacrev(torch.func.grad(f))(theta), expected)
    assert theta.shape == (26,)


def test_a_loss_that_looks_at_the_parameters_sees_the_vector():
    """The penalty of the logistic task sums over ``model.parameters()``."""
    net, loss = logistic()
    f, theta = flat_loss(net, loss)
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for p in moved.parameters():
            p += 1.0
    torch.testing.assert_close(f(theta + 1), loss(moved))
    assert all((p == 0).all() for p in net.parameters())


def test_newtons_step_is_cg_on_the_hessian():
    net, loss = logistic()
    f, theta = flat_loss(net, loss)
    hessian = torch.func.jacrev(torch.func.grad(f))(theta)
    found = cg((hessian + hessian.T) / 2, -torch.func.grad(f)(theta), tol=1e-12)
    torch.testing.assert_close(found.x, newton_step(f, theta), rtol=1e-6, atol=1e-8)


def test_a_shared_parameter_counts_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    f, theta = flat_loss(Tied(), lambda m: m(torch.ones(1, 2)).sum())
    assert theta.shape == (4,)
    assert f(torch.full((4,), 2.0)).item() == 32


@pytest.mark.parametrize("training", [True, False])
def test_the_buffers_of_the_model_are_left_as_they_are(training):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double(), torch.randn(9, 3)
    net.train(training)
    before = copy.deepcopy(net.state_dict())
    f, theta = flat_loss(net, lambda m: m(x.double()).square().sum())
    first = f(theta)
    gradient, hessian = torch.func.grad(f)(theta), torch.func.jacrev(torch.func.grad(f))(theta)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    value = net(x.double()).square().sum()
    truth = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))])
    torch.testing.assert_close(first, value)
    torch.testing.assert_close(gradient, truth)
    assert hessian.isfinite().all() and hessian.shape == (len(theta), len(theta))


def test_refuses():
    with pytest.raises(ValueError, match="must have parameters"):
        flat_loss(nn.Tanh(), lambda m: m(torch.ones(1)).sum())
    with pytest.raises(ValueError, match="all of one dtype"):
        flat_loss(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double()), lambda m: torch.zeros(()))
    f, _ = flat_loss(nn.Linear(1, 1), lambda m: m(torch.ones(1, 1)).sum())
    with pytest.raises(ValueError, match=r"must have shape \(2,\), got \(3,\)"):
        f(torch.ones(3))
