"""Schedule-Free: x, y, z of Defazio et al. 2024 in NumPy, facts of mathematics, and the two modes."""

import io
import math

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)
each_class = pytest.mark.parametrize("optimizer", [dlopt.ScheduleFreeSGD, dlopt.ScheduleFreeAdamW])
each_beta = pytest.mark.parametrize("beta", [0.0, 0.1, 0.9])
H, START, DECAY = np.array([1.0, 10.0, 100.0]), np.array([1.0, -2.0, 0.5]), 0.05
WEIGHTING = [{}, dict(warmup_steps=7), dict(warmup_steps=5, r=1.0, weight_lr_power=1.0), dict(r=2.0)]


def keywords(optimizer, beta, beta2=0.99):
    return {"momentum": beta} if optimizer is dlopt.ScheduleFreeSGD else {"betas": (beta, beta2)}


def paper(optimizer, steps, lr, beta, warmup_steps=0, r=0.0, weight_lr_power=2.0, beta2=0.99, eps=1e-8):
    """All three points, kept apart; y first, as the paper writes it. Decay is at y, coupled for SGD."""
    x, z, v, total, largest, ys, xs = START, START, np.zeros(3), 0.0, 0.0, [], []
    for t in range(1, steps + 1):
        y = (1 - beta) * z + beta * x
        g = H * y
        rate = lr * min(1.0, t / warmup_steps) if warmup_steps else lr
        if optimizer is dlopt.ScheduleFreeAdamW:
            v = beta2 * v + (1 - beta2) * g**2
            g = g / (np.sqrt(v / (1 - beta2**t)) + eps)
        z = z - rate * (g + DECAY * y)
        largest = max(largest, rate)
        weight = t**r * largest**weight_lr_power
        total += weight
        c = weight / total
        x = (1 - c) * x + c * z
        ys.append((1 - beta) * z + beta * x)
        xs.append(x)
    return np.array(ys), np.array(xs)


def iterates(optimizer, steps, face, look=True, dtype=torch.float64, **kw):
    w = torch.tensor(START, dtype=dtype, requires_grad=True)
    opt, ys, xs = optimizer([w], weight_decay=DECAY, **kw), [], []
    with faces.use(face):
        for _ in range(steps):
            w.grad = torch.tensor(H, dtype=dtype) * w.detach()
            opt.step()
            ys.append(w.detach().double().numpy().copy())
            if look:
                opt.eval()
                xs.append(w.detach().double().numpy().copy())
                opt.train()
    return np.array(ys), np.array(xs)


@each_face
@each_class
@each_beta
@pytest.mark.parametrize("weighting", WEIGHTING)
def test_x_y_z_of_defazio_2024(face, optimizer, beta, weighting):
    expected = paper(optimizer, 60, 0.005, beta, **weighting)
    found = iterates(optimizer, 60, face, lr=0.005, **keywords(optimizer, beta), **weighting)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@each_face
def test_without_beta_it_is_the_mean_of_sgd(face):
    sgd = torch.tensor(START, requires_grad=True)
    base, points = torch.optim.SGD([sgd], lr=0.005, weight_decay=DECAY), []
    for _ in range(100):
        sgd.grad = torch.tensor(H) * sgd.detach()
        base.step()
        points.append(sgd.detach().numpy().copy())
    ys, _ = iterates(dlopt.ScheduleFreeSGD, 100, face, look=False, lr=0.005, momentum=0.0)
    np.testing.assert_allclose(ys, points, rtol=1e-12)
    _, xs = iterates(dlopt.ScheduleFreeSGD, 100, face, lr=0.005, momentum=0.0)
    np.testing.assert_allclose(xs[-1], np.mean(points, axis=0), rtol=1e-12, atol=1e-15)


@each_face
@each_class
def test_a_falling_rate_weighs_as_the_largest_so_far(face, optimizer):
    w, points = torch.tensor(START, requires_grad=True), []
    opt = optimizer([w], **keywords(optimizer, 0.0))
    with faces.use(face):
        for lr in (0.01, 0.005, 0.001):
            opt.param_groups[0]["lr"] = lr
            w.grad = torch.tensor(H) * w.detach()
            opt.step()
            points.append(w.detach().clone())
        opt.eval()
    torch.testing.assert_close(w.detach(), torch.stack(points).mean(0), rtol=1e-12, atol=0)


