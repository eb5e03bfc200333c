"""A step remembers what the last one found out about a group. It must notice whatever has changed since."""

import gc
import weakref

import pytest
import torch

import dlopt
from dlopt.engine import faces, gather, settings

CLASSES = {
    "ProximalSGD": lambda p: dlopt.ProximalSGD(p, lr=0.1, l1=0.01),
    "SGD": lambda p: dlopt.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: dlopt.Adam(p, lr=0.1),
    "RAdam": lambda p: dlopt.RAdam(p, lr=0.1),
    "ScheduleFreeSGD": lambda p: dlopt.ScheduleFreeSGD(p, lr=0.1),
    "Muon": lambda p: dlopt.Muon(p, lr=0.1),
}


def made(make, **given):
    generator = torch.Generator().manual_seed(0)
    opt = make([torch.randn(4, 3, generator=generator).requires_grad_() for _ in range(3)])
    opt.param_groups[0].update(given)
    return opt


def params(opt):
    return [p for group in opt.param_groups for p in group["params"]]


def gradients(opt, t):
    generator = torch.Generator().manual_seed(t)
    for p in params(opt):
        p.grad = torch.randn(p.shape, generator=generator)


def count(monkeypatch, module, name):
    calls, whole = [], getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(name)
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize("name", CLASSES)
def test_when_nothing_has_changed_nothing_is_made_again(name, monkeypatch):
    opt = made(CLASSES[name])
    for t in range(2):
        gradients(opt, t)
        opt.step()
    batches, read = count(monkeypatch, gather, "Batch"), count(monkeypatch, gather, "settings_of")
    asked = count(monkeypatch, faces, "_chosen")
    for t in range(2, 8):
        gradients(opt, t)
        opt.step()
    # RAdam changes its rule at the sixth step; a matrix rule may look at more than its group
    changes = {"Muon": 6, "RAdam": 1}.get(name, 0)
    assert len(batches) == len(asked) == changes and len(read) == 6 * (name == "Muon")


def test_a_schedule_reads_the_group_again_and_keeps_the_batch(monkeypatch):
    opt = made(CLASSES["Adam"])
    gradients(opt, 0)
    opt.step()
    opt.step()
    batches, read = count(monkeypatch, gather, "Batch"), count(monkeypatch, gather, "settings_of")
    for _ in range(5):
        opt.param_groups[0]["lr"] *= 0.9
        opt.step()
    assert not batches and len(read) == 5


def change(key, value):
    return lambda opt: opt.param_groups[0].update({key: value})


def in_place(opt):
    opt.param_groups[0]["lr"].mul_(0.1)


def other_list(opt):
    group = opt.param_groups[0]
    group["params"] = group["params"][::-1]


def one_less(opt):
    opt.param_groups[0]["params"].pop(1)


def one_without(opt):
    params(opt)[1].grad = None


def one_elsewhere(opt):
    p = params(opt)[1]
    p.data = p.data.clone()


def other_order(opt):
    for p in params(opt):
        p.grad = p.grad.t().contiguous().t()


def another_group(opt):
    w = torch.full((4, 3), 0.5, requires_grad=True)
    w.grad = torch.ones(4, 3)
    opt.add_param_group({"params": [w], "lr": 0.3})


def other_state(opt):
    for p in params(opt):
        for key, value in opt.state[p].items():
            opt.state[p][key] = value * 0.5 if key != "step" else value + 3


def state_in_place(opt):
    for p in params(opt):
        for value in opt.state[p].values():
            value.mul_(2)


def state_elsewhere(opt):
    for p in params(opt):
        for key, value in opt.state[p].items():
            if key != "step":
                value.data = value.data.clone()


def loaded(opt):
    opt.load_state_dict(opt.state_dict())


