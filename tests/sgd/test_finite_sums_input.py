"""What the finite-sum methods refuse, and that they do so before any work."""

import numpy as np
import pytest
import torch

from dlopt.sgd import linear_loss, sag, saga, sarah, scsg, svrg, table_bytes

SOLVERS = [sag, saga, svrg, sarah, scsg]
X, Y = torch.arange(12.0).reshape(4, 3) / 10, torch.tensor([0.0, 1.0, 1.0, 0.0])
GOOD = linear_loss(X, Y)


def square(w, i):
    return ((X[i] - w) ** 2).sum()


def forbidden(step, w):
    raise AssertionError("a step was taken")


ARGUMENTS = [
    (dict(indices=[0, 1, 4, 0, 0]), "indices must lie in 0 to 3"),
    (dict(indices=[0, -1, 2, 0, 0]), "indices must lie in 0 to 3"),
    (dict(indices=[0, 0, 0, 0, 0, 9]), "indices must lie in 0 to 3"),
    (dict(indices=[0, 1]), "one index a step"),
    (dict(indices=[]), "one index a step"),
    (dict(indices=[0.0, 1.0, 1.5, 0.0, 0.0]), "sequence of integers"),
    (dict(indices=torch.zeros(5)), "sequence of integers"),
    (dict(indices=torch.zeros(5, dtype=torch.bool)), "sequence of integers"),
    (dict(indices=torch.zeros(1, 5, dtype=torch.int64)), "sequence of integers"),
    (dict(indices="abcde"), "sequence of integers"),
    (dict(indices=(i for i in range(5))), "sequence of integers"),
    (dict(indices=7), "sequence of integers"),
    (dict(n=0), "n must be at least 1"),
    (dict(n=-4), "n must be at least 1"),
    (dict(n=4.0), "n must be an integer"),
    (dict(n=True), "n must be an integer"),
    (dict(lr=0), "learning rate"),
    (dict(lr=-0.1), "learning rate"),
    (dict(lr=float("nan")), "learning rate"),
    (dict(lr=float("inf")), "learning rate"),
    (dict(lr="0.1"), "learning rate"),
    (dict(lr=None), "learning rate"),
    (dict(l2=-1e-3), "l2"),
    (dict(l2=float("nan")), "l2"),
    (dict(l2=None), "l2"),
    (dict(steps=-1), "steps must be at least 0"),
    (dict(steps=2.5), "steps must be an integer"),
    (dict(steps=None), "steps must be an integer"),
    (dict(w0=torch.zeros(3, dtype=torch.int64)), "w0 must be float32 or float64"),
    (dict(w0=torch.zeros(3, dtype=torch.float16)), "w0 must be float32 or float64"),
    (dict(w0=torch.zeros(3, dtype=torch.complex64)), "w0 must be float32 or float64"),
    (dict(w0=torch.tensor([0.0, float("nan"), 0.0])), "finite"),
    (dict(w0=torch.zeros(0)), "elements"),
    (dict(w0=[0.0, 0.0, 0.0]), "w0 must be one tensor"),
    (dict(w0={"w": torch.zeros(3)}), "w0 must be one tensor"),
    (dict(prox=0.1), "prox must be a function"),
    (dict(prox=lambda w, lr: w[:2]), "prox must return"),
    (dict(prox=lambda w, lr: w.double()), "prox must return"),
    (dict(prox=lambda w, lr: None), "prox must return"),
    (dict(prox=lambda w, lr: w / 0), "prox must return finite"),
    (dict(callback=3), "callback must be a function"),
    (dict(seed=-1), "seed must be at least 0"),
    (dict(seed=None), "seed must be an integer"),
]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", [GOOD, square], ids=["linear", "general"])
@pytest.mark.parametrize("wrong, message", ARGUMENTS, ids=[f"{m}-{i}" for i, (_, m) in enumerate(ARGUMENTS)])
def test_a_wrong_argument_is_refused(solver, loss, wrong, message):
    arguments = dict(w0=torch.zeros(3), n=4, lr=0.1, steps=5, callback=forbidden) | wrong
    with pytest.raises(ValueError, match=message):
        solver(loss, arguments.pop("w0"), arguments.pop("n"), **arguments)


LOSSES = [
    (lambda w, i: (X[i] - w) ** 2, "one example, a tensor of shape"),
    (lambda w, i: square(w, i)[None], "one example, a tensor of shape"),
    (lambda w, i: ((X - w) ** 2).sum(), "does not depend on i"),
    (lambda w, i: (w**2).sum(), "does not depend on i"),
    (lambda w, i: square(w, i) * (torch.inf if True else 1), "finite"),
    (lambda w, i: torch.log(square(w, i) - square(w, i)), "finite"),
    (lambda w, i: torch.where(i == 2, torch.nan, 1.0) * square(w, i), "i = 2"),
    (lambda w, i: torch.where(i == 2, w.abs().sqrt().sum(), square(w, i)), "gradient of loss_i must be finite"),
    (lambda w, i: 1.0, "must return a tensor"),
    (lambda w, i: None, "must return a tensor"),
    (lambda w, i: square(w, i).detach(), "not differentiable"),
    (lambda w, i: X[i].sum(), "not differentiable"),
    (lambda w, i: X[i].sum().long(), "real number"),
    (lambda w, i: square(w, i) * X.numpy()[int(i), 0], "vmap"),
    (lambda w, i: square(w, i) * torch.rand(()), "vmap"),
    (lambda w, i: ((torch.cat((X[:2], X[:1]))[i] - w) ** 2).sum(), "vmap"),
    ("square", "loss_i must be a function"),
    (None, "loss_i must be a function"),
]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss, message", LOSSES, ids=[f"{m}-{i}" for i, (_, m) in enumerate(LOSSES)])
def test_a_loss_that_is_not_of_one_example_is_refused(solver, loss, message):
    with pytest.raises(ValueError, match=message):
        solver(loss, torch.zeros(3), 4, lr=0.1, steps=5, callback=forbidden)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", [GOOD, square], ids=["linear", "general"])
