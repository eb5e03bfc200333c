"""RuleOptimizer as a torch.optim.Optimizer: everything that may be asked of one."""

import copy
import functools
import gc
import inspect
import io
import weakref
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import dlopt
from dlopt.engine import RuleOptimizer, faces, xp
from dlopt.engine.faces import llvm
from tests.engine.toy import Toy, reference

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)


def twins(*shape, dtype=torch.float64, seed=0):
    start = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return start.clone().requires_grad_(), start.clone().requires_grad_()


# The contract's hard parts: counts, scalar state, a choice of rules


@each_face
def test_count_scalar_state_and_choice_of_rules(face):
    grads = [0.3, -1.0, 0.5, 2.0, 0.1]
    w = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    opt = Toy([w])
    with faces.use(face):
        for g in grads:
            w.grad = torch.full_like(w, g)
            opt.step()
    expected = [reference(1.0, grads), reference(-1.0, grads)]
    torch.testing.assert_close(w.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)
    entry = opt.state_dict()["state"][0]
    assert entry["step"].item() == 5 and entry["weight_sum"].dtype == torch.float64


@each_face
def test_each_parameter_has_its_own_count(face):
    a, b = (torch.tensor([1.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    opt = Toy([a, b])
    with faces.use(face):
        for k in range(6):
            a.grad = torch.ones_like(a)
            b.grad = torch.ones_like(b) if k % 2 else None
            opt.step()
    assert [opt.state[p]["step"].item() for p in (a, b)] == [6, 3]
    assert a.item() == pytest.approx(reference(1.0, [1.0] * 6), rel=1e-14)
    assert b.item() == pytest.approx(reference(1.0, [1.0] * 3), rel=1e-14)


def test_counts_survive_save_load_and_meddling():
    a, b = (torch.tensor([1.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    opt = Toy([a, b])
    for _ in range(3):
        a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        opt.step()
    saved = copy.deepcopy(opt.state_dict())
    opt.step()
    first = a.item()
    again = Toy([a, b])
    again.load_state_dict(saved)
    assert {entry["step"].item() for entry in again.state.values()} == {3}
    again.state[a]["step"].fill_(0)
    again.step()
    assert again.state[a]["step"].item() == 1 and again.state[b]["step"].item() == 4
    assert a.item() != first


@each_face
def test_a_parameter_that_rests_keeps_its_count(face):
    a, b = (torch.ones(1, requires_grad=True) for _ in range(2))
    opt = Toy([a, b])
    with faces.use(face):
        for k in range(4):
            a.grad, b.grad = torch.ones(1), torch.ones(1) if k < 3 else None
            opt.step()
    assert [opt.state[p]["step"].item() for p in (a, b)] == [4, 3]


def test_counts_are_on_the_cpu_whatever_the_default_device():
    ps = [torch.ones(2, requires_grad=True) for _ in range(2)]
    opt = Toy(ps)
    with torch.device("meta"):
        for p in ps:
            p.grad = torch.ones_like(p)
            opt.step()  # the first alone, then both
        opt.step()
        again = Toy(ps)
        again.load_state_dict(opt.state_dict())
    for each in (opt, again):
        assert [each.state[p]["step"].item() for p in ps] == [3, 2]
        assert all(entry["weight_sum"].is_cpu for entry in each.state.values())


def polyak(g, p, q, *, lr, momentum):
    return -lr * g + momentum * (p - q), p


def shifted(g, p, m, v, *, lr):
    return -lr * (g + m + v), g, m


class Polyak(RuleOptimizer):
    """Returns the parameter itself as its next state: the papers' form."""

    rules, state_keys, counted = (polyak,), {"q": "previous"}, False

    def __init__(self, params, lr=0.1, momentum=0.5, **engine):
        super().__init__(params, dict(lr=lr, momentum=momentum), **engine)


class Shifted(RuleOptimizer):
    rules, state_keys, counted = (shifted,), {"m": "last", "v": "before"}, False

    def __init__(self, params, lr=0.1, **engine):
        super().__init__(params, dict(lr=lr), **engine)


@each_face
@pytest.mark.parametrize("optimizer", [Polyak, Shifted])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_rule_may_return_what_it_was_given(face, optimizer, dtype):
    results = []
    for used in ("numpy", face):
        w = torch.tensor([8.0, -4.0], dtype=dtype, requires_grad=True)
        opt = optimizer([w])
        with faces.use(used):
            for k in range(4):
                w.grad = w.detach() * 0.5 + k
                opt.step()
        results.append([w.detach(), *(t for t in opt.state[w].values())])
    for truth, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-14 if dtype == torch.float64 else 1e-2, atol=0)
    if optimizer is Polyak and dtype == torch.float64:
        assert not torch.equal(results[1][1], results[1][0])


def remembered(g, p, old, *, lr):
    return -lr * g, p


class Remembered(RuleOptimizer):
    """A matrix rule that keeps the parameter as it was, in the memory it was given."""

    matrix, rules, state_keys = True, (remembered,), {"old": "old"}

    def __init__(self, params, lr=1.0, **engine):
        super().__init__(params, dict(lr=lr), **engine)


@pytest.mark.parametrize("count", [1, 2])
def test_a_matrix_rule_may_return_what_it_was_given(count):
    params = [torch.ones(2, 3, requires_grad=True) for _ in range(count)]
    opt = Remembered(params)
    for p in params:
        p.grad = torch.ones(2, 3)
    opt.step()
    for p in params:
        assert torch.equal(opt.state[p]["old"], torch.ones(2, 3))
        assert torch.equal(p.detach(), torch.zeros(2, 3))


def plain(g, p, v, *, lr):
    return -lr * g, xp.maximum(v, g * g)


def carried(g, p, v, b, *, lr, momentum):
    b = momentum * b + g
    return -lr * b, xp.maximum(v, g * g), b


class Subset(RuleOptimizer):
    rules, state_keys = (plain, carried), {"v": "max_sq", "b": "momentum_buffer"}

    def __init__(self, params, lr=0.1, momentum=0.0, **engine):
        super().__init__(params, dict(lr=lr, momentum=momentum), **engine)

    def rule(self, group, t):
        return carried if group["momentum"] else plain


def test_a_rule_that_uses_a_part_of_the_state_resumes():
    w = torch.ones(2, requires_grad=True)
    opt = Subset([w])
    w.grad = torch.ones(2)
    opt.step()
    again = Subset([w])
    again.load_state_dict(opt.state_dict())
    broken = copy.deepcopy(opt.state_dict())
    del broken["state"][0]["max_sq"]
    with pytest.raises(ValueError, match="lacks \\['max_sq'\\]"):
        again.load_state_dict(broken)


def test_a_scalar_that_nobody_makes_is_named_at_once():
    class Hungry(RuleOptimizer):
        rules, state_keys, counted = (polyak,), {"q": "previous"}, False

        def __init__(self, params, lr=0.1):
            super().__init__(params, dict(lr=lr))

    with pytest.raises(TypeError, match="polyak needs \\['momentum'\\]"):
        Hungry([torch.ones(1, requires_grad=True)])


def ratio(g, p, *, lr, beta):
    return -lr / (1 - beta) * g


class Ratio(RuleOptimizer):
    rules, counted = (ratio,), False

    def __init__(self, params, lr=0.1, beta=0.5):
        super().__init__(params, dict(lr=lr, beta=beta))


@each_face
def test_scalars_that_fail_fail_before_anything_is_written(face):
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    opt = Ratio([{"params": a}, {"params": b, "beta": 1.0}])
    a.grad, b.grad = torch.ones(2), torch.ones(2)
    with faces.use(face), pytest.raises(ZeroDivisionError):
        opt.step()
    assert (a == 1).all() and (b == 1).all()


def test_a_copied_optimizer_loads():
    w = torch.ones(2, requires_grad=True)
    opt = dlopt.SGD([w], lr=0.1, momentum=0.9)
    w.grad = torch.ones(2)
    opt.step()
    copy.deepcopy(opt).load_state_dict(opt.state_dict())


@each_face
def test_infinite_parameters_stay_infinite(face):
    for kw in ({}, {"momentum": 0.9}, {"momentum": 0.9, "decoupled_weight_decay": True}):
        p = torch.tensor([-float("inf"), 1.0], requires_grad=True)
        p.grad = torch.zeros(2)
        with faces.use(face):
            dlopt.SGD([p], lr=0.1, **kw).step()
        assert p.tolist() == [-float("inf"), 1.0]


@pytest.mark.parametrize("fused", [None, False])
def test_lazily_conjugated_and_negated_parameters(fused):
    for start in (torch.tensor([1 + 2j, 3 - 1j]).conj(), torch.tensor([1 + 2j]).conj().imag):
        p, q = nn.Parameter(start), nn.Parameter(start.clone().resolve_conj().resolve_neg())
        ours, theirs = dlopt.SGD([p], lr=0.1, momentum=0.9, fused=fused), torch.optim.SGD([q], lr=0.1, momentum=0.9)
        for _ in range(2):
            p.grad, q.grad = torch.ones_like(q), torch.ones_like(q)
            ours.step()
            theirs.step()
        torch.testing.assert_close(p.resolve_conj().resolve_neg(), q)


def test_wide_gradients_and_states_beside_narrow_parameters():
    p = torch.ones(3, requires_grad=True)
    p.grad_dtype = None
    opt = dlopt.SGD([p], lr=0.1, momentum=0.9)
    for _ in range(2):
        p.grad = torch.ones(3, dtype=torch.float64)
        opt.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.71))
    p.grad = torch.ones(3)
    buffer = opt.state[p]["momentum_buffer"]
    buffer.data = buffer.data.double()
    opt.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.71 - 0.271))
    opt.state[p]["momentum_buffer"] = None
    opt.step()
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.71 - 0.371))