CHANGES = {
    "lr": change("lr", 0.01),
    "weight decay": change("weight_decay", 0.1),
    "maximize": change("maximize", True),
    "writing": change("writing", "kahan"),
    "differentiable": change("differentiable", True),
    "fused no more": change("fused", False),
    "a tensor for lr": change("lr", torch.tensor(0.02)),
    "an equal list of parameters in another order": other_list,
    "a parameter less": one_less,
    "a parameter without a gradient": one_without,
    "a parameter's memory": one_elsewhere,
    "the order of the gradients' elements": other_order,
    "one group more": another_group,
    "other state": other_state,
    "state in place": state_in_place,
    "state's memory": state_elsewhere,
    "a state dict loaded": loaded,
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("name", ["ProximalSGD", "SGD", "Adam", "RAdam", "ScheduleFreeSGD"])
def test_what_has_changed_is_noticed(name, what):
    remembers, forgets = made(CLASSES[name]), made(CLASSES[name])
    for opt in (remembers, forgets):
        for t in range(8):
            gradients(opt, t)
            if t in (2, 6):
                CHANGES[what](opt)
            if opt is forgets:
                opt.memory.clear()
            with torch.no_grad():
                opt.step()
            if t == 4 and what in ("maximize", "fused no more", "differentiable"):
                opt.param_groups[0][what.split()[0]] = None if "fused" in what else False
    ours, theirs = params(remembers), params(forgets)
    assert len(ours) == len(theirs) and all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))
    for p, q in zip(ours, theirs, strict=True):
        assert remembers.state[p].keys() == forgets.state[q].keys()
        assert all(torch.equal(v, forgets.state[q][key]) for key, v in remembers.state[p].items())


def test_a_tensor_for_lr_that_changes_in_place_is_read_at_every_step():
    ours, theirs = made(CLASSES["Adam"], lr=torch.tensor(0.1)), made(CLASSES["Adam"])
    for t in range(4):
        for opt in (ours, theirs):
            gradients(opt, t)
            opt.step()
        in_place(ours)
        theirs.param_groups[0]["lr"] = ours.param_groups[0]["lr"].item()
    assert all(torch.equal(p, q) for p, q in zip(params(ours), params(theirs), strict=True))


@pytest.mark.parametrize("key, value", [("lr", float("nan")), ("optim_bits", 7), ("seed", -1), ("writing", "ink")])
def test_what_turns_bad_is_refused_at_the_next_step_and_every_one_after(key, value):
    opt = made(CLASSES["Adam"])
    gradients(opt, 0)
    opt.step()
    before = [p.detach().clone() for p in params(opt)]
    good = opt.param_groups[0][key]
    opt.param_groups[0][key] = value
    for _ in range(2):
        with pytest.raises(ValueError):
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(params(opt), before, strict=True))
    opt.param_groups[0][key] = good
    opt.step()
    assert params(opt)[0].isfinite().all() and opt.state[params(opt)[0]]["step"] == 2


def test_a_scaler_between_two_steps_is_heeded():
    opt, plain = made(CLASSES["Adam"]), made(CLASSES["Adam"])
    for t in range(6):
        gradients(opt, t)
        gradients(plain, t)
        if t in (2, 3):
            for p in params(opt):
                p.grad *= 4
            opt.grad_scale = torch.tensor(4.0)
        opt.step()
        plain.step()
        opt.grad_scale = None
    assert all(torch.equal(p, q) for p, q in zip(params(opt), params(plain), strict=True))


