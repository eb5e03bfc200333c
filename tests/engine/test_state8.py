"""State in 8 bits: the map, the codes, every face to the bit, resume, conversion, memory."""

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from dlopt.engine.eight_bits import BLOCK, KINDS, SMALLEST, decode, dynamic_map, encode
from dlopt.engine.faces import llvm, threads
from tests.engine.test_contract import FACES, OPTIMIZERS, given, label, settings, small

QUANTIZED = [c for c in OPTIMIZERS if c.quantized]
CASES = [(c, s) for c in QUANTIZED for s in settings(c) if not s.get("centered")]
each_case = pytest.mark.parametrize("optimizer, setting", [pytest.param(c, s, id=label(c, s)) for c, s in CASES])
each_quantized = pytest.mark.parametrize("optimizer", QUANTIZED, ids=lambda c: c.__name__)
each_kind = pytest.mark.parametrize("kind", KINDS)
needs_llvm = pytest.mark.skipif(llvm.missing() is not None, reason="needs llvmlite")


def reference_map(signed):
    """create_dynamic_map of the authors' bitsandbytes, 8 bits, 7 of them for exponents, in plain Python."""
    data = [0.0, 1.0]
    for i in range(7):
        items = 2**i if signed else 2 ** (i + 1)
        for k in range(items):
            middle = 10.0 ** (i - 6) * (0.1 + 0.9 * (k + 0.5) / items)
            data += [middle, -middle] if signed else [middle]
    return sorted(data)


@each_kind
def test_the_map_is_the_authors(kind):
    expected = np.array(reference_map(kind == "signed"), dtype=np.float32)
    np.testing.assert_allclose(dynamic_map(kind), expected, rtol=2e-7)
    assert len(np.unique(dynamic_map(kind))) == 256


@each_kind
def test_every_number_of_the_map_is_its_own_code(kind):
    codes, absmax = encode(torch.from_numpy(dynamic_map(kind)), kind)
    assert codes.tolist() == list(range(256)) and absmax.tolist() == [1.0]


