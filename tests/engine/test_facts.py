"""What compiled loops say of tensors is what Python says, and neither misses a tensor that has changed."""

import subprocess
import sys
from array import array

import pytest
import torch

import dlopt
from dlopt.engine import facts as module
from dlopt.engine.faces import llvm, llvm_facts
from dlopt.engine.facts import PLAIN, asked, facts, values, versioned, written

pytestmark = pytest.mark.skipif(llvm.missing() is not None, reason=str(llvm.missing()))


@pytest.fixture(params=["compiled", "python"])
def way(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(llvm_facts, "loops", lambda types: None)
    return request.param


def kinds():
    base = torch.randn(4, 6)
    return [
        torch.tensor(1.0),
        base,
        base.T,
        base[1:, ::2],
        torch.nn.Parameter(torch.randn(3)),
        torch.randn(0, 2),
        torch.randn(5, dtype=torch.bfloat16),
        torch.randn(5, dtype=torch.complex64).conj(),
        torch.zeros(2, dtype=torch.int64),
        torch.empty(7, device="meta"),
        torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
    ]


def test_the_loops_are_compiled_here():
    assert None not in llvm_facts.loops(PLAIN)


def test_compiled_loops_and_python_say_the_same():
    tensors = kinds()
    found, expected = facts(tensors), asked(tensors)
    assert found.dtype != expected.dtype  # PyTorch's number of a dtype, and Python's object
    assert found._replace(dtype=b"") == expected._replace(dtype=b"")
    ours, theirs = array("q", found.dtype), array("q", expected.dtype)
    assert [[a == b for a in ours] for b in ours] == [[a == b for a in theirs] for b in theirs]
    assert array("q", found.address).tolist() == [t.data_ptr() for t in tensors]
    assert array("q", found.numel).tolist() == [t.numel() for t in tensors]
    assert array("q", found.contiguous).tolist() == [t.is_contiguous() for t in tensors]


def test_a_sequence_that_is_no_list_is_read_too(way):
    tensors = kinds()
    assert facts(tuple(tensors))._replace(dtype=b"") == facts(tensors)._replace(dtype=b"")
    w = torch.ones(2, requires_grad=True)
    w.grad = torch.ones(2)
    optimizer = dlopt.SGD([w], lr=0.25, fused=True)
    optimizer.param_groups[0]["params"] = (w,)
    optimizer.step()
    assert w.tolist() == [0.75, 0.75]


class Sub(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "odd",
    [torch.eye(3).to_sparse(), torch.ones(3).as_subclass(Sub), 1.0, None],
    ids=["sparse", "subclass", "number", "none"],
)
def test_there_are_no_facts_of_what_is_no_plain_tensor(way, odd):
    assert facts([torch.ones(2)]) is not None
    assert facts([torch.ones(2), odd]) is None
    assert facts([odd, torch.ones(2)]) is None


def test_there_are_no_facts_of_a_wrapper_without_memory(way):
    found = []
    torch.vmap(lambda x: found.append(facts([x])) or x)(torch.ones(2, 3))
    assert found == [None]


def test_values_are_the_list_from_before_only_if_all_are_the_same_objects(way):
    entries = [{"a": torch.ones(1), "b": 1} for _ in range(3)]
    before = values(entries, "a", [])
    assert all(entry["a"] is value for entry, value in zip(entries, before, strict=True))
    assert values(entries, "a", before) is before
    assert values(entries[:2], "a", before) is not before
    entries[2]["a"] = entries[2]["a"].clone()
    after = values(entries, "a", before)
    assert after is not before and after[2] is entries[2]["a"]
    with pytest.raises(KeyError):
        values([*entries, {}], "a", [*before, before[0]])
    with pytest.raises(TypeError):
        values([None, None, None], "a", before)


def test_versions_are_advanced_by_one(way):
    tensors = [torch.ones(2), torch.ones(2, requires_grad=True), torch.ones(4)[1:]]
    versions = [t._version for t in tensors]
    written(tensors, True)
    assert [t._version for t in tensors] == [v + 1 for v in versions]


def test_what_was_saved_for_a_gradient_may_not_be_stepped_over(way):
    w = torch.ones(3, requires_grad=True)
    optimizer = dlopt.Adam([w], fused=True)
    w.grad = torch.ones(3)
    optimizer.step()
    for saved in (w, optimizer.state[w]["exp_avg"]):
        loss = (saved * w).sum()
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_state_that_was_made_in_inference_mode_has_no_version_and_is_stepped_all_the_same(way):
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    optimizer = dlopt.SGD([w], lr=0.25, momentum=0.9, fused=True)
    with torch.inference_mode():
        optimizer.step()
    assert optimizer.state[w]["momentum_buffer"].is_inference()
    optimizer.step()
    assert w.tolist() == pytest.approx([1 - 0.25 - 0.25 * 1.9] * 3)


def test_a_parameter_of_inference_mode_with_other_numbers_has_no_version_either(way):
    with torch.inference_mode():
        w = torch.nn.Parameter(torch.ones(3))
    w.data = torch.ones(3)
    w.grad = torch.ones(3)
    assert not w.is_inference() and not versioned(w)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        dlopt.SGD([w], lr=0.25, fused=True).step()


def test_memory_that_was_given_back_is_not_written_to(way):
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    w.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="or one has none"):
        dlopt.SGD([w], lr=0.25, fused=True).step()


