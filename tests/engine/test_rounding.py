"""Stochastic rounding and master weights: unbiased, the same on every face, exact after a resume."""

import copy
import io

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces
from dlopt.engine.faces import llvm, threads
from dlopt.engine.rounding import rounded, start, words
from tests.engine.test_contract import FACES, OPTIMIZERS, PROBLEMS, given, settings, small

HALVES = [torch.bfloat16, torch.float16]
each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)
each_writer = pytest.mark.parametrize("writing", ["stochastic", "master"])
ELEMENTWISE = [c for c in OPTIMIZERS if not c.matrix]
each_elementwise = pytest.mark.parametrize("optimizer", ELEMENTWISE, ids=lambda c: c.__name__)
SAMPLES = 100_000
VALUES = [1 + 1 / 5000, -1.3333, 0.1, 3.7e-5, -2.2e-6, 7.3e-7, -1e-7, 5e-8, 1234.567, -60_000.4]


def mix32(x):
    """lowbias32 on uint32, written from its definition."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


@pytest.mark.parametrize("counter", [start(7, 3), 0, -1, 2**63 - 1, -(2**63)])
def test_words_are_the_hash_of_place_and_counter(counter):
    z = counter % 2**64
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> shift)) * multiplier % 2**64
    z ^= z >> 31
    index = np.arange(1000, dtype=np.uint32)
    expected = mix32(mix32(index + np.uint32(z % 2**32)) ^ np.uint32(z >> 32))
    assert words(torch.tensor(counter), 1000).tolist() == expected.tolist()


@each_half
@pytest.mark.parametrize("value", VALUES)
def test_unbiased(dtype, value):
    x = torch.full((SAMPLES,), value)
    errors = rounded(x, words(torch.tensor(start(1, 0)), SAMPLES), dtype).double() - x.double()
    spread = errors.std().item()
    assert spread > 0 and len(errors.unique()) == 2
    assert abs(errors.mean().item()) <= 4 * spread / SAMPLES**0.5


@each_half
def test_every_number_of_the_dtype_is_kept(dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    for step in range(3):
        kept = rounded(every.float(), words(torch.tensor(step), len(every)), dtype)
        torch.testing.assert_close(kept, every.float(), rtol=0, atol=0, equal_nan=True)
        assert torch.equal(kept.signbit(), every.float().signbit())


@each_half
def test_neighbours_only(dtype):
    """Never past the next number of the dtype, above or below."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, generator=g) * 2.0 ** torch.randint(-30, 10, (SAMPLES,), generator=g)
    got, nearest = rounded(x, words(torch.tensor(3), SAMPLES), dtype), x.to(dtype).float()
    toward = torch.where(nearest > x, -float("inf"), float("inf")).to(dtype)
    other = torch.nextafter(x.to(dtype), toward).float()
    assert ((got == nearest) | (got == other)).all() and (got != nearest).any()


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].abs().item()


def test_steps_parameters_seeds_and_neighbours_are_independent():
    n = 65_536
    first = start(0, 0)
    base = words(torch.tensor(first), n)
    others = {
        "next step": words(torch.tensor(first + 1), n), "after 64 steps": words(torch.tensor(first + 64), n),
        "next parameter": words(torch.tensor(start(0, 1)), n), "next seed": words(torch.tensor(start(1, 0)), n),
        "next element": base.roll(1), "element 256 on": base.roll(256),
    }  # fmt: skip
    for name, other in others.items():
        for shift in (0, 16, 19):
            low = correlation(base >> shift & 0x1FFF, other >> shift & 0x1FFF)
            assert low < 4.5 / n**0.5, name
    counts = torch.bincount(base >> 24, minlength=256).double()
    assert ((counts - n / 256) ** 2 / (n / 256)).sum() < 255 + 5 * 510**0.5


def run(optimizer, face, dtype, sizes, steps=3, seed=0, **keywords):
    generators = [torch.Generator().manual_seed(2 + k) for k in range(len(sizes))]
    ps = [torch.randn(n, generator=g).to(dtype).requires_grad_() for n, g in zip(sizes, generators, strict=True)]
    opt = optimizer(ps, seed=seed, **keywords)
    with faces.use(face):
        for _ in range(steps):
            for p, g in zip(ps, generators, strict=True):
                p.grad = given(optimizer, torch.randn(p.shape, generator=g).to(dtype))
            opt.step()
        if hasattr(opt, "eval"):
            opt.eval()
    return [p.detach() for p in ps], opt


@each_elementwise
@each_half
@each_writer
def test_faces_agree(optimizer, dtype, writing):
    keywords = {**small(settings(optimizer)[0]), "writing": writing}
    results = {face: run(optimizer, face, dtype, [1037, 5, 0], **keywords)[0] for face in FACES}
    for face in FACES:
        assert all(map(torch.equal, results[face], results["numpy"]))


