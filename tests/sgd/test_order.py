import io
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils.data import DataLoader, TensorDataset

from dlopt.sgd import OrderSampler, order

HOWS = ["replacement", "reshuffled", "once", "cyclic", "flipflop"]


@pytest.mark.parametrize("how", HOWS)
def test_shape_dtype_range_and_reproducible(how):
    rows = order(7, 6, how, seed=3)
    assert rows.shape == (6, 7) and rows.dtype == torch.int64
    assert rows.min() >= 0 and rows.max() <= 6
    assert torch.equal(rows, order(7, 6, how, seed=3))
    assert torch.equal(rows[:4], order(7, 4, how, seed=3))
    assert torch.equal(rows, order(np.int64(7), 6, how, seed=np.int32(3)))
    assert torch.equal(rows, order(7, 6, how, seed=4)) == (how == "cyclic")
    state = torch.random.get_rng_state()
    order(7, 6, how)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("how", ["reshuffled", "once", "cyclic", "flipflop"])
def test_every_epoch_is_a_permutation(how):
    rows = order(50, 9, how, seed=1)
    assert (rows.sort(1).values == torch.arange(50)).all()


def test_what_makes_each_order_what_it_is():
    once, cyclic, flip, fresh = (order(50, 8, how, 1) for how in ("once", "cyclic", "flipflop", "reshuffled"))
    assert (once == once[0]).all() and not torch.equal(once[0], cyclic[0])
    assert (cyclic == torch.arange(50)).all()
    assert torch.equal(flip[1::2], flip[::2].flip(1)) and len({tuple(row) for row in flip.tolist()}) == 8
    assert len({tuple(row) for row in fresh.tolist()}) == 8
    assert torch.equal(once[0], fresh[0]) and torch.equal(flip[0], fresh[0])


def test_one_example_and_one_epoch():
    for how in HOWS:
        assert order(1, 1, how).tolist() == [[0]]


def test_with_replacement_misses_a_third_and_counts_are_binomial():
    n, epochs = 200, 2000
    counts = torch.stack([torch.bincount(row, minlength=n) for row in order(n, epochs, "replacement", seed=0)])
    missed = (counts == 0).double().mean().item()
    assert missed == pytest.approx((1 - 1 / n) ** n, abs=0.002)
    assert missed == pytest.approx(math.exp(-1), abs=0.004)
    assert counts.double().var(correction=0).item() == pytest.approx(1 - 1 / n, rel=0.02)


@pytest.mark.parametrize("how", ["reshuffled", "replacement"])
def test_every_example_is_equally_likely_at_every_place(how):
    rows = order(6, 6000, how, seed=0)
    for place in range(6):
        assert stats.chisquare(torch.bincount(rows[:, place], minlength=6)).pvalue > 1e-3
    pairs = 6 * rows[:, 4] + rows[:, 5]  # neighbours, and across an epoch's end
    across = 6 * rows[:-1, 5] + rows[1:, 0]
    counts = torch.bincount(pairs, minlength=36)
    possible = counts if how == "replacement" else counts[~torch.eye(6, dtype=torch.bool).flatten()]
    assert possible.sum() == len(rows)
    assert stats.chisquare(possible).pvalue > 1e-3
    assert stats.chisquare(torch.bincount(across, minlength=36)).pvalue > 1e-3


@pytest.mark.parametrize("how", ["reshuffled", "once", "flipflop"])
def test_all_permutations_are_equally_likely_over_seeds(how):
    number = {p: i for i, p in enumerate(itertools.permutations(range(4)))}
    found = [number[tuple(order(4, 1, how, seed).flatten().tolist())] for seed in range(4800)]
    assert stats.chisquare(np.bincount(found, minlength=24)).pvalue > 1e-3


@pytest.mark.parametrize("how", ["replacement", "reshuffled"])
def test_the_mean_of_numbers_ends_an_epoch_with_the_exact_variance(how):
    n, q, seeds = 10, 0.8, 6000
    a = np.arange(n) - (n - 1) / 2
    w = (1 - q) * q ** np.arange(n)[::-1]
    exact = a.var() * w @ w if how == "replacement" else n / (n - 1) * a.var() * (w @ w - w.sum() ** 2 / n)
    ends = np.array([a[order(n, 1, how, seed)[0].numpy()] @ w for seed in range(seeds)])
    assert np.mean(ends**2) == pytest.approx(exact, rel=0.08)  # 4 standard errors