def test_numbers_of_any_type():
    for lr in (Fraction(1, 10), np.float64(0.1), np.float32(0.1)):
        p = torch.ones(3, requires_grad=True)
        p.grad = torch.ones(3)
        dlopt.SGD([p], lr=lr, momentum=0.9).step()
        torch.testing.assert_close(p.detach(), torch.full((3,), 0.9))
    with pytest.raises(ValueError, match="Invalid learning rate"):
        dlopt.SGD([p], lr=10**400)
    with pytest.raises(KeyError, match="params"):
        dlopt.SGD([{"lr": 1.0}], lr=0.1)


def test_numbers_of_numpy_are_saved_as_pythons():
    w, file = torch.ones(3, requires_grad=True), io.BytesIO()
    group = {"params": [w], "weight_decay": np.float64(0.1)}
    opt = dlopt.Adam([group], lr=np.float64(0.1), betas=(np.float32(0.5), np.float32(0.75)))
    w.grad = torch.ones(3)
    opt.step()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    again = dlopt.Adam([w])
    again.load_state_dict(torch.load(file, weights_only=True))
    kept = again.param_groups[0]
    assert (kept["lr"], kept["betas"], kept["weight_decay"]) == (0.1, (0.5, 0.75), 0.1)


def test_a_saved_group_is_checked_too():
    opt = dlopt.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    for bad in ({"lr": -1.0}, {"writing": "chalk"}, {"momentum": "0.9"}):
        saved = copy.deepcopy(opt.state_dict())
        saved["param_groups"][0].update(bad)
        with pytest.raises(ValueError, match="Invalid"):
            opt.load_state_dict(saved)
    saved["param_groups"][0].update(momentum=0.9, lr=-1e-18)  # what a schedule's last step may leave
    opt.load_state_dict(saved)


