"""Truths for averaging: torch.optim.swa_utils, sums written out in float64, and what a context manager promises."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlopt.sgd import SGD, WeightAverage


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(dtype)


def walk(model, steps=20, seed=0):
    """Moves weights and buffers; yields after each move."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, generator=g).to(p.dtype))
        model(torch.randn(8, 3, generator=g).to(next(model.parameters()).dtype))
        yield


def flat(tensors):
    return torch.cat([t.detach().reshape(-1).double() for t in tensors])


@pytest.mark.parametrize("decay", [None, 0.9])
@pytest.mark.parametrize("buffers", ["keep", "average"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_torch_averaged_model(decay, buffers, dtype):
    model = network(dtype)
    function = None if decay is None else get_ema_multi_avg_fn(decay)
    theirs = AveragedModel(model, multi_avg_fn=function, use_buffers=buffers == "average")
    ours = WeightAverage(model, decay, buffers=buffers)
    for _ in walk(model):
        theirs.update_parameters(model)
        ours.update()
    result = network(dtype)
    ours.copy_to(result)
    tolerance = 1e-12 if dtype is torch.float64 else 3e-6
    torch.testing.assert_close(
        flat(result.parameters()), flat(theirs.module.parameters()), rtol=tolerance, atol=tolerance
    )
    for name, buffer in result.named_buffers():
        if buffer.is_floating_point():  # of the count of batches torch averages whole numbers, which says nothing
            torch.testing.assert_close(
                buffer, dict(theirs.module.named_buffers())[name], rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("start", [0, 1, 7, 19])
@pytest.mark.parametrize("kind", ["uniform", "exponential", "corrected"])
def test_sums_written_out(kind, start):
    """The weights of each past point, from the definition, over the last 20 - start points."""
    w, d = torch.zeros(3, dtype=torch.float64), 0.8
    average = WeightAverage([w], None if kind == "uniform" else d, start, corrected=kind == "corrected")
    points = []
    for _ in range(20):
        w.add_(torch.randn(3, dtype=torch.float64))
        points.append(w.numpy().copy())
        average.update()
        if len(points) <= start:
            np.testing.assert_array_equal(average.averages()["0"].numpy(), points[-1])
    used = np.array(points[start:])
    k = len(used)
    weights = np.ones(k) if kind == "uniform" else (1 - d) * d ** np.arange(k)[::-1]
    if kind == "exponential":
        weights[0] = d ** (k - 1)
    expected = (weights / weights.sum()) @ used
    assert weights.sum() == pytest.approx(1) or kind != "exponential"
    np.testing.assert_allclose(average.averages()["0"].numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_weights_are_averaged_in_float32(dtype):
    """1000 steps of 2^-8 around 1: a bfloat16 mean would not move at all."""
    w = torch.ones(4, dtype=dtype)
    average = WeightAverage([w])
    values = [1 + (k % 2) / 128 for k in range(1000)]
    for value in values:
        w.fill_(value)
        average.update()
    mean = average.averages()["0"]
    assert mean.dtype == torch.float32 and mean[0].item() == pytest.approx(np.mean(values), abs=1e-6)
    with average.swapped():
        assert w.dtype == dtype and w[0] == torch.tensor(np.mean(values)).to(dtype)
    assert w[0] == values[-1]


def test_complex_and_whole_numbers():
    z, n = torch.tensor([1 + 1j, 2.0]), torch.tensor([1, 2])
    average = WeightAverage([z, n])
    average.update()
    z.mul_(3)
    n.mul_(3)
    average.update()
    assert average.averages()["0"].tolist() == [2 + 2j, 4] and average.averages()["1"].tolist() == [3, 6]


def test_swapped_puts_back_bit_for_bit():
    model = network()
    average = WeightAverage(model)
    for _ in walk(model):
        average.update()
    before, pointers = copy.deepcopy(model.state_dict()), [p.data_ptr() for p in model.parameters()]
    with average.swapped():
        torch.testing.assert_close(flat(model.parameters()), flat(average.averages().values()), rtol=0, atol=0)
        model(torch.randn(8, 3).double())  # moves the batch-norm statistics
    with pytest.raises(KeyError, match="mine"), average.swapped():
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"), average.swapped():
        model[0].weight.data.zero_()
        raise KeyError("mine")
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert pointers == [p.data_ptr() for p in model.parameters()]


def test_misuse_while_swapped():
    model = network()
    average, opt = WeightAverage(model), SGD(model.parameters(), lr=0.1)
    average.update()
    with average.swapped():
        for misuse in (average.update, average.state_dict, lambda: average.copy_to(network())):
            with pytest.raises(RuntimeError, match="while the averages are swapped in"):
                misuse()
        with pytest.raises(RuntimeError, match="cannot swap again"), average.swapped():
            pass
        with pytest.raises(RuntimeError, match="cannot load"):
            average.load_state_dict({})
    before = flat(model.parameters())
    with pytest.raises(RuntimeError, match=r"0.weight.* were written to"), average.swapped():
        model(torch.randn(8, 3).double()).sum().backward()
        opt.step()
    assert torch.equal(flat(model.parameters()), before)
    average.update()  # usable again


def with_expanded_buffer():
    model = nn.Linear(2, 1)
    model.register_buffer("ones", torch.ones(2).expand(3, 2))
    return model


@pytest.mark.parametrize("buffers", ["keep", "average"])
def test_an_expanded_buffer_is_put_back_and_copied(buffers):
    model, other = with_expanded_buffer(), with_expanded_buffer()
    average = WeightAverage(model, buffers=buffers)
    average.update()
    with average.swapped():
        model.ones[0].fill_(5)
    assert model.ones.tolist() == [[1, 1]] * 3 and model.ones.stride() == (0, 1)
    model.ones[0].fill_(3)
    average.copy_to(other)
    assert other.ones.tolist() == [[3.0 if buffers == "keep" else 1.0] * 2] * 3


def test_an_expanded_buffer_cannot_take_different_values():
    model, other = with_expanded_buffer(), with_expanded_buffer()
    model.ones = torch.arange(6.0).view(3, 2)
    average = WeightAverage(model)
    average.update()
    before = flat([*other.parameters(), *other.buffers()])
    with pytest.raises(ValueError, match="ones is an expanded tensor"):
        average.copy_to(other)
    assert torch.equal(flat([*other.parameters(), *other.buffers()]), before)


def test_usable_again_after_a_write_that_fails():
    model = network()
    average = WeightAverage(model)
    average.update()
    with pytest.raises(RuntimeError, match="must match the size"), average.swapped():
        model[1].running_mean.data = torch.zeros(9)
    model[1].running_mean.data = torch.zeros(4)
    average.update()


def test_two_averages_of_one_model_swapped_within_each_other():
    model = network()
    first, second = WeightAverage(model), WeightAverage(model, 0.5)
    for _ in walk(model):
        first.update()
        second.update()
    before = flat(model.parameters())
    with first.swapped():
        with second.swapped():
            assert torch.equal(flat(model.parameters()), flat(second.averages().values()))
        assert torch.equal(flat(model.parameters()), flat(first.averages().values()))
    assert torch.equal(flat(model.parameters()), before)
    with pytest.raises(RuntimeError, match=r"\['2.bias'\] were written to"), first.swapped():
        with second.swapped():
            pass
        nn.init.ones_(model[2].bias)


def test_nothing_averaged_yet():
    average = WeightAverage(network())
    for early in (average.averages, lambda: average.copy_to(network()), average.swapped().__enter__):
        with pytest.raises(RuntimeError, match="call update"):
            early()


def test_frozen_shared_and_added_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    average = WeightAverage(model)
    assert average.state_dict()["mean"] == {}
    average.update()
    assert list(average.averages()) == ["0.weight", "0.bias", "1.bias"]
    with torch.no_grad():
        model[0].bias.requires_grad_(True).add_(1)
    average.update()
    torch.testing.assert_close(average.averages()["0.bias"], model[0].bias.detach() - 0.5)
    model.add_module("head", nn.Linear(2, 1))
    count = average.updates
    with pytest.raises(ValueError, match="'head.bias', 'head.weight'.* are new"):
        average.update()
    assert average.updates == count
    del model.head
    model[1].bias = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"1.bias has shape \(3,\)"), average.swapped():
        pass
    with pytest.raises(ValueError, match="no shape yet"):
        WeightAverage(nn.LazyLinear(2))


def test_copy_to_takes_the_buffers():
    model, other = network(), network()
    average = WeightAverage(model)
    for _ in walk(model):
        average.update()
    average.copy_to(other)
    assert torch.equal(flat(other.buffers()), flat(model.buffers()))
    with pytest.raises(ValueError, match="has shape"):
        average.copy_to(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)))
    numbers = WeightAverage(list(model.parameters()))
    numbers.update()
    numbers.copy_to(list(other.parameters()))
    assert torch.equal(flat(other.parameters()), flat(model.parameters()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kw", [{}, dict(decay=0.9, start=3), dict(decay=0.9, corrected=True, buffers="average")])
def test_resume_is_exact(dtype, kw):
    def run(first, last, saved=None):
        model = network(dtype)
        average = WeightAverage(model, **kw)
        if saved is not None:
            average = WeightAverage(model, buffers=kw.get("buffers", "keep"))
            average.load_state_dict(saved)
        for k, _ in enumerate(walk(model, last)):
            if k >= first:
                average.update()
        return average

    whole = run(0, 12)
    for split in (0, 2, 6):
        file = io.BytesIO()
        torch.save(run(0, split).state_dict(), file)
        file.seek(0)
        resumed = run(split, 12, torch.load(file, weights_only=True))
        a, b = whole.state_dict(), resumed.state_dict()
        assert all(torch.equal(a["mean"][name], b["mean"][name]) for name in a["mean"])
        assert {k: v for k, v in a.items() if k != "mean"} == {k: v for k, v in b.items() if k != "mean"}


@pytest.mark.parametrize("decay", [np.float64(0.9), np.float32(0.9), torch.tensor(0.9), 0])
def test_settings_are_kept_and_loaded_as_plain_numbers(decay):
    average = WeightAverage(network(), decay, np.int64(3))
    average.update()
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = WeightAverage(network())
    again.load_state_dict({**state, "decay": decay, "start": np.int64(3), "updates": np.int64(1)})
    for one in (average, again):
        assert [type(getattr(one, name)) for name in ("decay", "start", "updates")] == [float, int, int]
        assert one.decay == pytest.approx(float(decay))
    if isinstance(decay, torch.Tensor):
        decay.fill_(2.0)
        assert average.decay < 1


def test_a_state_is_a_copy():
    model = network()
    average = WeightAverage(model)
    average.update()
    state = average.state_dict()
    for _ in walk(model, 2):
        average.update()
    assert torch.equal(state["mean"]["0.bias"], network()[0].bias)


def test_bad_states_change_nothing():
    average = WeightAverage(network(), 0.9)
    average.update()
    good = copy.deepcopy(average.state_dict())
    mean = good["mean"]
    bad = [{}, {**good, "speed": 1}, {**good, "decay": 1.0}, {**good, "updates": -1}, {**good, "updates": 1.5}]
    bad += [{**good, "mean": {}}, {**good, "mean": {**mean, "0.bias": torch.ones(9)}}]
    bad += [{**good, "mean": {**mean, "0.bias": mean["0.bias"].float()}}, {**good, "decay": None, "corrected": True}]
    bad += [
        {**good, "mean": given}
        for given in (None, 3, [], "mean", {**mean, 1: 2}, {**mean, "0.bias": 3}, {**mean, "0.bias": None})
    ]
    bad += [{**good, "mean": {**mean, "0.bias": mean["0.bias"] * float("nan")}}, {**good, "updates": 0}]
    bad += [{**good, "decay": 0.5, "corrected": value} for value in ("yes", 1, None)] + [{**good, "updates": True}]
    for state in bad:
        with pytest.raises(ValueError):
            average.load_state_dict(state)
        after = average.state_dict()
        assert after["decay"] == 0.9 and after["updates"] == 1
        assert all(torch.equal(after["mean"][name], mean[name]) for name in mean)


@pytest.mark.parametrize(
    "kw, words",
    [
        *((dict(decay=d), "Invalid decay") for d in (-0.1, 1.0, float("nan"), "0.9")),
        *((dict(start=s), "start is a whole number") for s in (-1, 1.5, None, True, float("nan"))),
        (dict(corrected=True), "needs a decay"),
        *((dict(decay=0.9, corrected=c), "True or False") for c in ("yes", 1, None)),
        (dict(buffers="copy"), "buffers must be"),
    ],
)
def test_refuses_settings(kw, words):
    with pytest.raises(ValueError, match=words):
        WeightAverage(network(), **kw)


def test_refuses_sources():
    with pytest.raises(TypeError, match="not one tensor"):
        WeightAverage(torch.ones(2))
    with pytest.raises(TypeError, match="0 is a str"):
        WeightAverage(["w"])
    with pytest.raises(ValueError, match="no parameters"):
        WeightAverage([])
    with pytest.raises(ValueError, match="needs a module"):
        WeightAverage([torch.ones(2)], buffers="average")


def test_training_does_not_notice():
    """Same weights to the last bit with and without an average beside it, swapped in now and then."""
    results = []
    for watched in (False, True):
        model = network()
        average, opt = WeightAverage(model, 0.9), SGD(model.parameters(), lr=0.1, momentum=0.9)
        for k in range(10):
            opt.zero_grad()
            model(torch.randn(8, 3, generator=torch.Generator().manual_seed(k)).double()).square().mean().backward()
            opt.step()
            if watched:
                average.update()
                with average.swapped():
                    model(torch.ones(8, 3).double())
        results.append(flat([*model.parameters(), *model.buffers()]))
    assert torch.equal(*results)


def test_memory_is_one_copy():
    w = [torch.zeros(1000, dtype=torch.bfloat16)]
    assert sum(t.numel() * t.element_size() for t in WeightAverage(w)._mean.values()) == 4000