@each_kind
def test_codes_are_the_nearest(kind):
    """Against a search through the map; the first boundary of the unsigned map is 0."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-20, 0, 512 * BLOCK)) * (rng.choice([-1, 1], 512 * BLOCK) if kind == "signed" else 1)
    x = x.astype(np.float32)
    codes, absmax = encode(torch.from_numpy(x), kind)
    share = x.astype(np.float64) / np.repeat(absmax.numpy().astype(np.float64), BLOCK)
    distance = np.abs(dynamic_map(kind)[codes.numpy()] - share)
    nearest = np.abs(np.array(reference_map(kind == "signed"))[:, None] - share[None, :4096]).min(0)
    lifted = (share[:4096] < 1.7e-7) & (kind == "unsigned")
    assert (distance[:4096] <= nearest + 1e-6 * np.abs(share[:4096]))[~lifted].all()
    assert (codes.numpy()[:4096][lifted] == 1).all()
    assert distance.max() < 0.0071 and absmax.numpy().tolist() == np.abs(x).reshape(-1, BLOCK).max(1).tolist()


def test_only_zero_becomes_zero_in_the_unsigned_map():
    x = torch.tensor([1.0, 0.0, 1e-9, 1e-30, 1e-44])
    assert (decode(*encode(x, "unsigned"), "unsigned") > 0).tolist() == [True, False, True, True, True]
    assert (decode(*encode(x, "signed"), "signed") > 0).tolist() == [True, False, False, False, False]


@each_kind
def test_scales_of_any_size_zeros_and_uneven_ends(kind):
    x = torch.cat([torch.zeros(BLOCK), torch.full((BLOCK,), 1e-42), torch.full((BLOCK,), 3e38), torch.ones(7)])
    codes, absmax = encode(x.view(-1, 1), kind)
    assert codes.shape == (3 * BLOCK + 7, 1) and codes.dtype is torch.uint8 and absmax.shape == (4,)
    torch.testing.assert_close(decode(codes, absmax, kind), x.view(-1, 1), rtol=1e-6, atol=0)
    nothing = encode(torch.zeros(0, 3), kind)
    assert decode(*nothing, kind).shape == (0, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_take_their_block_and_no_other(bad):
    x = torch.ones(3 * BLOCK)
    x[BLOCK + 5] = bad
    back = decode(*encode(x, "signed"), "signed")
    assert back[:BLOCK].eq(1).all() and back[2 * BLOCK :].eq(1).all()
    torch.testing.assert_close(back[BLOCK : 2 * BLOCK], torch.full((BLOCK,), bad), equal_nan=True)


SIZES = [SMALLEST + 700, 70, 0]


def train(optimizer, face, steps=4, dtype=torch.float32, sizes=SIZES, saved=None, **keywords):
    g = torch.Generator().manual_seed(0)
    start = [torch.randn(n, generator=g) * 0.1 for n in sizes]
    grads = [[torch.randn(n, generator=g) * torch.randn(n, generator=g).exp() for n in sizes] for _ in range(steps)]
    ps = [(p if saved is None else q).to(dtype, copy=True) for p, q in zip(start, saved or start, strict=True)]
    ps = [p.requires_grad_() for p in ps]
    opt = optimizer(ps, **{"optim_bits": 8, **keywords})
    return ps, opt, grads


def go(ps, opt, grads, face):
    with faces.use(face):
        for row in grads:
            for p, grad in zip(ps, row, strict=True):
                p.grad = given(type(opt), grad.to(p.dtype))
            opt.step()
        if hasattr(opt, "eval"):
            opt.eval()
            opt.train()


def tensors(ps, opt):
    return [*(p.detach() for p in ps), *(t for p in ps for _, t in sorted(opt.state[p].items()))]


@each_case
def test_faces_agree_to_the_bit(optimizer, setting):
    results = []
    for face in FACES:
        run = train(optimizer, face, **small(setting))
        go(*run, face)
        results.append(tensors(*run[:2]))
    coded = [t for t in results[0] if t.dtype is torch.uint8]
    assert bool(coded) == bool(optimizer.state_keys and len(run[1].state[run[0][0]]) > 1)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.dtype == b.dtype and torch.equal(a, b)


@each_quantized
@pytest.mark.parametrize(
    "dtype, writing", [(torch.bfloat16, "stochastic"), (torch.float16, "kahan"), (torch.float64, "plain")]
)
def test_with_every_dtype_and_writer(optimizer, dtype, writing):
    keywords, results = {**small(settings(optimizer)[0]), "writing": writing}, []
    for face in FACES:
        run = train(optimizer, face, dtype=dtype, **keywords)
        go(*run, face)
        results.append(tensors(*run[:2]))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@each_case
def test_resume_is_exact(optimizer, setting):
    keywords = {**small(setting), "writing": "stochastic", "dtype": torch.bfloat16, "steps": 6}
    ps, opt, grads = train(optimizer, FACES[-1], **keywords)
    go(ps, opt, grads, FACES[-1])
    half, first, _ = train(optimizer, FACES[-1], **keywords)
    go(half, first, grads[:3], FACES[-1])
    file = io.BytesIO()
    torch.save({"ps": [p.detach() for p in half], "opt": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, second, _ = train(optimizer, FACES[-1], saved=saved["ps"], **keywords)
    second.load_state_dict(saved["opt"])
    for a, b in zip(tensors(half, first), tensors(again, second), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
    go(again, second, grads[3:], FACES[-1])
    if not hasattr(opt, "eval"):  # a visit to the average and back rounds
        assert all(map(torch.equal, tensors(ps, opt), tensors(again, second)))


def test_small_and_complex_parameters_keep_float32():
    sizes = {torch.Size([SMALLEST - 1]): False, torch.Size([SMALLEST]): True, torch.Size([64, 65]): True}
    ps = [torch.zeros(size, requires_grad=True) for size in sizes]
    ps.append(torch.zeros(SMALLEST, dtype=torch.complex64, requires_grad=True))
    opt = dlopt.AdamW(ps, optim_bits=8)
    for p in ps:
        p.grad = torch.ones_like(p)
    opt.step()
    coded = [opt.state[p]["exp_avg"].dtype is torch.uint8 for p in ps]
    assert coded == [*sizes.values(), False] and all(opt.state[p]["step"].dtype is torch.float32 for p in ps)
    assert opt.state[ps[2]]["exp_avg"].shape == (64, 65) and opt.state[ps[2]]["exp_avg_absmax"].shape == (17,)


@pytest.mark.parametrize("before, after", [(32, 8), (8, 32)])
def test_a_loaded_state_takes_the_form_that_the_optimizer_has(before, after):
    ps, opt, grads = train(dlopt.AdamW, "numpy", optim_bits=before)
    go(ps, opt, grads, "numpy")
    other = dlopt.AdamW(ps, optim_bits=after)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.param_groups[0]["optim_bits"] == after
    loaded = other.state_dict()["state"][0]
    assert (loaded["exp_avg"].dtype is torch.uint8) == (after == 8) == ("exp_avg_absmax" in loaded)
    assert loaded["exp_avg"].dtype in (torch.uint8, torch.float32) and None not in loaded.values()
    go(ps, other, grads[:1], FACES[-1])
    entry = {key: value for key, value in other.state[ps[0]].items() if value is not None}
    assert (entry["exp_avg"].dtype is torch.uint8) == (after == 8) == ("exp_avg_absmax" in entry)
    numbers = [
        decode(e["exp_avg"], e["exp_avg_absmax"], "signed") if "exp_avg_absmax" in e else e["exp_avg"]
        for e in (opt.state[ps[0]], entry)
    ]
    rounding = 0.015 * numbers[0].abs().max().item()  # of two codes: half the widest gap, of the largest, each
    torch.testing.assert_close(numbers[1], 0.9 * numbers[0] + 0.1 * grads[0][0], rtol=0, atol=rounding)
    again = dlopt.AdamW(ps, optim_bits=after)
    again.load_state_dict(other.state_dict())
    go(ps, again, grads[:1], FACES[-1])


def test_bits_may_be_changed_between_steps():
    ps, opt, grads = train(dlopt.AdamW, "numpy", optim_bits=32)
    for bits in (32, 8, 8, 32, 32):
        opt.param_groups[0]["optim_bits"] = bits
        go(ps, opt, grads[:1], FACES[-1])
        assert (opt.state[ps[0]]["exp_avg_sq"].dtype is torch.uint8) == (bits == 8)
    assert all(p.isfinite().all() for p in ps)


def test_broken_states_are_refused():
    ps, opt, grads = train(dlopt.AdamW, "numpy")
    go(ps, opt, grads, "numpy")
    good = opt.state_dict()
    lacking, shape, surplus = (copy.deepcopy(good) for _ in range(3))
    del lacking["state"][0]["exp_avg_absmax"]
    shape["state"][0]["exp_avg_absmax"] = torch.ones(3)
    surplus["state"][1]["exp_avg_absmax"] = torch.ones(1)
    for state, words in ((lacking, "lacks"), (shape, "has shape"), (surplus, "surplus")):
        with pytest.raises(ValueError, match=f"parameter . {words}|{words}"):
            opt.load_state_dict(state)
    negative = copy.deepcopy(good)
    negative["state"][0]["exp_avg_sq_absmax"][1] = -1.0
    with pytest.raises(
        ValueError, match="loaded exp_avg_sq_absmax of parameter 0 has -1.0: a largest magnitude is >= 0"
    ):
        opt.load_state_dict(negative)
    opt.load_state_dict(good)


@pytest.mark.parametrize(
    "optimizer", [c for c in OPTIMIZERS if c.state_keys and not c.quantized], ids=lambda c: c.__name__
)
def test_rules_whose_state_needs_its_digits_refuse(optimizer):
    with pytest.raises(ValueError, match=f"8 bits are too few for the state of {optimizer.__name__}"):
        optimizer([torch.ones(2, 2, requires_grad=True)], optim_bits=8)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("optim_bits", 7, "Invalid optim_bits: 7, neither 8 nor 32"),
        ("writing", "nonsense", "Invalid writing: 'nonsense', not one of"),
        ("seed", -1, "seed must be at least 0, got -1"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_an_option_that_became_wrong_is_refused_at_the_step(begun, name, value, words):
    ps, opt, grads = train(dlopt.AdamW, "numpy")
    go(ps, opt, grads[:1], "numpy") if begun else None
    before = [t.clone() for t in tensors(ps, opt)]
    opt.param_groups[0][name] = value
    with pytest.raises(ValueError, match=words):
        go(ps, opt, grads[:1], "numpy")
    assert all(map(torch.equal, tensors(ps, opt), before))


def test_an_option_that_became_wrong_is_refused_by_eval():
    ps, opt, grads = train(dlopt.ScheduleFreeAdamW, "numpy")
    go(ps, opt, grads[:1], "numpy")
    before = [t.clone() for t in tensors(ps, opt)]
    opt.param_groups[0]["writing"] = "nonsense"
    with pytest.raises(ValueError, match="Invalid writing: 'nonsense'"):
        opt.eval()
    assert all(map(torch.equal, tensors(ps, opt), before)) and opt.param_groups[0]["train_mode"]


def test_8_bits_asked_for_later_are_refused_as_at_the_start():
    p = torch.ones(SMALLEST, requires_grad=True)
    p.grad = torch.ones_like(p)
    opt = dlopt.Adagrad([p])
    opt.step()
    opt.param_groups[0]["optim_bits"] = 8
    with pytest.raises(ValueError, match="8 bits are too few for the state of Adagrad"):
        opt.step()


@pytest.mark.parametrize("options", [{"writing": "stochastic"}, {"optim_bits": 8}])
def test_a_kernel_says_which_order_in_memory_it_needs(options):
    p = torch.zeros(2, 16, 16, 16).to(memory_format=torch.channels_last).bfloat16().requires_grad_()
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=r"stochastic rounding and 8-bit state need contiguous parameters"):
        dlopt.AdamW([p], fused=True, **options).step()


def test_state_of_float64_parameters_has_the_range_of_float32():
    """As ``optim_bits`` says: the largest of a block is kept in float32."""
    for size, finite in ((1e18, True), (1e22, False)):
        p = torch.zeros(SMALLEST, dtype=torch.float64, requires_grad=True)
        p.grad = torch.full_like(p, size)
        opt = dlopt.AdamW([p], optim_bits=8)
        opt.step()
        assert opt.state[p]["exp_avg_sq_absmax"].isfinite().all() == finite and p.isfinite().all()


def test_other_refusals():
    p = torch.ones(SMALLEST, requires_grad=True)
    for bits in (4, 16, None, "8"):
        with pytest.raises(ValueError, match="Invalid optim_bits"):
            dlopt.AdamW([p], optim_bits=bits)
    with pytest.raises(ValueError, match="variance of a centered RMSprop"):
        dlopt.RMSprop([p], centered=True, optim_bits=8)
    with pytest.raises(RuntimeError, match="8-bit state has no derivative"):
        dlopt.AdamW([p], optim_bits=8, differentiable=True)


@needs_llvm
def test_threads_do_not_change_the_numbers():
    results, before = [], torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            run = train(dlopt.AdamW, "llvm", steps=2, sizes=[3 * threads.SMALLEST + 300])
            go(*run, "llvm")
            results.append(tensors(*run[:2]))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))


def test_a_layout_that_is_not_contiguous_takes_the_same_steps():
    """Blocks follow the order of elements, not of memory."""
    start = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    grad = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = start.clone(memory_format=layout).requires_grad_()
        opt = dlopt.AdamW([p], lr=0.1, optim_bits=8)
        for _ in range(3):
            p.grad = grad.clone(memory_format=layout)
            opt.step()
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_bytes_of_state():
    p = torch.zeros(1_000_000, requires_grad=True)
    p.grad = torch.ones_like(p)
    opt = dlopt.AdamW([p], optim_bits=8)
    opt.step()
    assert sum(t.nbytes for t in opt.state[p].values()) / p.numel() <= 2.1


MEASURE = """
import resource, torch, dlopt
n = 8_000_000
p = torch.zeros(n).requires_grad_()
p.grad = torch.ones(n)
opt = dlopt.AdamW([p], optim_bits=8, fused=True)
q = torch.zeros(5000, requires_grad=True); q.grad = torch.ones(5000)
small = dlopt.AdamW([q], optim_bits=8, fused=True); small.step()
opt.step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    opt.step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / p.nbytes)
"""


@needs_llvm
def test_a_fused_step_allocates_less_than_a_hundredth_of_the_parameters():
    """The process's largest resident memory, which a freed temporary would have raised."""
    code = MEASURE.replace("opt.step()\nbefore", "opt.step()\nopen('/proc/self/clear_refs', 'w').write('5')\nbefore")
    code = code.replace("resource.getrusage(resource.RUSAGE_SELF).ru_maxrss", "peak()")
    code = "def peak():\n    return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n" + code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert float(result.stdout) < 0.01


def test_training_with_8_bits_ends_where_float32_does():
    """Least squares, far from trivial for the map: columns of scales from 1 to 1000."""
    g = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, 3, 64)
    x, w = torch.randn(256, 64, generator=g) * scales, torch.randn(64, 80, generator=g)
    y, losses = x @ w, []
    first = (y**2 / scales.square().mean()).mean().item()
    for bits in (32, 8):
        p = torch.zeros(64, 80, requires_grad=True)
        opt = dlopt.Adam([p], lr=0.05, optim_bits=bits)
        for step in range(400):
            opt.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
            opt.zero_grad()
            loss = ((x @ p - y) ** 2 / scales.square().mean()).mean()
            loss.backward()
            opt.step()
        losses.append(loss.item())
    assert max(losses) < 1e-4 * first
