"""The fused CPU face: its arithmetic, its threads, and what happens where a part of it is missing."""

import os
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import faces, rule_of, xp
from dlopt.engine.batch import Batch
from dlopt.engine.faces import llvm, threads
from dlopt.engine.program import Program

pytestmark = pytest.mark.skipif(llvm.missing() is not None, reason="needs llvmlite")
BIG = 5 * threads.SMALLEST + 17


def every_function(g, p, *, lr, flag):
    a = xp.sign(g) + xp.abs(p) * xp.sqrt(xp.abs(g))
    b = xp.maximum(g, p) - xp.minimum(g, 0.25)
    c = xp.where(g >= p, a, 2) + xp.where(flag > 0, b, a)
    return -lr * (c / (1 + xp.pi * p * p))


def transcendental(g, p):
    return xp.exp(-g * g) + xp.log(1 + p * p) + xp.sin(g) * xp.cos(p)


def extremes(g, p, m, n):
    return g, xp.maximum(g, p), xp.minimum(g, p)


def run(function, arrays, face, dtype, **scalars):
    streams = [[torch.tensor(a, dtype=dtype)] for a in arrays]
    batch = Batch(Program(rule_of(function)), scalars, streams, True)
    batch.prepare()
    faces.load(face).run(batch)
    return streams[1][0]


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-40, 3e38])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("flag", [0.0, 1.0])
def test_bit_identical_to_numpy_special_values_included(dtype, flag):
    rng = np.random.default_rng(0)
    pairs = np.stack(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
    g, p = np.concatenate([pairs, rng.normal(size=(2, 1003))], axis=1)
    ours, truth = (run(every_function, (g, p), face, dtype, lr=0.1, flag=flag) for face in ("llvm", "numpy"))
    torch.testing.assert_close(ours, truth, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_any_number_of_elements_is_written_and_not_one_more(dtype):
    generator = torch.Generator().manual_seed(0)
    for size in range(1, 50):
        memory, g = (torch.randn(size + 64, generator=generator).to(dtype) for _ in range(2))
        ours, theirs = memory.clone(), memory.clone()
        for whole, face in ((ours, "llvm"), (theirs, "numpy")):
            batch = Batch(
                Program(rule_of(every_function)), {"lr": 0.1, "flag": 1.0}, [[g[:size]], [whole[:size]]], True
            )
            batch.prepare()
            faces.load(face).run(batch)
        assert torch.equal(ours, theirs) and torch.equal(ours[size:], memory[size:])
        assert not torch.equal(ours[:size], memory[:size])


@pytest.mark.parametrize("compute, lanes", [(torch.float32, "<16 x float>"), (torch.float64, "<8 x double>")], ids=str)
def test_a_kernel_computes_a_line_at_a_time_and_asks_for_lines_ahead(compute, lanes):
    text = llvm.build("some", Program(rule_of(every_function)), (compute, compute), compute, False)
    assert f"fmul {lanes}" in text and text.count('call void @"llvm.prefetch') == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_of_two_zeros_the_second_as_by_numpy_on_x86(dtype):
    """bfloat16 and float16 are computed in float32."""
    first, second = np.tile([[0.0, -0.0, 0.0, -0.0], [-0.0, 0.0, 0.0, -0.0]], 9)
    for face in ("llvm", "numpy"):
        streams = [[torch.tensor(a, dtype=dtype)] for a in (first, second, first, first)]
        faces.load(face).run(Batch(Program(rule_of(extremes)), {}, streams, True))
        for (got,) in streams[2:]:
            if face == "llvm" or platform.machine().lower() in ("x86_64", "amd64"):
                assert np.signbit(got.numpy()).tolist() == np.signbit(second).tolist()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-7), (torch.float64, 1e-15)])
def test_transcendental_functions(dtype, tolerance):
    g, p = np.random.default_rng(0).normal(size=(2, 1003))
    ours, truth = (run(transcendental, (g, p), face, dtype) for face in ("llvm", "numpy"))
    torch.testing.assert_close(ours, truth, rtol=4 * tolerance, atol=4 * tolerance)