def test_inference_mode_is_named(solver, loss):
    with torch.inference_mode(), pytest.raises(ValueError, match="inference_mode"):
        solver(loss, torch.zeros(3), 4, lr=0.1, steps=5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_good_losses_are_not_refused(solver):
    """All losses alike at w0, gradients alike, one example only, no_grad around, a w0 that wants a gradient."""
    same = torch.ones(4, 3)
    for loss, n in ((lambda w, i: ((same[i] - w) ** 2).sum(), 4), (lambda w, i: (w**2).sum(), 1), (GOOD, 4)):
        with torch.no_grad():
            w = solver(loss, torch.zeros(3, requires_grad=True), n, lr=0.1, steps=5)
        assert not w.requires_grad and w.isfinite().all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(inputs=X[0]), "shape"),
        (dict(inputs=torch.zeros(0, 3), targets=torch.zeros(0)), "shape"),
        (dict(targets=Y[:3]), "one for each"),
        (dict(targets=Y[None]), "one for each"),
        (dict(inputs=X / 0), "inputs must be finite"),
        (dict(targets=Y / 0), "targets must be finite"),
        (dict(targets=[0, 1, 2, 0]), "0 and 1"),
        (dict(targets=[-1, 1, 0, 1]), "0 and 1"),
        (dict(inputs="abc"), "inputs must be numbers"),
        (dict(inputs=X + 1j), "inputs must be real"),
        (dict(targets=Y + 1j), "targets must be real"),
        (dict(inputs=X.numpy() + 1j), "inputs must be real"),
        (dict(loss="hinge"), "loss must be"),
        (dict(loss=None), "loss must be"),
    ],
)
def test_a_linear_loss_looks_at_what_it_gets(wrong, message):
    with pytest.raises(ValueError, match=message):
        linear_loss(**(dict(inputs=X, targets=Y) | wrong))


def test_a_linear_loss_takes_what_is_usual():
    first = GOOD(torch.ones(3), torch.tensor(2))
    for targets in (Y.long(), Y[:, None], 2 * Y - 1, Y.numpy(), Y.tolist(), Y.bool()):
        assert torch.equal(linear_loss(X, targets)(torch.ones(3), torch.tensor(2)), first)
    assert linear_loss(X.numpy().astype(np.float64), Y)(torch.ones(3), torch.tensor(2)).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong, message", [(dict(w0=torch.zeros(4)), "3 elements"), (dict(n=3), "number of inputs, 4")]
)
def test_a_linear_loss_knows_its_size(wrong, message):
    arguments = dict(w0=torch.zeros(3), n=4) | wrong
    with pytest.raises(ValueError, match=message):
        saga(GOOD, **arguments, lr=0.1, steps=5)


@pytest.mark.parametrize(
    "solver, wrong, message",
    [
        (saga, dict(table="none"), "table must be"),
        (svrg, dict(inner=0), "inner must be"),
        (svrg, dict(inner=1.5), "inner must be"),
        (svrg, dict(option="first"), "option must be"),
        (sarah, dict(inner=0), "inner must be"),
        (sarah, dict(option="first"), "option must be"),
        (scsg, dict(batch=0), "batch must be"),
        (scsg, dict(batch=2.5), "batch must be"),
        (scsg, dict(batch=lambda j: 0), "batch must be"),
        (scsg, dict(batch=lambda j: None), "batch must be an integer"),
        (scsg, dict(lengths=[2, 2]), "sum to 5"),
        (scsg, dict(lengths=[]), "sum to 5"),
        (scsg, dict(lengths=[-1, 9]), "at least 0"),
        (scsg, dict(lengths=[2.5, 4.0]), "sequence of integers"),
    ],
)
def test_a_wrong_keyword_of_one_method_is_refused(solver, wrong, message):
    with pytest.raises(ValueError, match=message):
        solver(GOOD, torch.zeros(3), 4, lr=0.1, steps=5, callback=forbidden, **wrong)


def test_a_batch_that_goes_wrong_on_the_way_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        scsg(GOOD, torch.zeros(3), 4, lr=0.1, steps=5, batch=lambda j: 3 if j == 1 else 0, lengths=[2, 3])


def test_table_bytes_looks_at_what_it_gets():
    with pytest.raises(ValueError, match="n must be"):
        table_bytes(GOOD, torch.zeros(3), 0)
    with pytest.raises(ValueError, match="w0 must be"):
        table_bytes(GOOD, torch.zeros(3).long(), 4)
