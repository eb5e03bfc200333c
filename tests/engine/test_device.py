"""Scalars that stay on the device, and what GradScaler asks of a step. A CPU, or no memory at all, stands in for a GPU."""

import contextlib
import io

import pytest
import torch

import dlopt
from dlopt.engine import device, faces
from dlopt.engine.rounding import start
from tests.engine.test_contract import CASES, FACES, OPTIMIZERS, label
from tests.engine.toy import Toy

BY_COUNT = {dlopt.RAdam}  # they choose their rule by the step count
STAYS = [(c, s) for c, s in CASES if not (c.matrix or c.sparse_only or c in BY_COUNT)]
each_that_stays = pytest.mark.parametrize("optimizer, setting", [pytest.param(c, s, id=label(c, s)) for c, s in STAYS])


@pytest.fixture
def on(monkeypatch):
    """Lets scalars stay on the CPU."""
    return lambda *names: monkeypatch.setattr(device, "DEVICES", list(names))


def descend(optimizer, setting, dtype=torch.float64, steps=4, lr=0.01, face="torch", **engine):
    """Parameters and state after steps in which one parameter rests at times."""
    g = torch.Generator().manual_seed(0)
    params = [torch.randn(n, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for n in ((5,), (2, 3), ())]
    opt = optimizer(params, **{**setting, "lr": lr, **engine})
    with faces.use(face) if face else contextlib.nullcontext():
        for step in range(steps):
            for k, p in enumerate(params):
                p.grad = torch.randn(p.shape, generator=g, dtype=torch.float64).to(dtype)
                if k == 1 and step == 1:
                    p.grad = None
            opt.step()
    return opt, [*params, *(v for p in params for _, v in sorted(opt.state.get(p, {}).items()))]


@each_that_stays
@pytest.mark.parametrize("how", ["capturable", "tensor lr"])
def test_the_numbers_are_the_hosts(optimizer, setting, how, on):
    _, expected = descend(optimizer, setting, lr=0.01)
    on("cpu")
    if how == "capturable":
        _, got = descend(optimizer, setting, capturable=True)
    else:
        _, got = descend(optimizer, setting, lr=torch.tensor(0.01, dtype=torch.float64))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-17)


def on_meta(optimizer, setting, on, size=(3, 2), dtype=torch.float32):
    """An optimizer on the device "meta", where nothing can be read back, and steps that a scaler is in charge of."""
    on("meta")
    params = [torch.ones(size, dtype=dtype, device="meta", requires_grad=True) for _ in range(2)]
    opt = optimizer(params, **{**setting, "capturable": True})
    scalar = torch.ones((), device="meta")
    for name, value in opt.param_groups[0].items():
        if name in ("lr", "betas"):
            opt.param_groups[0][name] = (scalar, scalar) if isinstance(value, tuple) else scalar
    for step in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        if step:
            opt.found_inf, opt.grad_scale = scalar, scalar
        opt.step()
    return opt


@each_that_stays
def test_nothing_is_read_back(optimizer, setting, on):
    if setting.get("convention") == "paper" and optimizer is dlopt.AdamW:
        pytest.skip("it divides by the first learning rate, which is looked at")
    opt = on_meta(optimizer, setting, on)
    assert all(v.is_meta for p in opt.param_groups[0]["params"] for v in opt.state.get(p, {}).values())


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("writing", ["stochastic", "master", "kahan"])
def test_nothing_is_read_back_of_other_forms_of_state(writing, bits, on):
    on_meta(dlopt.AdamW, {"writing": writing, "optim_bits": bits}, on, (64, 65), torch.bfloat16)


def test_a_tensor_beta1_of_zero_is_refused_where_no_step_would_see_it(on):
    betas, p = (torch.tensor(0.0), torch.tensor(0.9)), torch.ones(3, requires_grad=True)
    dlopt.ScheduleFreeAdamW([p], betas=betas)
    on("cpu")
    with pytest.raises(ValueError, match="Invalid beta parameter at index 0: 0 chooses another rule"):
        dlopt.ScheduleFreeAdamW([p], betas=betas)


def test_what_is_read_back_would_be_seen(on):
    with pytest.raises(RuntimeError, match="meta"):
        on("meta")
        p = torch.ones(3, device="meta", requires_grad=True)
        p.grad = torch.ones_like(p)
        opt = dlopt.RAdam([p])
        opt.found_inf = torch.ones((), device="meta")
        opt.step()


def test_counts_stand_still_and_go_back_to_the_host(on):
    p = torch.ones(3, requires_grad=True)
    opt = Toy([p])
    opt.rule = lambda group, t: Toy.rules[0]
    for found, on_where in ((0.0, "cpu"), (1.0, "cpu"), (0.0, "cuda"), (0.0, "cpu")):
        on(on_where)
        p.grad, opt.found_inf, before = torch.ones(3), torch.tensor(found), p.detach().clone()
        opt.step()
        assert torch.equal(p, before) == bool(found)
    assert opt.state[p]["step"].item() == 3


