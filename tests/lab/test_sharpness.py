import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.lab import losses
from dlopt.lab.tasks import least_squares, with_order


def small(loss="squared"):
    return lab.few_digits(loss, examples=20, widths=(3,))


def dense(task, model):
    """The Hessian over all training data, row by row."""
    batch = next(task.batches(0, 10**9))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(task.loss(model, batch), parameters, create_graph=True)
    flat = torch.cat([g.flatten() for g in gradients])
    rows = [torch.autograd.grad(g, parameters, retain_graph=True) for g in flat]
    return torch.stack([torch.cat([r.flatten() for r in row]) for row in rows]), flat.detach()


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_sharpness_and_slope_are_those_of_the_dense_hessian(loss):
    task = small(loss)
    model = task.model(0)
    metrics = lab.with_sharpness(task, 3, tol=1e-5).evaluate(model)
    matrix, gradient = dense(task, model)
    values, vectors = np.linalg.eigh(matrix.double().numpy())
    found = [metrics[name] for name in ("sharpness", "sharpness_2", "sharpness_3")]
    np.testing.assert_allclose(found, values[:-4:-1], rtol=1e-4)
    assert abs(metrics["slope"]) == pytest.approx(abs(vectors[:, -1] @ gradient.double().numpy()), rel=0.02)
    assert metrics["full_loss"] == pytest.approx(task.loss(model, next(task.batches(0, 20))).item())
    assert metrics | task.evaluate(model) == metrics


def test_least_squares_has_the_curvature_of_its_data():
    """Any task on a data split will do; here the Hessian is the second moment of the inputs and 1."""
    task = lab.with_sharpness(least_squares(), tol=1e-6)
    inputs = next(task.batches(0, 10**9))[0].double().numpy()
    design = np.c_[inputs, np.ones(len(inputs))]
    truth = np.linalg.eigvalsh(design.T @ design / len(design))[-1]
    assert task.evaluate(task.model(0))["sharpness"] == pytest.approx(truth, rel=1e-5)


def test_squared_error_is_the_mean_over_examples_and_classes():
    outputs, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    truth = np.mean((outputs.numpy() - np.eye(3)[targets.numpy()]) ** 2)
    assert float(losses.squared_error(torch.nn.Identity(), (outputs, targets))) == pytest.approx(truth, rel=1e-6)


def test_the_network_and_the_data_are_as_asked():
    task = lab.few_digits(examples=50, widths=(7, 8), activation="relu")
    model = task.model(3)
    assert [p.shape[0] for p in model.parameters()] == [7, 7, 8, 8, 10, 10]
    assert any(isinstance(layer, torch.nn.ReLU) for layer in model)
    inputs, targets = next(task.batches(0, task.batch_size))
    digits = lab.data.digits()
    assert torch.equal(inputs, digits.train.inputs[:50]) and torch.equal(targets, digits.train.targets[:50])
    right = (model(digits.validation.inputs).argmax(1) == digits.validation.targets).double().mean().item()
    assert task.evaluate(model)["val_accuracy"] == right


def test_the_sign_of_the_slope_is_kept():
    """Below the edge the iterate stays on one side of the valley, above it changes sides at each step."""
    task = lab.with_sharpness(small())
    for lr, signs in ((0.1, 1), (2.5, -1)):
        runs = lab.run(task, {"gd": dlopt.SGD}, settings=[dict(lr=lr)], seeds=[0], steps=20, every=1, cache=False,
                       progress=False)  # fmt: skip
        slope, edge = runs["slope"].to_numpy()[5:], 2 / lr
        if signs == 1:
            assert (runs["sharpness"] < edge).all() and (slope[1:] * slope[:-1] > 0).mean() > 0.8
        else:
            assert (slope[1:] * slope[:-1] < 0).mean() > 0.8


def test_watching_does_not_change_the_run():
    kw = dict(settings=[dict(lr=0.5)], seeds=[0, 1], steps=30, every=10, cache=False, progress=False)
    plain = lab.run(small(), {"gd": dlopt.SGD}, **kw)
    watched = lab.run(lab.with_sharpness(small()), {"gd": dlopt.SGD}, **kw)
    np.testing.assert_array_equal(plain["val_loss"], watched["val_loss"])


def test_a_run_that_diverges_is_kept_and_the_cache_gives_it_back():
    task = lab.with_sharpness(small())
    kw = dict(settings=lab.grid(lr=[0.5, 1e6]), seeds=[0], steps=20, every=5, progress=False)
    first, again = (lab.run(task, {"gd": dlopt.SGD}, **kw) for _ in range(2))
    assert first["diverged"].tolist() == [False] * 5 + [False] + [True] * 4
    assert first[first["diverged"]]["sharpness"].tolist() == [math.inf] * 4
    np.testing.assert_array_equal(first["sharpness"], again["sharpness"])


@pytest.mark.parametrize("k", [0, -1, 1.5, None])
def test_a_bad_number_of_eigenvalues_is_refused(k):
    with pytest.raises(ValueError, match="k must be a whole number from 1 on"):
        lab.with_sharpness(small(), k)


@pytest.mark.parametrize("tol", [0, 0.0, 1, 2.0, -1, math.nan, math.inf, "small"])
def test_a_bad_tolerance_is_refused(tol):
    with pytest.raises(ValueError, match="Invalid tol"):
        lab.with_sharpness(small(), tol=tol)


def test_more_eigenvalues_than_parameters_are_an_error_not_a_divergence():
    task = lab.with_sharpness(small(), 10**6)
    with pytest.raises(ValueError, match="k must be from 1 to the size"):
        task.evaluate(task.model(0))


def test_only_what_is_not_finite_counts_as_divergence():
    task = small()

    def with_loss(loss):
        return lab.with_sharpness(replace(task, loss=loss))

    def total(model):
        return sum(p.sum() for p in model.parameters())

    def broken(model, batch):
        raise ValueError("a mistake")

    model = task.model(0)
    for message, loss in (("a mistake", broken), ("no graph", lambda m, b: torch.zeros(()))):
        with pytest.raises(ValueError, match=message):
            with_loss(loss).evaluate(model)
    for loss in (  # infinite: the loss; its gradient alone; its curvature alone
        lambda m, b: total(m) * math.inf,
        lambda m, b: (total(m) - total(m).detach()).abs().pow(0.5),
        lambda m, b: (total(m) - total(m).detach()).abs().pow(1.5),
    ):
        metrics = with_loss(loss).evaluate(model)
        assert [metrics[name] for name in ("full_loss", "sharpness", "slope")] == [math.inf] * 3


def test_the_order_of_the_batches_does_not_matter():
    task, model = small(), small().model(0)
    truth = lab.with_sharpness(task).evaluate(model)
    for order in ("replacement", "once", "cyclic", "sorted"):
        again = lab.with_sharpness(with_order(task, order)).evaluate(model)
        assert again == pytest.approx(truth, rel=1e-2)


@pytest.mark.parametrize(
    "options, reason",
    [
        (dict(loss="hinge"), "loss must be one of squared, cross_entropy"),
        (dict(examples=0), "from 1 to 1077"),
        (dict(examples=1078), "from 1 to 1077"),
    ],
)
def test_bad_input_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        lab.few_digits(**options)
