"""Classes of any sizes: the heavy tail is the task of that name, and seeds decide the inputs."""

import pytest
import torch

from dlopt.lab import tasks
from dlopt.lab.class_sizes import class_sizes

TAIL = [2 ** (3 - j) for j in range(4) for _ in range(2**j)]


def test_with_seed_0_and_a_heavy_tail_it_is_the_heavy_tailed_task():
    ours, theirs = class_sizes(TAIL, features=8), tasks.heavy_tailed_softmax(groups=4, features=8)
    batch, known = (next(task.batches(0, task.batch_size)) for task in (ours, theirs))
    assert torch.equal(batch[0], known[0]) and torch.equal(batch[1], known[1])
    assert ours.evaluate(ours.model(0)) == theirs.evaluate(theirs.model(0))


def test_a_seed_decides_the_inputs_and_a_model_is_judged_on_its_own():
    task = class_sizes([3, 2, 1], features=5)
    first, second = (next(task.batches(seed, task.batch_size)) for seed in (0, 1))
    assert not torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    for seed, batch in enumerate((first, second)):
        model = task.model(seed)
        with torch.no_grad():
            model.weight.copy_(torch.arange(15.0).view(3, 5))
        assert task.evaluate(model)["full_loss"] == pytest.approx(task.loss(model, batch).item(), rel=1e-6)


def test_equal_classes_are_common_and_rare_at_once():
    metrics = class_sizes([2] * 5, features=4).evaluate(class_sizes([2] * 5, features=4).model(0))
    assert metrics["full_loss"] == metrics["full_loss_common"] == metrics["full_loss_rare"]
    assert metrics["full_loss"] == pytest.approx(torch.tensor(5.0).log().item(), rel=1e-6)


@pytest.mark.parametrize("sizes, features", [([1, 1], 4), ([2, 0, 1], 4), ([1, 1, 1], 0), ([], 4)])
def test_impossible_sizes_are_refused(sizes, features):
    with pytest.raises(ValueError, match="three classes or more"):
        class_sizes(sizes, features)