@each_class
@each_beta
def test_the_first_average_is_the_first_z(optimizer, beta):
    ys, xs = iterates(optimizer, 1, "numpy", lr=0.01, **keywords(optimizer, beta))
    np.testing.assert_allclose(xs, ys, rtol=1e-14)


def prepared(optimizer, beta, dtype=torch.float32, writing="plain", steps=8, lr=0.1):
    """Two parameters, the second of which has never had a gradient."""
    torch.manual_seed(0)
    w = torch.randn(5, 3).to(dtype).requires_grad_()
    frozen = torch.ones(4, dtype=dtype).requires_grad_()
    opt = optimizer([w, frozen], lr=lr, writing=writing, **keywords(optimizer, beta))
    for _ in range(steps):
        descend(opt, w)
    return opt, w, frozen


def descend(opt, w):
    w.grad = (w.detach().float() + 0.3).to(w.dtype)
    opt.step()


@each_face
@each_class
@each_beta
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64])
@pytest.mark.parametrize("writing", ["plain", "kahan"])
def test_there_and_back_is_rounding(face, optimizer, beta, dtype, writing):
    with faces.use(face):
        opt, w, frozen = prepared(optimizer, beta, torch.float32 if dtype.is_complex else dtype, writing)
        if dtype.is_complex:
            w = torch.randn(5, 3, dtype=dtype).requires_grad_()
            opt = optimizer([w, frozen], lr=0.1, writing=writing, **keywords(optimizer, beta))
            for _ in range(8):
                w.grad = w.detach() + 0.3
                opt.step()
        y = w.detach().clone()
        opt.eval()
        opt.eval()  # twice is once
        x = w.detach().clone()
        opt.train()
    assert (x - y).abs().max() > 1e-3
    eps = torch.finfo(dtype).eps
    assert (w.detach() - y).abs().max() <= 4 * eps * max(1.0, y.abs().max().item())
    assert torch.equal(frozen, torch.ones_like(frozen))


@each_class
@each_beta
def test_faces_move_alike(optimizer, beta):
    ends = {}
    for face in FACES:
        opt, w, _ = prepared(optimizer, beta)
        with faces.use(face):
            opt.eval()
        ends[face] = w.detach().clone()
    for face in FACES[1:]:
        torch.testing.assert_close(ends[face], ends["numpy"], rtol=1e-6, atol=1e-7)
    if "llvm" in ends:
        assert torch.equal(ends["llvm"], ends["numpy"])


@each_face
def test_kahan_carries_the_average_through_visits_in_bfloat16(face):
    """Without momentum x is state: a plain visit rounds it to bfloat16, a compensated one does not."""
    lost = {}
    for writing in ("plain", "kahan"):
        opt, w, _ = prepared(dlopt.ScheduleFreeSGD, 0.0, torch.bfloat16, writing)
        before = opt.state[w]["x"].clone()
        with faces.use(face):
            opt.eval(), opt.train()
        lost[writing] = (opt.state[w]["x"] - before).abs().max().item()
    assert lost["kahan"] < 1e-4 < lost["plain"]


@each_class
@each_beta
def test_a_step_in_eval_mode_is_refused(optimizer, beta):
    opt, w, _ = prepared(optimizer, beta)
    opt.eval()
    x, called = w.detach().clone(), []
    with pytest.raises(RuntimeError, match="eval mode"):
        opt.step(lambda: called.append(1))
    assert not called and torch.equal(w, x)