FIRST_STEPS = """
import sys, threading, torch, dlopt
sys.setswitchinterval(1e-6)
together, results = threading.Barrier(8), []
def train():
    w = torch.ones(8, requires_grad=True)
    w.grad = torch.ones(8)
    optimizer = dlopt.SGD([w], lr=0.125, fused=True)
    together.wait()
    for _ in range(4):
        optimizer.step()
    results.append(w.tolist())
threads = [threading.Thread(target=train) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert results == [[0.5] * 8] * 8, results
"""


def test_eight_threads_may_take_the_first_step_at_once():
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", FIRST_STEPS], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


def moved_state(optimizer, w):
    state = optimizer.state[w]
    state["exp_avg"].data = state["exp_avg"].data.clone()


def other_state(optimizer, w):
    optimizer.state[w]["exp_avg"] = optimizer.state[w]["exp_avg"].clone()


def other_entry(optimizer, w):
    optimizer.state[w] = {key: value.clone() for key, value in optimizer.state[w].items()}


def moved_parameter(optimizer, w):
    w.data = w.data.clone()


def transposed_parameter(optimizer, w):
    w.grad = None
    w.data = w.data.T.contiguous().T
    w.grad = torch.full_like(w, 0.5)


def moved_gradient(optimizer, w):
    w.grad = w.grad.clone()


def late_entry(optimizer, w):
    optimizer.state[w] = optimizer.state.pop(w)


@pytest.mark.parametrize(
    "change",
    [moved_state, other_state, other_entry, moved_parameter, transposed_parameter, moved_gradient, late_entry],
)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_changes_between_steps_is_seen(way, change, which):
    """The old memory is kept, and filled with what would be noticed."""
    results = []
    for changed in (False, True):
        torch.manual_seed(0)
        ws = [torch.randn(3, 3, requires_grad=True) for _ in range(3)]
        optimizer = dlopt.Adam(ws)
        for step in range(4):
            for w in ws:
                w.grad = torch.full_like(w, 0.5)
            if changed and step == 2:
                w, state = ws[which], optimizer.state[ws[which]]
                old = [t.data.view_as(t.data) for t in (w, w.grad, state["exp_avg"], state["exp_avg_sq"])]
                kept = [t.data_ptr() for t in (w, w.grad, state["exp_avg"], state["exp_avg_sq"])]
                change(optimizer, w)
                state = optimizer.state[w]
                now = [t.data_ptr() for t in (w, w.grad, state["exp_avg"], state["exp_avg_sq"])]
                for tensor, before, after in zip(old, kept, now, strict=True):
                    if before != after:
                        tensor.fill_(float("nan"))
            optimizer.step()
        results.append(ws)
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(expected, got)


@pytest.mark.parametrize("cut", [2, 18])
def test_groups_beside_each_other_find_their_own_state(way, cut):
    results = []
    for single in (True, False):
        torch.manual_seed(0)
        ws = [torch.randn(2, 2, requires_grad=True) for _ in range(20)]
        groups = [{"params": ws}] if single else [{"params": ws[:cut]}, {"params": ws[cut:]}]
        optimizer = dlopt.Adam(groups, fused=True)
        for step in range(4):
            for k, w in enumerate(ws):
                w.grad = None if step == 1 and k == 1 else torch.full_like(w, float(k - 5))
            optimizer.step()
        results.append(ws)
    for expected, got in zip(*results, strict=True):
        assert torch.equal(expected, got)


def refuse(error):
    def function(*arguments):
        raise error

    return function


@pytest.mark.parametrize(
    "name, error",
    [("_word", LookupError()), ("_address", AttributeError()), ("_compiled", OSError()), ("_compiled", RuntimeError())],
)
def test_without_what_the_loops_need_python_does_it(monkeypatch, name, error):
    monkeypatch.setattr(llvm_facts, name, refuse(error))
    llvm_facts.loops.cache_clear()
    try:
        assert llvm_facts.loops(PLAIN) is None
        w = torch.ones(2)
        assert module.facts([w]) == asked([w])
    finally:
        llvm_facts.loops.cache_clear()