@each_elementwise
@each_half
@each_writer
def test_resume_is_exact(optimizer, dtype, writing):
    problem, keywords = PROBLEMS["net"], {**small(settings(optimizer)[0]), "writing": writing}

    def train(steps, saved=None, seed=5):
        ps = problem.parameters(optimizer, dtype) if saved is None else [p.requires_grad_() for p in saved["ps"]]
        opt = optimizer(ps, seed=seed, **keywords)
        if saved is not None:
            opt.load_state_dict(saved["opt"])
        problem.descend(opt, ps, steps)
        return {"ps": [p.detach() for p in ps], "opt": opt.state_dict()}

    whole, file = train(7), io.BytesIO()
    torch.save(train(3), file)
    file.seek(0)
    resumed = train(4, torch.load(file, weights_only=True), seed=9)
    assert all(map(torch.equal, whole["ps"], resumed["ps"]))
    for entry, again in zip(whole["opt"]["state"].values(), resumed["opt"]["state"].values(), strict=True):
        assert entry.keys() == again.keys() and all(torch.equal(entry[key], again[key]) for key in entry)
    assert resumed["opt"]["param_groups"][0]["seed"] == 5


@pytest.mark.skipif(llvm.missing() is not None, reason="needs llvmlite")
def test_neither_threads_nor_company_change_the_numbers():
    """One tensor alone, the same among others, on one thread and on four."""
    size, results = 3 * threads.SMALLEST + 11, []
    before = torch.get_num_threads()
    try:
        for count, sizes in ((1, [size]), (4, [size]), (4, [size, 40])):
            torch.set_num_threads(count)
            ps, _ = run(dlopt.AdamW, "llvm", torch.bfloat16, sizes, writing="stochastic", lr=1e-3)
            results.append(ps[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_seeds_parameters_and_steps_differ():
    def ends(seed):
        ps = [torch.ones(4096, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
        opt = dlopt.SGD(ps, lr=1 / 1024, writing="stochastic", seed=seed)
        path = []
        for _ in range(2):
            for p in ps:
                p.data.fill_(1.0)
                p.grad = torch.ones_like(p)
            opt.step()
            path += [p.detach().clone() for p in ps]
        return path

    tensors = [*ends(0), *ends(1)]
    assert all((a != b).float().mean() > 0.1 for k, a in enumerate(tensors) for b in tensors[:k])
    assert all(map(torch.equal, ends(1), ends(1)))


def test_a_small_step_is_lost_to_nearest_and_kept_on_average():
    ends = {}
    for writing in ("plain", "stochastic", "kahan", "master"):
        p = torch.ones(10_000, dtype=torch.bfloat16, requires_grad=True)
        opt = dlopt.SGD([p], lr=1e-4, writing=writing)
        p.grad = torch.ones_like(p)
        for _ in range(100):
            opt.step()
        ends[writing] = p.detach().double().mean().item()
    assert ends["plain"] == 1
    assert ends["stochastic"] == pytest.approx(0.99, abs=4e-4)
    assert ends["kahan"] == pytest.approx(0.99, abs=0.002) and ends["master"] == pytest.approx(0.99, abs=0.002)


@pytest.mark.parametrize("face", FACES)
@each_half
def test_nan_and_infinity(face, dtype):
    p = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=dtype, requires_grad=True)
    p.grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0], dtype=dtype)
    with faces.use(face):
        dlopt.SGD([p], lr=1.0, writing="stochastic").step()
    assert p[0].isnan() and p.tolist()[1:] == [-float("inf"), float("inf"), 4.0]


# Master weights


@each_half
def test_master_weights_are_training_in_float32(dtype):
    """Where gradients do not depend on the rounding: the float32 run, rounded."""
    (got,), opt = run(dlopt.AdamW, FACES[-1], dtype, [300], steps=20, lr=1e-2, writing="master")
    g = torch.Generator().manual_seed(2)
    p = torch.randn(300, generator=g).to(dtype).float().requires_grad_()
    wide = dlopt.AdamW([p], lr=1e-2)
    with faces.use(FACES[-1]):
        for _ in range(20):
            p.grad = torch.randn(300, generator=g).to(dtype).float()
            wide.step()
    master = next(iter(opt.state.values()))["master_weight"]
    assert master.dtype is torch.float32 and torch.equal(master, p.detach()) and torch.equal(got, p.detach().to(dtype))


@pytest.mark.parametrize("face", FACES)
def test_a_parameter_written_from_outside_wins_over_its_master(face):
    p = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    opt = dlopt.SGD([p], lr=1e-3, writing="master")
    p.grad = torch.ones_like(p)
    with faces.use(face):
        opt.step()
        p.data[1] = 5.0
        opt.step()
    torch.testing.assert_close(opt.state[p]["master_weight"], torch.tensor([0.998, 4.999, 0.998]))


def test_a_counter_of_the_wrong_kind_is_refused():
    p = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    opt = dlopt.SGD([p], lr=0.1, writing="stochastic")
    p.grad = torch.ones_like(p)
    opt.step()
    good = copy.deepcopy(opt.state_dict())
    for wrong in (torch.tensor(1.0), torch.zeros(2, dtype=torch.int64), 3):
        state = copy.deepcopy(good)
        state["state"][0]["rounding_counter"] = wrong
        with pytest.raises(ValueError, match="loaded rounding_counter of parameter 0 is no int64"):
            opt.load_state_dict(state)
    opt.load_state_dict(good)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None, True])
def test_bad_seeds(seed):
    with pytest.raises(ValueError, match="seed must be"):
        dlopt.SGD([torch.ones(2, requires_grad=True)], lr=0.1, seed=seed)


def test_stochastic_rounding_is_not_recorded():
    with pytest.raises(RuntimeError, match="stochastic rounding has no derivative"):
        dlopt.SGD([torch.ones(2, requires_grad=True)], lr=0.1, writing="stochastic", differentiable=True)
