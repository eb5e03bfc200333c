import numpy as np
import pytest
import torch

from tests.sgd import exercises


def test_the_model_answer_is_torch():
    for case in exercises.CASES:
        w = torch.tensor(np.random.default_rng(0).normal(size=4), requires_grad=True)
        opt = torch.optim.SGD([w], **case)
        points = []

        def step(x, g, b, t, lr, momentum, dampening, w=w, opt=opt, points=points):
            opt.param_groups[0]["lr"] = lr
            w.grad = torch.tensor(g)
            opt.step()
            points.append(w.detach().numpy().copy())
            return points[-1], b

        torch_points = exercises._run(step, case)
        np.testing.assert_allclose(exercises._run(exercises.heavy_ball, case), torch_points, rtol=1e-12)


def test_the_right_answer_passes(capsys):
    exercises.check_heavy_ball(exercises.heavy_ball)
    assert capsys.readouterr().out == "heavy ball: correct\n"


@pytest.mark.parametrize("wrong, hint", exercises.MISTAKES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_the_usual_wrong_answers_are_rejected_by_name(wrong, hint):
    with pytest.raises(AssertionError, match=hint):
        exercises.check_heavy_ball(wrong)


def test_an_unusual_wrong_answer_is_rejected():
    with pytest.raises(AssertionError, match="differ from torch's"):
        exercises.check_heavy_ball(lambda x, g, b, t, lr, momentum, dampening: (x - lr * g, b))
