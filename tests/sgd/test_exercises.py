import numpy as np
import pytest
import torch

from tests.sgd.exercises import momentum


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