def test_a_bfloat16_gradient_of_a_float64_parameter_is_unscaled():
    w = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    w.grad_dtype = None
    w.grad = torch.full((20,), 3.0, dtype=torch.bfloat16)
    opt = dlopt.SGD([w], lr=0.5, fused=True)
    opt.grad_scale = torch.tensor(2.0)
    opt.step()
    assert w.tolist() == [-0.75] * 20 and w.grad.tolist() == [1.5] * 20


def test_bfloat16_rounds_to_nearest_even_and_keeps_nan():
    bits = torch.arange(-(2**15), 2**15, 7, dtype=torch.int16)
    p = bits.view(torch.bfloat16)

    def identity_step(g):
        w = p.clone().requires_grad_()
        w.grad = g
        dlopt.SGD([w], lr=0.3, fused=True).step()
        return w.detach()

    g = torch.randn(len(p), generator=torch.Generator().manual_seed(0)).bfloat16()
    with np.errstate(invalid="ignore"):
        step = np.float32(-0.3) * g.float().numpy()
        expected = torch.from_numpy(p.float().numpy() + step).bfloat16()
    torch.testing.assert_close(identity_step(g), expected, rtol=0, atol=0, equal_nan=True)


def train(steps, seed=0, size=BIG):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(size, generator=g, requires_grad=True)
    opt = dlopt.SGD([w], lr=0.1, momentum=0.9, fused=True)
    for _ in range(steps):
        w.grad = torch.randn(size, generator=g)
        opt.step()
    return w.detach()


def test_any_number_of_threads_gives_the_same_bits():
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 7, 1):
            torch.set_num_threads(count)
            results.append(train(3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(r, results[0]) for r in results)


def test_several_python_threads_step_their_own_optimizers():
    alone = [train(8, seed) for seed in range(4)]
    together = [None] * 4

    def work(seed):
        together[seed] = train(8, seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_after_a_fork():
    script = """
import os, torch, dlopt
torch.set_num_threads(2)
w = torch.ones(200_000, requires_grad=True)
w.grad = torch.ones(200_000)
opt = dlopt.SGD([w], lr=0.25, fused=True)
opt.step()
child = os.fork()
if child == 0:  # torch's own parallel operations hang here, so look with a small one
    opt.step()
    os._exit(7 if w[::50_000].tolist() == [0.5] * 4 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
opt.step()
assert (w == 0.5).all()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def python(script, **env):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


STEP = """
import torch, dlopt
torch.set_num_threads(2)
w = torch.ones(200_000, requires_grad=True)
w.grad = torch.ones(200_000)
for _ in range(3):
    dlopt.SGD([w], lr=0.25).step()
assert (w == 0.25).all()
"""


def test_without_llvmlite_it_says_so_once_and_the_torch_face_runs():
    said = python("import sys; sys.modules['llvmlite'] = None\n" + STEP)
    assert said.count("pip install 'dlopt[cpu]'") == 1
    forced = """
try:
    dlopt.SGD([w], lr=0.25, fused=True).step()
except RuntimeError as error:
    assert "llvmlite is not installed: pip install 'dlopt[cpu]'" in str(error)
else:
    raise SystemExit("not refused")
"""
    python("import sys; sys.modules['llvmlite'] = None\n" + STEP + forced)


def test_without_openmp_it_says_so_once_and_runs_on_python_threads():
    hide = "from dlopt.engine.faces import threads\nthreads._openmp = lambda: None\n"
    said = python(hide + STEP.replace("lr=0.25", "lr=0.25, fused=True"))
    assert said.count("OpenMP library was not found") == 1


def test_nothing_is_said_when_nothing_is_missing():
    assert python(STEP) == ""


def test_forced_face_says_why_it_cannot():
    w = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    w.grad = torch.ones(2, dtype=torch.complex64)
    dlopt.SGD([w], lr=0.5, fused=True).step()
    v = torch.ones(4, 4)[:, ::2].requires_grad_()
    v.grad = torch.ones(4, 2)
    with pytest.raises(RuntimeError, match="the llvm face cannot take this step: it needs plain strided tensors"):
        dlopt.SGD([v], lr=0.5, fused=True).step()
    assert (v == 1).all()


def test_import_is_light():
    """Nothing heavy comes with the package: llvmlite only with the first fused step."""
    python(
        "import sys, dlopt; assert not {'llvmlite', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'triton'} & set(sys.modules)"
    )