def test_the_counters_of_random_words_stand_still(on):
    on("cpu")
    ps = [torch.ones(3, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
    opt = dlopt.AdamW(ps, writing="stochastic")
    for found, steps in ((0.0, 1), (1.0, 1), (0.0, 2)):
        for p in ps:
            p.grad = torch.ones_like(p)
        opt.found_inf = torch.tensor(found)
        opt.step()
        for k, p in enumerate(ps):
            assert opt.state[p]["rounding_counter"].item() == start(0, k) + steps


def test_a_device_that_cannot_is_refused_in_torchs_words(on):
    p = torch.ones(3, 2, requires_grad=True)
    opt = dlopt.SGD([p])
    with pytest.raises(RuntimeError, match="If capturable=True, params and state_steps must be on supported devices"):
        opt.add_param_group({"params": [torch.ones(2, requires_grad=True)], "capturable": True})
    assert len(opt.param_groups) == 1
    on("cpu")
    for optimizer, reason in [
        (dlopt.Muon, "a matrix rule"),
        (dlopt.SparseAdam, "a sparse grad"),
        (dlopt.RAdam, "count"),
    ]:
        with pytest.raises(RuntimeError, match=f"{optimizer.__name__} does not support `capturable`.*{reason}"):
            optimizer([p], capturable=True)
    with pytest.raises(RuntimeError, match="does not go with `differentiable`"):
        dlopt.SGD([p], capturable=True, differentiable=True)


def test_a_checkpoint_crosses_over(on):
    """Counts of the device go to the host and back; `capturable` is the optimizer's own affair."""
    on("cpu")
    expected, _ = descend(dlopt.Adam, {}, steps=3)
    stays, _ = descend(dlopt.Adam, {}, steps=3, capturable=True)
    for source, target in ((expected, stays), (stays, expected)):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        before = target.param_groups[0]["capturable"]
        target.load_state_dict(torch.load(file, weights_only=True))
        assert target.param_groups[0]["capturable"] is before
        for opt in (source, target):
            for p in opt.param_groups[0]["params"]:
                p.grad = torch.ones_like(p)
            opt.step()
    for a, b in zip(*(opt.param_groups[0]["params"] for opt in (expected, stays)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


# GradScaler on a CPU, on every face, against the gradient unscaled before the step

SCALED = [(c, f, torch.float32) for c in OPTIMIZERS for f in (["torch"] if c.matrix else FACES)]
SCALED += [(c, "own choice", torch.float16) for c in OPTIMIZERS]
GRADS = [[1.0, -2.0, 0.5, 3.0], [4.0, float("inf"), 1.0, 1.0], [1.0, 1.0, -1.0, 0.25]]


@pytest.mark.parametrize("optimizer, face, dtype", [pytest.param(*s, id=f"{s[0].__name__}-{s[1]}") for s in SCALED])
def test_grad_scaler(optimizer, face, dtype):
    params = [torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=dtype, requires_grad=True) for _ in range(2)]
    ours, plain = (optimizer([p]) for p in params)
    scaler, scale = torch.amp.GradScaler("cpu", init_scale=8.0), 8.0
    with faces.use(face) if face != "own choice" else contextlib.nullcontext():
        for row in GRADS:
            grad = torch.tensor(row).reshape(2, 2).to(dtype)
            finite = bool(grad.isfinite().all())
            scaler.scale(torch.zeros(()))  # or it has no scale yet
            params[0].grad, params[1].grad = grad * scale, grad.clone()
            if optimizer.sparse_only:
                params[0].grad, params[1].grad = (p.grad.to_sparse(1) for p in params)
            scaler.step(ours)
            scaler.update()
            if finite:
                plain.step()
                assert torch.equal(*(p.grad.to_dense() for p in params))
            else:
                scale /= 2
    assert torch.equal(*params)
    for a, b in zip(*(sorted(o.state[p].items()) for o, p in zip((ours, plain), params, strict=True)), strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1])


def test_gradients_unscaled_by_hand_or_scaled_oddly():
    """unscale_ before the step; a gradient that the faces take a copy of; an optimizer without any gradient."""
    rows = torch.ones(4, 3, requires_grad=True)
    opt = dlopt.SGD([rows, (odd := torch.ones(3, 4).t().requires_grad_())], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(rows[:2].sum() + odd.sum()).backward()
    scaler.unscale_(opt)
    torch.nn.utils.clip_grad_norm_([rows, odd], 1e9)
    scaler.step(opt)
    scaler.update()
    assert rows.sum() == 6 and (odd == 0).all()
    rows.grad, odd.grad = torch.full((4, 3), 4.0).to_sparse(1), torch.full((4, 3), 4.0)
    scaler.step(opt)
    assert rows.sum() == -6 and (rows.grad.to_dense() == 1).all() and (odd.grad == 1).all()


def test_versions_of_what_is_unscaled_move():
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.ones(3)
    before, opt = p.grad._version, dlopt.SGD([p])
    opt.grad_scale = torch.tensor(2.0)
    opt.step()
    assert p.grad.tolist() == [0.5] * 3 and p.grad._version > before
