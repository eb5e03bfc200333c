import numpy as np
import pytest
import torch

import dlopt
from dlopt.lab import data, streams

KINDS = {
    "labels": lambda **kw: streams.digits(change="labels", **kw),
    "pixels": lambda **kw: streams.digits(change="pixels", **kw),
    "diabetes": streams.diabetes,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_the_seed_decides_everything(kind):
    make = KINDS[kind]
    first, again, other = make(seed=3, length=200), make(seed=3, length=200), make(seed=4, length=200)
    assert np.array_equal(first.inputs, again.inputs) and np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.inputs, other.inputs)
    assert first.inputs.dtype == np.float64 and len(first) == 200
    pairs = list(first)
    assert len(pairs) == 200 and np.array_equal(pairs[7][0], first.inputs[7]) and pairs[7][1] == first.targets[7]


@each_kind
def test_the_record_says_where_the_drift_is(kind):
    """A sudden and a gradual change; without them the very same examples come as they are in the data."""
    drifts = [100, (200, 400)]
    make = KINDS[kind]
    moved, still = make(seed=0, length=600, drifts=drifts), make(seed=0, length=600, drifts=[])
    assert moved.drifts == (streams.Drift(100, 100), streams.Drift(200, 400))
    assert [drift.sudden for drift in moved.drifts] == [True, False]
    assert not still.concept.any() and still.drifts == ()
    expected = np.select([np.arange(600) < 100, np.arange(600) < 200], [0, 1], 2)
    outside = np.r_[0:200, 400:600]
    assert np.array_equal(moved.concept[outside], expected[outside])
    early, late = moved.concept[200:267], moved.concept[333:400]
    assert set(moved.concept[200:400]) == {1, 2}
    assert (early == 2).mean() < 0.35 and (late == 2).mean() > 0.65
    same = moved.concept == 0
    assert np.array_equal(moved.inputs[same], still.inputs[same])
    assert np.array_equal(moved.targets[same], still.targets[same])


def test_labels_are_renamed_by_one_shift_a_concept_and_none_stays():
    for seed in range(20):
        moved = streams.digits(seed, 300, [100, 200])
        still = streams.digits(seed, 300, [])
        assert np.array_equal(moved.inputs, still.inputs)
        shifts = [set((moved.targets - still.targets)[moved.concept == k] % 10) for k in range(3)]
        assert [len(shift) for shift in shifts] == [1, 1, 1]
        assert shifts[0] == {0} and shifts[1] != shifts[0] and shifts[2] != shifts[1]
        assert moved.targets.min() >= 0 and moved.targets.max() <= 9


@pytest.mark.parametrize("kind", ["pixels", "diabetes"])
def test_inputs_are_permuted_by_one_order_a_concept(kind):
    moved, still = (KINDS[kind](seed=1, length=400, drifts=drifts) for drifts in ([200], []))
    assert np.array_equal(moved.targets, still.targets)
    after = slice(200, 400)
    columns = {tuple(column): i for i, column in enumerate(still.inputs[after].T)}
    order = [columns[tuple(column)] for column in moved.inputs[after].T]
    assert len(columns) < 64 or sorted(order) == list(range(64))  # constant pixels are alike
    assert order != list(range(len(order)))
    assert np.array_equal(np.sort(moved.inputs, 1), np.sort(still.inputs, 1))


def test_a_gradual_drift_is_linear():
    shares = np.mean([streams.diabetes(seed, 100, [(20, 79)]).concept for seed in range(400)], 0)
    expected = np.clip((np.arange(100) - 19) / 60, 0, 1)
    assert np.abs(shares - expected).max() < 0.1 and np.abs((shares - expected).mean()) < 0.01


@pytest.mark.parametrize(
    "kw, words",
    [
        (dict(seed=-1), "seed must be at least 0"),
        (dict(length=0), "length at least 1"),
        (dict(length=10, drifts=[11]), "between 0 and 10"),
        (dict(length=10, drifts=[-1]), "between 0 and 10"),
        (dict(length=10, drifts=[5, 3]), "in order"),
        (dict(length=10, drifts=[(5, 3)]), "in order"),
        (dict(length=10, drifts=[(2, 6), 4]), "in order"),
    ],
    ids=str,
)
def test_bad_arguments(kw, words):
    for make in (streams.digits, streams.diabetes):
        with pytest.raises(ValueError, match=words):
            make(**kw)
    with pytest.raises(ValueError, match="change must be 'labels' or 'pixels'"):
        streams.digits(change="colours")


def test_progressive_is_autograd_one_example_at_a_time():
    """Against nn.Linear, cross-entropy or half the squared error, and torch's own optimizer, stream by stream."""
    for make, classes in ((KINDS["labels"], 10), (KINDS["diabetes"], 1)):
        given = [make(seed=s, length=120, drifts=[60]) for s in (0, 1, 2)]
        ours = streams.progressive(given, lambda p: dlopt.Adagrad(p, lr=0.05))
        assert ours.shape == (3, 120) and ours.dtype == np.float64
        for stream, suffered in zip(given, ours, strict=True):
            model = torch.nn.Linear(stream.inputs.shape[1], classes, dtype=torch.float64)
            for p in model.parameters():
                torch.nn.init.zeros_(p)
            opt, expected = torch.optim.Adagrad(model.parameters(), lr=0.05), []
            for x, y in stream:
                scores, target = model(torch.tensor(x)), torch.tensor(y)
                if classes == 1:
                    loss = 0.5 * (scores[0] - target) ** 2
                    expected.append(2 * loss.item())
                else:
                    loss = torch.nn.functional.cross_entropy(scores, target)
                    rivals = torch.cat([scores[: int(y)], scores[int(y) + 1 :]])
                    expected.append(float(rivals.max() >= scores[target]))
                opt.zero_grad()
                loss.backward()
                opt.step()
            np.testing.assert_allclose(suffered, expected, rtol=1e-9, atol=1e-12)


def test_progressive_refuses_unequal_streams():
    a, b = streams.digits(0, 10, []), streams.digits(0, 11, [])
    for given in ([], [a, b], [a, streams.diabetes(0, 10, [])]):
        with pytest.raises(ValueError, match="streams of one kind and length"):
            streams.progressive(given, torch.optim.SGD)


def test_examples_are_those_of_the_data():
    stream, rows = streams.digits(0, 50, []), data.digits().train
    known = {tuple(row) for row in rows.inputs.flatten(1).double().numpy()}
    assert all(tuple(x) in known for x in stream.inputs)
    assert stream.classes == 10 and streams.diabetes(0, 5, []).classes == 0