def test_another_face_may_be_asked_for_at_any_step(monkeypatch):
    opt, plain = made(CLASSES["Adam"]), made(CLASSES["Adam"])
    ran = {name: count(monkeypatch, faces.load(name), "run") for name in ("llvm", "numpy", "torch")}
    gradients(opt, 0)
    opt.step()
    for calls in ran.values():
        calls.clear()
    asked = ["llvm", "numpy", "numpy", "torch", "llvm", "llvm"]
    for t, name in enumerate(asked):
        gradients(opt, t)
        with faces.use(name):
            opt.step()
        assert {other: len(calls) for other, calls in ran.items()} == {
            other: asked[: t + 1].count(other) for other in ran
        }
    gradients(plain, 0)
    for t in (0, *range(6)):
        gradients(plain, t)
        plain.step()
    for p, q in zip(params(opt), params(plain), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_after_a_step_that_is_not_fused_comes_one_that_is(monkeypatch):
    opt, fused = made(CLASSES["ProximalSGD"]), count(monkeypatch, faces.load("llvm"), "run")
    for differentiable in (False, True, False, False):
        opt.param_groups[0]["differentiable"] = differentiable
        gradients(opt, 0)
        opt.step()
    assert len(fused) == 3


@pytest.mark.parametrize("name", CLASSES)
def test_gradients_are_not_held_after_a_step(name):
    opt = made(CLASSES[name])
    for t in range(4):
        gradients(opt, t)
        grads = [weakref.ref(p.grad) for p in params(opt)]
        opt.step()
        opt.zero_grad()
        gc.collect()
        assert [g() for g in grads] == [None] * 3


def test_gradients_are_not_held_after_a_step_that_was_refused():
    opt = made(CLASSES["SGD"])
    another_group(opt)
    for value in (0.1, 0.1, float("nan")):
        opt.param_groups[1]["lr"] = value
        gradients(opt, 0)
        grads = [weakref.ref(p.grad) for p in params(opt)]
        if value == 0.1:
            opt.step()
    with pytest.raises(ValueError, match="Invalid lr: nan"):
        opt.step()
    opt.zero_grad()
    gc.collect()
    assert [g() for g in grads] == [None] * 4


def test_state_that_was_converted_is_not_held():
    w = torch.randn(5000, requires_grad=True)
    opt = dlopt.Adam([w], optim_bits=8)
    w.grad = torch.randn(5000)
    opt.step()
    opt.step()
    codes = weakref.ref(opt.state[w]["exp_avg"])
    assert codes().dtype == torch.uint8
    opt.param_groups[0]["optim_bits"] = 32
    opt.step()
    opt.step()
    gc.collect()
    assert codes() is None and opt.state[w]["exp_avg"].dtype == torch.float32


@pytest.mark.parametrize("before", [0, 2])
def test_a_derivative_by_lr_is_recorded_whatever_came_before(before):
    w = torch.zeros(3)
    w.grad = torch.ones(3)
    opt = dlopt.SGD([w], lr=0.5, differentiable=True)
    opt.param_groups[0]["differentiable"] = False
    for _ in range(before):
        opt.step()
    opt.param_groups[0]["lr"] = torch.tensor(0.25, requires_grad=True)
    opt.step()
    assert w.requires_grad
    w.detach_()
    opt.param_groups[0]["lr"] = 0.5
    with faces.use("llvm"):
        opt.step()
    assert w.tolist() == [-0.75 - 0.5 * before] * 3


def test_the_same_values_under_other_names_are_other_settings():
    opt = made(CLASSES["ProximalSGD"], lr=0.5, weight_decay=0.25)
    gradients(opt, 0)
    opt.step()
    opt.step()
    group = opt.param_groups[0]
    other = {"lr": "weight_decay", "weight_decay": "lr"}
    items = [(other.get(name, name), value) for name, value in group.items()]
    group.clear()
    group.update(items)
    assert not opt.memory[id(group)].settings.hold(group, settings.UNSCALED)


def test_a_group_that_was_taken_out_is_forgotten():
    opt = made(CLASSES["SGD"])
    another_group(opt)
    gradients(opt, 0)
    opt.step()
    assert len(opt.memory) == 2
    gone = weakref.ref(opt.param_groups.pop()["params"][0])
    for key in [p for p in opt.state if p is gone()]:
        del opt.state[key]
    del key
    opt.step()
    gc.collect()
    assert len(opt.memory) == 1 and gone() is None


def test_a_batch_is_one_step_of_one_dtype_of_gradients():
    w = torch.zeros(6, dtype=torch.bfloat16, requires_grad=True)
    opt = dlopt.SGD([w], lr=1.0)
    for dtype in (torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16):
        w.grad_dtype = None
        w.grad = torch.ones(6, dtype=dtype)
        opt.step()
    assert w.tolist() == [-4.0] * 6


def test_settings_last_only_where_nothing_can_change_unseen():
    group = made(CLASSES["Adam"]).param_groups[0]
    opt = made(CLASSES["Adam"])
    read = lambda **other: settings.settings_of(opt, {**group, **other}, settings.UNSCALED).group  # noqa: E731
    assert read() is not None and read(param_names=["a"]) is not None and read(name="body") is not None
    assert read(lr=torch.tensor(0.1)) is None and read(betas=[0.9, 0.99]) is None
    assert read(betas=(torch.tensor(0.9), torch.tensor(0.99))) is None and read(mark=object()) is None