def test_a_loaded_hyperparameter_is_not_shared():
    ours, theirs = (dlopt.SGD([torch.ones(1, requires_grad=True)], lr=torch.tensor(0.5)) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    theirs.param_groups[0]["lr"].zero_()
    assert ours.param_groups[0]["lr"] == 0.5


def test_a_checkpoint_made_to_be_captured_loads():
    opt = dlopt.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    saved = opt.state_dict()
    saved["param_groups"][0]["capturable"] = True
    opt.load_state_dict(saved)
    assert opt.param_groups[0]["capturable"] is False


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "key, value", [("step", NAN), ("step", -5.0), ("step", INF), ("step", [1.0, 1.0]), ("mu_product", NAN)], ids=str
)
def test_a_loaded_count_that_is_none_is_refused(key, value):
    w = torch.ones(1, requires_grad=True)
    opt = dlopt.NAdam([w])
    w.grad = torch.ones(1)
    opt.step()
    before, saved = copy.deepcopy(opt.state[w]), copy.deepcopy(opt.state_dict())
    saved["state"][0][key] = torch.tensor(value)
    with pytest.raises(ValueError, match=f"loaded {key} of parameter 0"):
        opt.load_state_dict(saved)
    assert opt.state[w] == before


def test_a_checkpoint_that_names_a_parameter_twice_is_refused():
    opt = dlopt.SGD([torch.ones(1, requires_grad=True) for _ in range(2)], lr=0.1)
    saved = opt.state_dict()
    saved["param_groups"][0]["params"] = [0, 0]
    with pytest.raises(ValueError, match="names a parameter twice"):
        opt.load_state_dict(saved)


