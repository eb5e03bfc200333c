from functools import partial

import pytest
import torch

import dlopt
from dlopt.lab import traffic
from dlopt.lab.bench_cases import RULES, bytes_moved


@pytest.mark.parametrize("name", RULES)
def test_bytes_of_tensors_are_those_of_the_rule(name):
    assert traffic.moved(RULES[name]) == bytes_moved(RULES[name])


def test_bytes_follow_the_dtypes():
    half = torch.bfloat16
    assert traffic.moved(dlopt.Adam, half) == 2 + 2 * (2 + 8)
    assert traffic.moved(partial(dlopt.Adam, writing="kahan"), half) == 2 + 2 * (2 + 8 + 2)
    assert traffic.moved(torch.optim.Adam, half) == 2 + 2 * (2 + 4)


def test_operations_by_hand():
    """lr is a scalar: -lr * g, and p + that; momentum: mu * b, + g, * -lr, + p; the gain of 1 is a product as well."""
    assert traffic.operations(partial(dlopt.SGD, lr=0.1)) == 2
    assert traffic.operations(partial(dlopt.SGD, lr=0.1, momentum=0.9)) == 5
    assert traffic.operations(partial(dlopt.Adagrad, lr=0.1)) == 7  # g g, + G, root, + eps, lr g, /, + p


@pytest.mark.parametrize(
    ("optimizer", "lists"),
    [
        (torch.optim.SGD, 3),
        (partial(torch.optim.SGD, momentum=0.9), 3 + 2 + 3),
        (torch.optim.Adam, 18),
        (torch.optim.RMSprop, 13),
    ],
)
def test_traffic_of_a_loop_by_hand(optimizer, lists):
    assert traffic.moved_by_torch(partial(optimizer, foreach=False)) == 4 * lists


def test_views_are_free_and_a_copy_does_not_read_what_it_overwrites():
    class Copying:
        def __init__(self, params):
            self.p = params[0]
            self.other = torch.zeros_like(self.p)

        def step(self):
            self.p.view(-1)
            self.other.copy_(self.p)

    assert traffic.moved_by_torch(Copying) == 8


def test_turns_alternate_and_medians_are_taken():
    log = []
    steps = {name: partial(log.append, name) for name in "ab"}
    seconds = traffic.in_turns(steps, rounds=3, least=0.0)
    assert "".join(log) == "aabb" + "ababab"
    assert set(seconds) == {"a", "b"} and min(seconds.values()) > 0


def test_what_the_machine_is_measured_by():
    triad, product = traffic.bandwidth(5)(), traffic.multiplications(4)()
    assert triad.tolist() == [4.0] * 5
    assert torch.equal(product, torch.full((4, 4), 4.0))
