"""A turned parameter space: the same function, and only methods that know axes notice."""

from functools import partial

import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.lab.class_sizes import class_sizes
from dlopt.lab.rotated import _orthogonal, rotated

PLAIN = lab.tasks.digits_mlp(widths=(8,))
TURNED = rotated(PLAIN)


def test_the_matrices_are_orthogonal_and_differ_by_seed_and_place():
    q = _orthogonal(50, 0, 0).double()
    assert torch.allclose(q @ q.T, torch.eye(50, dtype=torch.float64), atol=1e-6)
    assert torch.equal(_orthogonal(50, 0, 0), _orthogonal(50, 0, 0))
    assert not torch.equal(_orthogonal(50, 0, 0), _orthogonal(50, 1, 0))
    assert not torch.equal(_orthogonal(50, 0, 0), _orthogonal(50, 0, 1))


def test_the_function_is_the_same_and_the_parameters_are_not():
    plain, turned = PLAIN.model(3), TURNED.model(3)
    for key, value in PLAIN.evaluate(plain).items():
        assert TURNED.evaluate(turned)[key] == pytest.approx(value, rel=1e-4)
    for w, z in zip(plain.parameters(), turned.parameters(), strict=True):
        assert z.numel() == w.numel() and torch.allclose(z.norm(), w.norm(), rtol=1e-4)
        assert not w.any() or not torch.allclose(z, w.flatten(), atol=1e-3)


def test_the_gradient_is_turned_as_well():
    plain, turned, batch = PLAIN.model(0), TURNED.model(0), next(PLAIN.batches(0, 32))
    PLAIN.loss(plain, batch).backward()
    TURNED.loss(turned, batch).backward()
    for place, (w, z) in enumerate(zip(plain.parameters(), turned.parameters(), strict=True)):
        q = _orthogonal(w.numel(), 0, place)
        assert torch.allclose(z.grad, q.T @ w.grad.flatten(), atol=1e-5)


@pytest.mark.parametrize(
    "method, same",
    [(partial(dlopt.SGD, lr=0.05, momentum=0.9), True), (partial(dlopt.Adam, lr=0.003), False)],
)
def test_momentum_does_not_notice_and_adam_does(method, same):
    ends = [
        lab.run(task, {"m": method}, seeds=[0], steps=20, every=20, cache=False, progress=False)["val_loss"].iloc[-1]
        for task in (PLAIN, TURNED)
    ]
    assert (abs(ends[0] - ends[1]) < 1e-4) == same


def test_a_task_that_judges_a_model_by_what_it_carries_can_be_turned():
    plain = class_sizes([3, 2, 1], features=5)
    turned = rotated(plain)
    assert turned.evaluate(turned.model(2)) == pytest.approx(plain.evaluate(plain.model(2)), rel=1e-5)


def test_a_tensor_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="more than 4096"):
        rotated(lab.tasks.digits_mlp(widths=(128,)))