# Gradients of every kind


@each_face
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_sparse_gradients(face, momentum):
    """As torch.optim.SGD; without momentum only the touched rows are read or written."""
    embeddings = [nn.Embedding(10, 3, sparse=True, dtype=torch.float64) for _ in range(2)]
    embeddings[1].load_state_dict(embeddings[0].state_dict())
    opts = [
        c(e.parameters(), lr=0.1, momentum=momentum)
        for c, e in zip((dlopt.SGD, torch.optim.SGD), embeddings, strict=True)
    ]
    for words in ([1, 2, 2], [2, 7, 7], [0, 1, 9]):
        for e, opt in zip(embeddings, opts, strict=True):
            opt.zero_grad()
            (e(torch.tensor(words)) ** 2).sum().backward()
            with faces.use(face):
                opt.step()
    torch.testing.assert_close(embeddings[0].weight, embeddings[1].weight, rtol=1e-13, atol=0)


def test_rows_without_gradient_are_not_touched():
    e = nn.Embedding(5, 2, sparse=True)
    with torch.no_grad():
        e.weight[4] = float("nan")
    opt = dlopt.SGD(e.parameters(), lr=0.1)
    e(torch.tensor([0, 0])).sum().backward()
    opt.step()
    assert e.weight[:4].isfinite().all() and e.weight[4].isnan().all()


def test_sparse_gradients_refused_by_name():
    e = nn.Embedding(5, 2, sparse=True)
    e(torch.tensor([0])).sum().backward()
    with pytest.raises(RuntimeError, match="Toy does not support sparse gradients, please consider dlopt.SparseAdam"):
        Toy(e.parameters()).step()
    with pytest.raises(RuntimeError, match="weight_decay touches every element"):
        dlopt.SGD(e.parameters(), lr=0.1, weight_decay=0.1).step()


@each_face
def test_expanded_and_lazily_negated_gradients(face):
    p, q = twins(4, 3)
    for grad in (
        torch.tensor(2.0, dtype=torch.float64).expand(4, 3),
        torch.randn(4, 3, dtype=torch.cdouble).conj().imag,
    ):
        opts = dlopt.SGD([p], lr=0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
        p.grad, q.grad = grad, grad.clone()
        with faces.use(face):
            opts[0].step()
        opts[1].step()
    torch.testing.assert_close(p, q, rtol=1e-14, atol=0)


def test_gradient_of_the_wrong_shape_is_refused():
    p = torch.ones(4, requires_grad=True)
    p.grad = torch.ones(4)
    p.data = torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="gradient has shape \\(4,\\), its parameter \\(2, 2\\)"):
        dlopt.SGD([p], lr=0.1).step()


