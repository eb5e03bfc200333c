import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sgd.exercises import momentum

PAGES = sorted(path.stem for path in (Path(__file__).parent / "exercises").glob("*.py"))
CHECKS = [
    pytest.param(check, right, mistakes, id=f"{page}-{check.__name__}")
    for page in PAGES
    for check, (right, mistakes) in importlib.import_module(f"tests.sgd.exercises.{page}").EXERCISES.items()
]
WRONG = [
    pytest.param(check, wrong, hint, id=f"{case.id}-{wrong.__name__}")
    for case in CHECKS
    for check, _, mistakes in [case.values]
    for wrong, hint in mistakes.items()
]


@pytest.mark.parametrize("check, right, mistakes", CHECKS)
def test_the_right_answer_passes(check, right, mistakes, capsys):
    check(right)
    assert capsys.readouterr().out.endswith(": correct\n")
    assert len(mistakes) >= 2


@pytest.mark.parametrize("check, wrong, hint", WRONG)
def test_the_usual_wrong_answers_are_rejected_by_name(check, wrong, hint):
    with pytest.raises(AssertionError) as caught:
        check(wrong)
    assert str(caught.value) == hint


def test_the_model_answer_of_momentum_is_torch():
    for case in momentum.CASES:
        w = torch.tensor(np.random.default_rng(0).normal(size=4), requires_grad=True)
        opt = torch.optim.SGD([w], **case)
        points = []

        def step(x, g, b, t, lr, momentum, dampening, w=w, opt=opt, points=points):
            opt.param_groups[0]["lr"] = lr
            w.grad = torch.tensor(g)
            opt.step()
            points.append(w.detach().numpy().copy())
            return points[-1], b

        torch_points = momentum._run(step, case)
        np.testing.assert_allclose(momentum._run(momentum.heavy_ball, case), torch_points, rtol=1e-12)


def test_an_unusual_wrong_answer_is_rejected():
    with pytest.raises(AssertionError, match="expected"):
        momentum.check_heavy_ball(lambda x, g, b, t, lr, momentum, dampening: (x - lr * g, b))
