import hashlib
import math
import pickle
from itertools import islice

import pytest
import torch
from torch import nn

from dlopt.lab import losses, run
from dlopt.lab.batches import split_batches, text_batches
from dlopt.lab.dataset import Split
from dlopt.lab.fingerprint import fingerprint
from dlopt.lab.tasks import (
    TASKS,
    character_transformer,
    digits_mlp,
    heavy_tailed_softmax,
    least_squares,
    logistic_regression,
    with_order,
)  # fmt: skip

ROWS = Split(torch.arange(10.0)[:, None], torch.arange(10))


@pytest.mark.parametrize("name", TASKS)
def test_task_travels_and_trains(name):
    task = pickle.loads(pickle.dumps(TASKS[name]()))
    assert task.name == name
    model = task.model(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = task.evaluate(model)
    for batch in islice(task.batches(0, min(task.batch_size, 64)), 20):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    after = task.evaluate(model)
    loss = next(metric for metric in after if metric.endswith("_loss"))
    assert after[loss] < before[loss]
    assert model.training


@pytest.mark.parametrize("name", TASKS)
def test_same_seed_same_start_and_same_batches(name):
    task = TASKS[name]()
    a, b, c = (list(islice(task.batches(seed, 16), 3)) for seed in (3, 3, 4))
    assert all(torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))
    assert not all(torch.equal(p[0], q[0]) for p, q in zip(a, c, strict=True))
    first, second = task.model(3).state_dict(), task.model(3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_pass_takes_every_row_once_and_the_next_is_reshuffled():
    stream = split_batches(lambda: ROWS, 0, 5)
    passes = [torch.cat([next(stream)[1], next(stream)[1]]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3
    sizes = {len(targets) for _, targets in islice(split_batches(lambda: ROWS, 0, 4), 20)}
    assert sizes == {4}


def test_the_default_stream_is_what_it_always_was():
    digest = hashlib.sha256()
    for size in (1, 3, 4, 10, 99):
        for seed in (0, 7):
            for _, targets in islice(split_batches(lambda: ROWS, seed, size), 25):
                digest.update(bytes(targets.tolist()) + b"|")
    assert digest.hexdigest() == "72ce02ca02402d0d3900b065eb780a2fd38e0f75874bf9382dcea285fbbb7cd3"


def passes(order, size=5, count=6, rows=ROWS, seed=0):
    stream = split_batches(lambda: rows, seed, size, order)
    return [[i for _ in range(10 // size) for i in next(stream)[1].tolist()] for _ in range(count)]


def test_orders_of_rows():
    fresh, once, cyclic = passes("reshuffled"), passes("once"), passes("cyclic")
    assert once == [fresh[0]] * 6 and once != passes("once", seed=1)
    assert cyclic == [list(range(10))] * 6
    mixed = Split(torch.arange(10.0), torch.tensor([2, 0, 1, 2, 0, 1, 2, 0, 1, 2]))
    assert passes("sorted", rows=mixed) == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]] * 6
    inputs, _ = next(split_batches(lambda: mixed, 0, 5, "sorted"))
    assert inputs.tolist() == [1, 4, 7, 2, 5]
    real = Split(torch.arange(3.0), torch.tensor([[0.5], [-1.0], [0.0]]))
    assert next(split_batches(lambda: real, 0, 2, "sorted"))[1].tolist() == [[-1.0], [0.0]]


def test_orders_that_never_change_leave_the_same_rows_out_for_ever():
    for order, seen in {"reshuffled": 10, "once": 8, "cyclic": 8, "sorted": 8, "replacement": 10}.items():
        stream = split_batches(lambda: ROWS, 0, 4, order)
        assert len({i for _, targets in islice(stream, 60) for i in targets.tolist()}) == seen


def test_with_replacement_rows_are_independent_draws():
    drawn = torch.tensor(passes("replacement", count=2000))
    counts = torch.stack([torch.bincount(row, minlength=10) for row in drawn])
    assert (counts == 0).double().mean().item() == pytest.approx(0.9**10, abs=0.01)
    assert counts.sum(0).double().div(20_000).sub(0.1).abs().max() < 0.01
    assert len(next(split_batches(lambda: ROWS, 0, 25, "replacement"))[1]) == 25


def test_a_task_in_another_order_travels_and_is_told_apart():
    task = digits_mlp()
    other = with_order(task, "once")
    assert other.name == "digits_mlp, once" and with_order(other, "sorted").name == "digits_mlp, sorted"
    first, again = other.batches(3, 539), pickle.loads(pickle.dumps(other)).batches(3, 539)
    a, b, c = next(first), next(first), next(again)
    assert torch.equal(a[0], b[0]) and torch.equal(a[0], c[0])
    assert torch.equal(a[0], next(task.batches(3, 539))[0])
    assert len({fingerprint(with_order(task, order)) for order in ("once", "replacement", "cyclic", "sorted")}) == 4
    assert fingerprint(other) == fingerprint(with_order(digits_mlp(), "once"))


def test_runs_in_different_orders_differ_and_start_alike():
    ends = [
        run(task, {"sgd": torch.optim.SGD}, settings=[{"lr": 0.1}], seeds=[0], steps=40, every=40, cache=False,
            progress=False)["val_loss"].tolist()
        for task in (least_squares(), with_order(least_squares(), "reshuffled"), with_order(least_squares(), "once"))
    ]  # fmt: skip
    assert ends[0] == ends[1] and ends[0][0] == ends[2][0] and ends[0][1] != ends[2][1]


def test_orders_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="order must be one of reshuffled"):
        next(split_batches(lambda: ROWS, 0, 2, "random"))
    with pytest.raises(ValueError, match="order must"):
        with_order(digits_mlp(), "random")
    with pytest.raises(ValueError, match="character_transformer are not rows"):
        with_order(character_transformer(), "once")


def test_a_large_batch_is_the_whole_part():
    for inputs, targets in islice(split_batches(lambda: ROWS, 0, 99), 3):
        assert torch.equal(targets, ROWS.targets)
        assert torch.equal(inputs, ROWS.inputs)


def test_text_windows_lie_in_the_text():
    batch = next(text_batches(lambda: torch.arange(12), 10, 0, 50))
    assert set(batch[0][:, 0].tolist()) == {0, 1}
    assert batch[1].max().item() == 11


@pytest.mark.parametrize(("seed", "size", "word"), [(0, 0, "batch_size"), (-1, 4, "seed")])
def test_bad_streams_are_refused(seed, size, word):
    with pytest.raises(ValueError, match=word):
        next(split_batches(lambda: ROWS, seed, size))


def test_losses_against_their_formulas():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 2, 1, 0])
    by_hand = -torch.stack([(row - row.logsumexp(0))[k] for row, k in zip(x, y, strict=True)]).mean()
    torch.testing.assert_close(losses.cross_entropy(nn.Identity(), (x, y)), by_hand)
    z, t = x[:, :1], y.clamp(max=1)
    sign = 2.0 * t - 1
    torch.testing.assert_close(losses.logistic(nn.Identity(), (z, t)), torch.log1p(torch.exp(-sign * z[:, 0])).mean())
    images = x.reshape(6, 1, 1, 3)
    torch.testing.assert_close(
        losses.reconstruction(lambda v: 0 * v.flatten(1), (images, y)), x.pow(2).sum(1).mean() / 2
    )


def test_penalty_is_in_the_training_loss_only():
    task, plain = logistic_regression(l2=0.5), logistic_regression(l2=0.0)
    model = task.model(0)
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.fill_(3.0)
    batch = next(task.batches(0, 16))
    gap = task.loss(model, batch) - plain.loss(model, batch)
    assert gap.item() == pytest.approx(0.25 * 30 * 0.01, rel=1e-4)
    assert task.evaluate(model) == plain.evaluate(model)


def test_accuracy_counts_right_answers():
    split = Split(torch.tensor([[1.0], [-1.0], [2.0], [-3.0]]), torch.tensor([1, 1, 1, 0]))
    found = losses.evaluate_split(lambda: split, "test", losses.logistic, nn.Identity())
    assert found["test_accuracy"] == 0.75


def test_parts_are_told_apart_by_name():
    model = digits_mlp().model(0)
    losses_found = {part: digits_mlp(part=part).evaluate(model) for part in ("train", "validation", "test")}
    assert [list(found) for found in losses_found.values()] == [
        ["full_loss", "full_accuracy"], ["val_loss", "val_accuracy"], ["test_loss", "test_accuracy"],
    ]  # fmt: skip
    train, test = (digits_mlp(part=part).batches(0, 10**6) for part in ("train", "test"))
    assert torch.equal(next(train)[0], next(test)[0])  # one always trains on the training part
    assert len({found_loss for found in losses_found.values() for found_loss in found.values()}) == 6
    with pytest.raises(ValueError, match="part must be one of"):
        digits_mlp(part="dev")


def test_heavy_tail_has_equal_groups():
    _, targets = next(heavy_tailed_softmax(groups=5).batches(0, 10**6))
    sizes = torch.bincount(targets)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert {int(size): int((sizes == size).sum() * size) for size in sizes.unique()} == dict.fromkeys(
        (16, 8, 4, 2, 1), 16
    )


def test_heavy_tail_starts_at_log_classes_and_gd_neglects_the_rare():
    task = heavy_tailed_softmax(groups=6)
    model = task.model(0)
    start = task.evaluate(model)
    assert start["full_loss"] == pytest.approx(math.log(63), rel=1e-5)
    optimizer, batch = torch.optim.SGD(model.parameters(), lr=0.3), next(task.batches(0, 192))
    for _ in range(100):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    end = task.evaluate(model)
    assert end["full_loss_common"] < 0.7 * end["full_loss_rare"]