@each_face
def test_tensors_moved_and_gradients_replaced_between_steps(face):
    p, q = twins(6, 6)
    ours, theirs = dlopt.SGD([p], lr=0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
    moves = [lambda t: t.clone(), lambda t: t.t(), lambda t: t.t(), lambda t: t.reshape(6, 6).clone(), lambda t: t]
    for k, move in enumerate(moves):
        for x in (p, q):
            x.data = move(x.data)
            x.grad = torch.full_like(x, 0.1 * k) + x.detach()
        if face == "llvm":
            ours.step()
        else:
            with faces.use(face):
                ours.step()
        theirs.step()
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "move",
    [lambda t: t.t(), lambda t: t[:2], lambda t: t.clone(), lambda t: t.double(), lambda t: t.view(36).view(6, 6)],
    ids=["transposed in place", "a prefix of itself", "moved", "widened", "a view of itself"],
)
def test_a_parameter_changed_behind_the_engines_back(move):
    """Same object, perhaps the same address: what the last step knew of it no longer holds."""
    start = torch.arange(36.0).reshape(6, 6)
    p, q = start.clone().requires_grad_(), start.clone().requires_grad_()
    ours, theirs = dlopt.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for _ in range(2):
        p.grad, q.grad = torch.ones(6, 6), torch.ones(6, 6)
        ours.step()
        theirs.step()
    memory = p.data
    for x in (p, q):
        x.grad = None
        x.data = move(x.data)
        x.grad = torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape)
    untouched = memory.clone()
    ours.step()
    theirs.step()
    torch.testing.assert_close(p, q, rtol=1e-6, atol=0)
    if p.numel() < 36:
        assert torch.equal(memory[2:], untouched[2:])


def test_gradients_of_every_kind_after_a_plain_one():
    """The quick way is left as soon as one gradient is not like the last."""
    p, q = (
        torch.ones(1, dtype=torch.float64, requires_grad=True),
        torch.ones(1, dtype=torch.float64, requires_grad=True),
    )
    ours, theirs = dlopt.SGD([p], lr=0.1, momentum=0.5), torch.optim.SGD([q], lr=0.1, momentum=0.5)
    plain = torch.full((1,), 2.0, dtype=torch.float64)
    negated = torch.tensor([1 + 2j], dtype=torch.complex128).conj().imag
    assert negated.is_neg() and negated.is_contiguous()
    for grad in (plain, plain, negated, plain, nn.Parameter(plain.clone())):
        p.grad, q.grad = grad.detach() if grad.requires_grad else grad, grad.detach().clone().resolve_neg()
        ours.step()
        theirs.step()
        assert p.item() == pytest.approx(q.item(), rel=1e-14)


def test_state_replaced_between_steps():
    p, q = twins(5)
    ours, theirs = dlopt.SGD([p], lr=0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
    for opt, x in ((ours, p), (theirs, q)):
        for _ in range(3):
            x.grad = x.detach().clone()
            opt.step()
            opt.state[x]["momentum_buffer"] = torch.ones_like(x)
    torch.testing.assert_close(p, q, rtol=1e-14, atol=0)


def test_state_dicts_in_the_readers_hands_stay_the_live_ones():
    p = torch.randn(3, 4).t().requires_grad_()  # not contiguous: looked at one by one
    opt = dlopt.SGD([p], lr=0.1, momentum=0.9)
    p.grad = torch.ones_like(p)
    opt.step()
    entry = opt.state[p]
    opt.step()
    assert opt.state[p] is entry


def test_loading_lets_go_of_the_old_state():
    p = torch.ones(4, requires_grad=True)
    opt = dlopt.SGD([p], lr=0.1, momentum=0.9)
    p.grad = torch.ones_like(p)
    for _ in range(2):
        opt.step()
    old = weakref.ref(opt.state[p]["momentum_buffer"])
    opt.load_state_dict(opt.state_dict())
    gc.collect()
    assert old() is None


def test_a_group_taken_out_is_let_go_of():
    ps = [torch.ones(4, requires_grad=True) for _ in range(2)]
    opt = dlopt.SGD([{"params": [p]} for p in ps], lr=0.1, momentum=0.9)
    for p in ps:
        p.grad = torch.ones(4)
    opt.step(), opt.step()
    old = weakref.ref(ps[1])
    del opt.state[p], opt.param_groups[1], ps[1], p
    opt.step()
    gc.collect()
    assert old() is None


def test_parameters_that_share_memory_are_stepped_one_after_another():
    memory = torch.zeros(100_000)
    ps = [memory.view(-1).requires_grad_(), memory.view(100, 1000).requires_grad_()]
    for p in ps:
        p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="two parameters share one place in memory"):
        dlopt.SGD(ps, lr=1.0, fused=True).step()
    dlopt.SGD(ps, lr=1.0).step()
    assert (memory == -2).all()


# Hyperparameters, groups, closures, schedulers, hooks


