"""A clip that is part of the step: the same parameters as torch's clip and then the step."""

import copy
from functools import partial

import pytest
import torch

import dlopt
from dlopt import lab
from dlopt.sgd import clip_before_step, clip_grad_adaptive_, clip_grad_norm_, clip_grad_value_

OPTIMIZERS = {
    "torch SGD": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "torch AdamW": partial(torch.optim.AdamW, lr=0.1),
    "dlopt SGD": partial(dlopt.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
}


def problem():
    """Two groups of parameters, one parameter that gets no gradient, and a loss with large gradients."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    unused = torch.ones(2, requires_grad=True)
    groups = [{"params": list(net[0].parameters())}, {"params": [*net[2].parameters(), unused], "lr": 0.01}]
    x = torch.randn(20, 8, 3)
    return net, groups, lambda t: 100 * (net(x[t]) - 1).square().mean()


def expected(make, clip, steps=20):
    net, groups, loss = problem()
    optimizer = make(groups)
    for t in range(steps):
        optimizer.zero_grad()
        loss(t).backward()
        clip([p for group in groups for p in group["params"]])
        optimizer.step()
    return list(net.parameters())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("how", ["no closure", "closure", "closure by name"])
def test_the_parameters_are_those_of_clip_and_step(make, how):
    net, groups, loss = problem()
    optimizer = clip_before_step(make(groups), partial(clip_grad_norm_, max_norm=0.5))
    for t in range(20):

        def closure(t=t):
            optimizer.zero_grad()
            value = loss(t)
            value.backward()
            return value

        if how == "no closure":
            closure()
            optimizer.step()
        else:
            before = loss(t)
            given = optimizer.step(closure) if how == "closure" else optimizer.step(closure=closure)
            assert torch.equal(given, before)
    for p, q in zip(net.parameters(), expected(make, partial(torch.nn.utils.clip_grad_norm_, max_norm=0.5)),
                    strict=True):  # fmt: skip
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    "clip",
    [
        partial(clip_grad_value_, clip_value=0.1),
        partial(clip_grad_norm_, max_norm=0.1, per_tensor=True),
        lambda params: clip_grad_adaptive_(params[:2]),
    ],
)
def test_any_clip_goes(clip):
    net, groups, loss = problem()
    optimizer = clip_before_step(OPTIMIZERS["dlopt SGD"](groups), clip)
    for t in range(20):
        optimizer.zero_grad()
        loss(t).backward()
        optimizer.step()
    assert all(
        torch.equal(p, q) for p, q in zip(net.parameters(), expected(OPTIMIZERS["dlopt SGD"], clip), strict=True)
    )


def moved(optimizer, w):
    before = w.detach().clone()
    w.grad = torch.tensor([30.0, 40.0])
    optimizer.step()
    return (before - w.detach()).norm().item()


def test_a_second_clip_replaces_the_first_and_none_takes_it_off():
    w = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    assert clip_before_step(optimizer, partial(clip_grad_norm_, max_norm=1.0)) is optimizer
    assert moved(optimizer, w) == pytest.approx(1, rel=1e-5)
    clip_before_step(optimizer, partial(clip_grad_norm_, max_norm=2.0))
    assert moved(optimizer, w) == pytest.approx(2, rel=1e-5)
    clip_before_step(optimizer, None)
    assert moved(optimizer, w) == pytest.approx(50, rel=1e-5)
    clip_before_step(optimizer, None)
    assert not optimizer._optimizer_step_pre_hooks


def test_neither_a_copy_nor_a_saved_state_has_the_clip():
    w = torch.zeros(2, requires_grad=True)
    optimizer = clip_before_step(torch.optim.SGD([w], lr=1.0), partial(clip_grad_norm_, max_norm=1.0))
    twin = copy.deepcopy(optimizer)
    assert moved(twin, twin.param_groups[0]["params"][0]) == pytest.approx(50)
    other = torch.optim.SGD([w], lr=1.0)
    other.load_state_dict(optimizer.state_dict())
    assert moved(other, w) == pytest.approx(50)


def test_every_evaluation_of_lbfgs_is_clipped():
    w = torch.tensor([5.0, 5.0], requires_grad=True)
    seen = []

    def clip(params):
        clip_grad_norm_(params, 1.0)
        seen.append(params[0].grad.norm().item())
        assert not torch.is_grad_enabled()

    optimizer = clip_before_step(torch.optim.LBFGS([w], lr=0.5, max_iter=4), clip)

    def closure():
        optimizer.zero_grad()
        loss = 50 * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert len(seen) >= 3 and max(seen) <= 1


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("unscale", [True, False])
def test_with_a_grad_scaler(fused, unscale):
    w = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0, fused=fused)
    clip_before_step(optimizer, partial(clip_grad_norm_, max_norm=1.0))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((w * torch.tensor([3.0, 4.0])).sum()).backward()
    if unscale:
        scaler.unscale_(optimizer)
    if fused and not unscale:
        with pytest.raises(RuntimeError, match="call scaler.unscale_"):
            scaler.step(optimizer)
        assert w.tolist() == [0, 0]
        return
    scaler.step(optimizer)
    torch.testing.assert_close(w.detach(), torch.tensor([-0.6, -0.8]))


def test_in_the_lab():
    methods = {"clipped": lambda params, lr, max_norm: clip_before_step(
        dlopt.SGD(params, lr=lr), partial(clip_grad_norm_, max_norm=max_norm))}  # fmt: skip
    options = dict(seeds=[0], steps=10, batch_size=265, every=10, cache=False, progress=False)
    settings = lab.grid(lr=[0.5], max_norm=[1e-6, 1e6])
    table = lab.run(lab.tasks.least_squares(), methods, settings=settings, **options).query("step == 10")
    plain = lab.run(lab.tasks.least_squares(), {"sgd": dlopt.SGD}, settings=lab.grid(lr=[0.5]), **options)
    still, same = table.sort_values("max_norm")["val_loss"]
    assert same == plain.query("step == 10")["val_loss"].item()
    assert still == pytest.approx(plain.query("step == 0")["val_loss"].item(), rel=1e-4)


def test_what_is_no_optimizer_and_what_is_no_clip():
    w = torch.zeros(2, requires_grad=True)
    with pytest.raises(TypeError, match="needs a torch.optim.Optimizer, not list"):
        clip_before_step([w], clip_grad_norm_)
    with pytest.raises(TypeError, match="must be a function of the list of parameters, not 1.0"):
        clip_before_step(torch.optim.SGD([w]), 1.0)