@each_class
@each_beta
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("writing", ["plain", "kahan"])
def test_resume_in_eval_mode(optimizer, beta, dtype, writing):
    opt, w, frozen = prepared(optimizer, beta, dtype, writing)
    opt.eval()
    file = io.BytesIO()
    torch.save({"w": w.detach(), "opt": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = saved["w"].requires_grad_()
    other = optimizer([again, frozen.detach().clone().requires_grad_()])
    other.load_state_dict(saved["opt"])
    with pytest.raises(RuntimeError, match="eval mode"):
        other.step()
    for o, p in ((opt, w), (other, again)):
        o.train()
        for _ in range(5):
            descend(o, p)
        o.eval()
    assert torch.equal(w, again)


def test_moves_outside_no_grad_leave_a_leaf():
    for face in FACES:
        with faces.use(face):
            opt, w, _ = prepared(dlopt.ScheduleFreeSGD, 0.9)
            opt.eval(), opt.train()
        assert w.is_leaf and w.requires_grad and w.grad_fn is None


def test_a_group_added_in_eval_mode_waits_for_train():
    opt, w, _ = prepared(dlopt.ScheduleFreeSGD, 0.9)
    opt.eval()
    new = torch.ones(2, requires_grad=True)
    opt.add_param_group({"params": [new]})
    with pytest.raises(RuntimeError, match="eval mode"):
        opt.step()
    opt.train()
    new.grad = torch.ones(2)
    descend(opt, w)
    assert (new < 1).all()


def test_numbers_of_numpy():
    opt, w, _ = prepared(dlopt.ScheduleFreeSGD, np.float64(0.9))
    other, v, _ = prepared(dlopt.ScheduleFreeSGD, 0.9)
    opt.param_groups[0]["momentum"] = np.float64(0.9)
    descend(opt, w), descend(other, v)
    assert torch.equal(w, v)


@each_class
def test_switching_beta_between_zero_and_more_is_refused(optimizer):
    for first, then in ((0.9, 0.0), (0.0, 0.9)):
        opt, w, _ = prepared(optimizer, first)
        y = w.detach().clone()
        opt.param_groups[0].update(keywords(optimizer, then))
        for act in (opt.step, opt.eval):
            with pytest.raises(RuntimeError, match="has no"):
                act()
        assert torch.equal(w, y) and opt.param_groups[0]["train_mode"]


def test_state_that_lacks_its_point_is_refused():
    opt, *_ = prepared(dlopt.ScheduleFreeSGD, 0.9)
    saved = opt.state_dict()
    del saved["state"][0]["z"]
    with pytest.raises(ValueError, match="lacks"):
        opt.load_state_dict(saved)


def test_a_mode_that_is_none_is_refused():
    opt, *_ = prepared(dlopt.ScheduleFreeSGD, 0.9)
    saved = opt.state_dict()
    saved["param_groups"][0]["train_mode"] = "yes"
    with pytest.raises(ValueError, match="train_mode"):
        opt.load_state_dict(saved)


def test_kahan_switched_on_before_eval():
    opt, w, _ = prepared(dlopt.ScheduleFreeSGD, 0.9, torch.bfloat16)
    opt.param_groups[0]["writing"] = "kahan"
    opt.eval(), opt.train()
    descend(opt, w)
    assert opt.state[w]["kahan_compensation"].dtype is torch.bfloat16


def test_lab_run_measures_at_the_average():
    from dlopt import lab

    task = lab.tasks.least_squares()
    table = lab.run(
        task, {"free": dlopt.ScheduleFreeSGD}, seeds=[0], settings=[{"lr": 0.5}], steps=20, every=20, cache=False,
        progress=False, n_jobs=1,
    )  # fmt: skip
    model, batches = task.model(0), task.batches(0, task.batch_size)
    opt = dlopt.ScheduleFreeSGD(model.parameters(), lr=0.5)
    for _ in range(20):
        opt.zero_grad()
        task.loss(model, next(batches)).backward()
        opt.step()
    at_y = task.evaluate(model)["val_loss"]
    opt.eval()
    at_x = task.evaluate(model)["val_loss"]
    assert table["val_loss"].iloc[-1] == pytest.approx(at_x, rel=1e-4)
    assert abs(at_y - at_x) > 1e-3 * at_x


NUMBERS = ["lr", "weight_decay", "warmup_steps", "r", "weight_lr_power"]


@each_class
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "x"])
@pytest.mark.parametrize("name", NUMBERS)
def test_bad_number(optimizer, name, value):
    with pytest.raises((ValueError, TypeError)):
        optimizer([torch.ones(1, requires_grad=True)], **{name: value})


@pytest.mark.parametrize("momentum", [-0.1, 1.0, math.nan, math.inf, "x"])
def test_bad_momentum(momentum):
    with pytest.raises((ValueError, TypeError), match="momentum"):
        dlopt.ScheduleFreeSGD([torch.ones(1, requires_grad=True)], momentum=momentum)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (math.nan, 0.9), (0.9,), ("a", 0.9), 0.9])
def test_bad_betas(betas):
    with pytest.raises((ValueError, TypeError)):
        dlopt.ScheduleFreeAdamW([torch.ones(1, requires_grad=True)], betas=betas)


@pytest.mark.parametrize("eps", [-1, math.nan, math.inf, "x"])
def test_bad_eps(eps):
    with pytest.raises((ValueError, TypeError), match="epsilon"):
        dlopt.ScheduleFreeAdamW([torch.ones(1, requires_grad=True)], eps=eps)