def test_groups_names_and_added_groups():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    opt = dlopt.SGD([{"params": model[0].named_parameters(), "lr": 0.5}], lr=0.1)
    opt.add_param_group({"params": model[1].named_parameters(), "momentum": 0.9})
    assert [g["lr"] for g in opt.param_groups] == [0.5, 0.1]
    assert opt.param_groups[1]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="Invalid momentum value: -1"):
        opt.add_param_group({"params": torch.ones(1, requires_grad=True), "momentum": -1})
    assert len(opt.param_groups) == 2


def test_closure_is_called_with_gradients_on():
    w = torch.ones(2, requires_grad=True)
    opt = dlopt.SGD([w], lr=0.25)

    def closure():
        opt.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert opt.step(closure).item() == 2.0
    assert w.tolist() == [0.5, 0.5]


SCHEDULERS = {
    "LambdaLR": dict(lr_lambda=lambda k: 0.9**k), "StepLR": dict(step_size=3), "ExponentialLR": dict(gamma=0.9),
    "CosineAnnealingLR": dict(T_max=10), "LinearLR": dict(end_factor=0.0, total_iters=8), "PolynomialLR": dict(total_iters=9),
    "OneCycleLR": dict(max_lr=0.1, total_steps=20), "CyclicLR": dict(base_lr=0.01, max_lr=0.1, step_size_up=4),
    "CosineAnnealingWarmRestarts": dict(T_0=4), "MultiStepLR": dict(milestones=[2, 5]), "ConstantLR": dict(),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("tensor", [False, True], ids=["float lr", "tensor lr"])
def test_every_scheduler(name, tensor):
    p, q = twins(5)
    rates = (torch.tensor(0.1, dtype=torch.float64) if tensor else 0.1 for _ in range(2))
    ours, theirs = (c([x], lr=next(rates), momentum=0.9) for c, x in ((dlopt.SGD, p), (torch.optim.SGD, q)))
    schedulers = [getattr(torch.optim.lr_scheduler, name)(opt, **SCHEDULERS[name]) for opt in (ours, theirs)]
    for _ in range(12):
        for opt, x, scheduler in zip((ours, theirs), (p, q), schedulers, strict=True):
            x.grad = x.detach().clone()
            opt.step()
            scheduler.step()
    torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("cls", [dlopt.Adam, dlopt.ScheduleFreeAdamW])
def test_hooks_are_called_once_and_a_profile_shows_the_step(cls):
    w = torch.ones(3, requires_grad=True)
    opt, seen = cls([w]), []
    w.grad = torch.ones(3)
    opt.step()
    for register in (opt.register_step_pre_hook, register_optimizer_step_pre_hook):
        handle = register(lambda *told: seen.append(told[1:]))
        opt.step()
        opt.step(closure=lambda: 2.0)
        handle.remove()
        assert [(len(args), set(kwargs)) for args, kwargs in seen] == [(1, set()), (1, {"closure"})]
        seen.clear()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
    opt.step()
    assert [e.count for e in profile.key_averages() if e.key == f"Optimizer.step#{cls.__name__}.step"] == [1]


@pytest.mark.parametrize("cls", [dlopt.Adam, dlopt.ScheduleFreeAdamW])
def test_hooks_are_called_once_for_a_step_of_the_users_own(cls):
    class Mine(cls):
        def step(self, closure=None):
            return super().step(closure)

    w = torch.ones(3, requires_grad=True)
    opt, seen = Mine([w]), []
    w.grad = torch.ones(3)
    opt.register_step_pre_hook(lambda *_: seen.append("before"))
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    opt.step()
    assert seen == ["before", "after"]


@pytest.mark.filterwarnings("ignore:Dynamo detected a call:UserWarning")
def test_hooks_that_come_after_a_compilation_are_called():
    w = torch.ones(3, requires_grad=True)
    opt, seen = dlopt.SGD([w], lr=0.1), []
    w.grad = torch.ones(3)
    compiled = torch.compile(lambda: opt.step(), backend="eager")
    compiled()
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    compiled()
    assert seen == ["after"]
    torch.testing.assert_close(w.detach(), torch.full((3,), 0.8))


def test_hooks_see_steps_and_checkpoints():
    seen = []
    w = torch.ones(1, requires_grad=True)
    opt = dlopt.SGD([w], lr=0.1)
    opt.register_step_pre_hook(lambda *_: seen.append("before"))
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    opt.register_state_dict_post_hook(lambda _, state: seen.append("saved"))
    opt.register_load_state_dict_pre_hook(lambda _, state: seen.append("loading"))
    opt.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    w.grad = torch.ones(1)
    opt.step()
    opt.load_state_dict(opt.state_dict())
    assert seen == ["before", "after", "saved", "loading", "loaded"]


def test_momentum_switched_on_and_off_mid_run():
    p, q = twins(5)
    ours, theirs = dlopt.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for momentum in (0, 0, 0.9, 0.9, 0, 0.5):
        for opt, x in ((ours, p), (theirs, q)):
            opt.param_groups[0]["momentum"] = momentum
            x.grad = x.detach().clone()
            opt.step()
    torch.testing.assert_close(p, q, rtol=1e-14, atol=0)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_differentiable(momentum):
    """The loss after three steps, differentiated by the learning rate and the start.

    torch detaches the first momentum buffer, so its derivative lacks that path; ours is the true one.
    """

    def unrolled(optimizer, lr, start):
        w = start.clone()
        opt = optimizer([w], lr=lr, momentum=momentum, weight_decay=0.1, differentiable=True)
        for _ in range(3):
            w.grad = 3 * w.clone() ** 2
            opt.step()
        return w.square().sum()

    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    start = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    ours, theirs = (torch.autograd.grad(unrolled(c, 0.1, start), start) for c in (dlopt.SGD, torch.optim.SGD))
    assert (momentum == 0) == torch.allclose(ours[0], theirs[0], rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(functools.partial(unrolled, dlopt.SGD), (lr, start))


@pytest.mark.parametrize("dtype, sparse", [(torch.float64, True), (torch.complex128, False)], ids=["sparse", "complex"])
def test_differentiable_refuses_what_it_cannot_record(dtype, sparse):
    ps = [torch.ones(3, 2, dtype=kind, requires_grad=True).clone() for kind in (torch.float64, dtype)]
    opt = dlopt.SGD(ps, lr=0.1, momentum=0.9, differentiable=True)
    for p in ps:
        p.grad = torch.ones_like(p)
    p.grad = p.grad.to_sparse(1) if sparse else p.grad
    with pytest.raises(RuntimeError, match="`differentiable` supports neither complex parameters nor sparse gradients"):
        opt.step()
    assert all((p == 1).all() for p in ps) and not opt.state


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_step():
    p, q = twins(5)
    ours, theirs = dlopt.SGD([p], lr=0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
    step = torch.compile(lambda: ours.step(), backend="eager")
    for _ in range(3):
        p.grad, q.grad = p.detach().clone(), q.detach().clone()
        step()
        theirs.step()
    torch.testing.assert_close(p, q, rtol=1e-14, atol=0)


def test_grad_scaler_skips_infinite_gradients():
    w = torch.ones(2, requires_grad=True)
    opt = dlopt.SGD([w], lr=0.5, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (1.0, float("inf"), 1.0):
        opt.zero_grad()
        scaler.scale((w * factor).sum()).backward()
        scaler.step(opt)
        scaler.update()
    assert w.tolist() == pytest.approx([1 - 0.5 - 0.5 * 1.9] * 2)


def test_signature_shows_every_keyword_of_torch():
    ours, theirs = (inspect.signature(c).parameters for c in (dlopt.SGD, torch.optim.SGD))
    assert {k: v.default for k, v in theirs.items()}.items() <= {k: v.default for k, v in ours.items()}.items()


def test_nothing_is_copied_and_memory_stays_flat():
    """A fused step allocates less than 1 % of the parameters' bytes."""
    if "llvm" not in FACES:
        pytest.skip("needs llvmlite")
    w = torch.randn(4_000_000, requires_grad=True)
    w.grad = torch.randn_like(w)
    opt = dlopt.SGD([w], lr=0.1, momentum=0.9, fused=True)
    opt.step()
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    assert allocated < 0.01 * w.nbytes


def test_factories_by_partial():
    make = functools.partial(dlopt.SGD, momentum=0.9)
    assert make([torch.ones(1, requires_grad=True)], lr=0.3).param_groups[0]["momentum"] == 0.9