BAD = [
    (dict(n=0), "n must"),
    (dict(n=-1), "n must"),
    (dict(n=2.0), "n must"),
    (dict(n=math.nan), "n must"),
    (dict(n="5"), "n must"),
    (dict(n=True), "n must"),
    (dict(n=None), "n must"),
    (dict(epochs=0), "epochs must"),
    (dict(epochs=1.5), "epochs must"),
    (dict(seed=-1), "seed must"),
    (dict(seed=0.5), "seed must"),
    (dict(how="random"), "how must be one of replacement"),
    (dict(how=None), "how must"),
]


@pytest.mark.parametrize(("wrong", "word"), BAD)
def test_bad_input_is_refused(wrong, word):
    with pytest.raises(ValueError, match=word):
        order(**{"n": 5, "epochs": 2, **wrong})


def test_the_sampler_refuses_what_order_refuses():
    for wrong in ([], 0, 2.5):
        with pytest.raises(ValueError, match="n must"):
            OrderSampler(wrong)
    with pytest.raises(ValueError, match="how must"):
        OrderSampler(5, "random")
    for wrong in (-1, 0.5, True):
        with pytest.raises(ValueError, match="epoch must"):
            OrderSampler(5).set_epoch(wrong)


@pytest.mark.parametrize("how", HOWS)
def test_the_sampler_yields_the_rows_of_order(how):
    sampler, rows = OrderSampler(TensorDataset(torch.arange(9)), how, seed=2), order(9, 5, how, seed=2).tolist()
    assert len(sampler) == 9
    assert [list(sampler) for _ in range(3)] == rows[:3]
    sampler.set_epoch(1)
    assert [list(sampler), list(sampler)] == rows[1:3]


def test_a_pass_broken_off_starts_again():
    sampler = OrderSampler(9, seed=2)
    next(iter(sampler))
    assert list(sampler) == order(9, 1, seed=2)[0].tolist()


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 5, 7])
def test_a_data_loader_resumes_in_the_middle_of_an_epoch(how, drop_last, stop):
    def loader():
        sampler = OrderSampler(10, how, seed=5)
        return sampler, DataLoader(torch.arange(10), batch_size=3, sampler=sampler, drop_last=drop_last)

    def batches(sampler, loader, first):
        for epoch in range(first, 4):
            sampler.set_epoch(epoch)
            for batch in loader:
                yield batch.tolist()

    whole = list(batches(*loader(), 0))
    sampler, source = loader()
    done = list(itertools.islice(batches(sampler, source, 0), stop))
    file = io.BytesIO()
    torch.save(sampler.state_dict(), file)
    file.seek(0)
    sampler, source = loader()
    sampler.load_state_dict(torch.load(file, weights_only=True))
    assert done + list(batches(sampler, source, sampler.epoch)) == whole


def test_a_state_after_the_last_index_loads_as_the_next_epoch():
    sampler, rows = OrderSampler(9, seed=2), order(9, 3, seed=2).tolist()
    left = iter(sampler)
    assert [next(left) for _ in range(9)] == rows[0] and sampler.state_dict()["position"] == 9
    resumed = OrderSampler(9)
    resumed.load_state_dict(sampler.state_dict())
    assert (resumed.epoch, resumed.position) == (1, 0)
    resumed.set_epoch(1)
    assert [list(resumed), list(resumed)] == rows[1:]


def test_a_loaded_state_brings_its_seed():
    a, b = OrderSampler(9, seed=2), OrderSampler(9, seed=7)
    list(a)
    b.load_state_dict(a.state_dict())
    assert list(a) == list(b) == order(9, 2, seed=2)[1].tolist()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(n=8), "the state is for 8 examples"),
        (dict(how="once"), "the state is for 9 examples, once"),
        (dict(position=10), "at most 9"),
        (dict(position=-1), "position must"),
        (dict(epoch=0.5), "epoch must"),
        (dict(seed="a"), "seed must"),
        (dict(more=1), "entries"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, word):
    sampler = OrderSampler(9, seed=2)
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=word):
        sampler.load_state_dict({**OrderSampler(9, seed=4).state_dict(), "epoch": 3, **change})
    assert sampler.state_dict() == before
    with pytest.raises(ValueError, match="entries"):
        sampler.load_state_dict({"epoch": 1})


def test_workers_give_the_same_batches():
    data = torch.arange(10)
    batches = [
        [b.tolist() for b in DataLoader(data, batch_size=3, sampler=OrderSampler(10, seed=1), num_workers=workers)]
        for workers in (0, 1)
    ]
    assert batches[0] == batches[1]
