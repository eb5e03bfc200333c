"""The fused GPU face with no GPU: NumPy's bits in Triton's interpreter, and machine code for compute capability 9.0."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dlopt
from dlopt.engine.faces import triton as face
from dlopt.engine.lowering import lower_norms, lower_program
from dlopt.engine.program import Program
from dlopt.engine.rule import rule_of, xp
from tests.engine.layerwise import layered, lengths
from tests.engine.test_contract import OPTIMIZERS

compiler = pytest.importorskip("triton.compiler", reason="Triton is not installed")

RULES = sorted({rule for c in OPTIMIZERS if not c.matrix for rule in c.rules}, key=lambda f: (f.__module__, f.__name__))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("checks, least", [("interpreted.py", 500), ("interpreted_state8.py", 40)])
def test_in_the_interpreter_the_bits_are_numpys(checks, least):
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(checks))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= least


def compiled(
    rule, dtypes, compute=torch.float32, writer="plain", aligned=True, table=False, before=(), norms=None, sums=False,
    codes=(),
):  # fmt: skip
    """PTX for compute capability 9.0: of the program or of the pass that sums."""
    from triton.backends.compiler import GPUTarget

    program = Program(rule_of(rule), before, writer, codes, norms and rule_of(norms))
    function = face.kernel(program, dtypes, compute, aligned, table, sums)
    lowered = lower_norms(program) if sums else lower_program(program)
    kind = "fp64" if compute is torch.float64 else "fp32"
    slots = {"slots": f"*{kind}"} if table else {f"slot{k}": kind for k in range(len(lowered.slots))}
    slots |= {"sums": "*fp64"} if sums else {}
    slots |= {f"map_{kind}": "*fp32" for kind in set(codes) - {None}}
    signature = {"chunks": "*i64", "pointers": "*i64", "tensors": "i32", **slots}
    source = compiler.ASTSource(fn=function, signature=signature, constexprs={})
    options = {"enable_fp_fusion": False, "num_warps": 4}
    made = compiler.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"]
    return made.asm["ptx"]


@pytest.mark.parametrize("compute, kind", [(torch.float32, "fp32"), (torch.float64, "fp64")], ids=str)
def test_scalars_are_as_wide_as_the_arithmetic(compute, kind):
    """A launch would take a Python number for float32, were the kernel not to say."""
    function = face.kernel(Program(rule_of(dlopt.SGD.rules[0])), (compute,) * 2, compute, True, False)
    assert [p.annotation_type for p in function.params if p.name.startswith("slot")] == [kind]


def wide(ptx, what):
    return len(re.findall(rf"{what}\.global\.v4\.b32|{what}\.global\.v2\.b64", ptx))


@pytest.mark.parametrize("rule", RULES, ids=lambda f: f.__name__)
def test_every_rule_compiles_and_moves_16_bytes_at_a_time(rule):
    streams = len(rule_of(rule).elements)
    ptx = compiled(rule, (torch.float32,) * streams)
    passes = face.BLOCK // (128 * 4)  # 128 threads, four numbers each
    assert wide(ptx, "ld") >= passes * (streams - 1)  # a rule need not look at all it is given
    assert wide(ptx, "st") >= passes
    assert not re.search(r"\bfma|\.approx|\.ftz", ptx)


def transcendental(g, p, *, lr):
    return -lr * (xp.exp(-g) + xp.log(1 + p * p) + xp.sin(g) * xp.cos(p))


def polynomial(g, p, *, lr):
    return -lr * (g * g + xp.where(p > 0.3, 0.1, 0.2) / (1 + p * p) + xp.sqrt(xp.abs(g)))


def test_only_the_functions_that_are_the_devices_own_are_approximate():
    """As the face's text says: what a reader's rule takes of exp and log is not rounded as IEEE 754 says."""
    inexact = r"\bfma|\.approx|\.ftz"
    assert re.search(inexact, compiled(transcendental, (torch.float32,) * 2))
    assert not re.search(inexact, compiled(polynomial, (torch.float32,) * 2))


def test_a_number_in_a_float64_rule_is_compiled_as_float64():
    ptx = compiled(polynomial, (torch.float64,) * 2, torch.float64)
    assert not re.search(r"\.f32", ptx)
    assert f"0d{struct.pack('>d', 0.1).hex().upper()}" in ptx


WRITERS = {"plain": (), "kahan": ("storage",), "stochastic": (torch.int64,), "master": ("compute",)}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("storage", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_dtypes_compile(storage, writer):
    compute = torch.float64 if storage is torch.float64 else torch.float32
    own = [{"storage": storage, "compute": compute}.get(kind, kind) for kind in WRITERS[writer]]
    dtypes = (storage, storage, compute, compute, *own)
    assert wide(compiled(dlopt.Adam.rules[0], dtypes, compute, writer), "ld") >= 4


def test_slots_from_a_table_and_an_unscaled_gradient_compile():
    four = (torch.float32,) * 4
    plain, scaled = (compiled(dlopt.Adam.rules[0], four, table=True, before=b) for b in ((), ("unscale",)))
    assert wide(plain, "ld") >= 8 and wide(scaled, "st") >= wide(plain, "st") + 2  # the gradient is written back


def test_both_passes_of_a_layer_wise_rule_compile():
    four = (torch.float32,) * 4
    for sums in (False, True):
        ptx = compiled(layered, four, table=not sums, norms=lengths, sums=sums)
        assert wide(ptx, "ld") >= 8 and not re.search(r"\bfma\.rn\.f32|\.approx|\.ftz", ptx)


def codes_of(optimizer, rule):
    return tuple(optimizer.quantized.get(symbol) for symbol in rule_of(rule).elements[2:])


CODED = {codes_of(c, rule): rule for c in OPTIMIZERS if c.quantized for rule in c.rules if any(codes_of(c, rule))}


def narrow(ptx, what):
    return len(re.findall(rf"{what}\.global\.b8", ptx))


@pytest.mark.parametrize("codes", CODED, ids=str)
@pytest.mark.parametrize("storage", [torch.float32, torch.bfloat16], ids=str)
def test_every_kind_of_8_bit_state_compiles_and_moves_8_codes_at_a_time(codes, storage):
    state, coded = [torch.uint8 if kind else torch.float32 for kind in codes], len(codes) - codes.count(None)
    ptx = compiled(CODED[codes], (storage, storage, *state, *[torch.float32] * coded), codes=codes)
    each = face.BLOCK // 128  # one by one where a tile is not full, and only there
    assert narrow(ptx, "ld") == narrow(ptx, "st") == each * coded
    assert len(re.findall(r"st\.global\.v2\.b32", ptx)) >= coded
    assert not re.search(r"\bfma|\.approx|\.ftz", ptx)


def test_8_bit_state_compiles_with_every_writer_and_with_norms():
    codes, state = ("signed", "unsigned"), [torch.uint8] * 2
    for writer, own in WRITERS.items():
        own = [{"storage": torch.bfloat16, "compute": torch.float32}.get(kind, kind) for kind in own]
        dtypes = (torch.bfloat16, torch.bfloat16, *state, *own, torch.float32, torch.float32)
        assert narrow(compiled(dlopt.Adam.rules[0], dtypes, writer=writer, codes=codes), "st") == 16
    dtypes = (torch.float64, torch.float64, *state, torch.float32, torch.float32)
    for sums in (False, True):
        ptx = compiled(layered, dtypes, torch.float64, table=not sums, norms=lengths, sums=sums, codes=codes)
        assert narrow(ptx, "ld") == 16 and narrow(ptx, "st") == 16 * (not sums)


def test_what_is_not_aligned_is_not_read_as_if_it_were():
    assert wide(compiled(dlopt.Adam.rules[0], (torch.float32,) * 4, aligned=False), "ld") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    p = torch.ones(3, requires_grad=True)
    p.grad = torch.ones(3)
    with dlopt.engine.faces.use("triton"), pytest.raises(RuntimeError, match="it runs on CUDA tensors, not on cpu"):
        dlopt.SGD([p]).step()
    assert face.missing() == "there is no GPU"
