"""What each foreign form does, by hand, where it differs from ours."""

import math

import pytest
import torch

import dlopt
from dlopt.lab import peer_rules


def moved(optimizer, grads, start=1.0, **options):
    """Where a single weight is after these gradients."""
    p = torch.full((1,), start, dtype=torch.float64, requires_grad=True)
    made = optimizer([p], **options)
    places = []
    for g in grads:
        p.grad = torch.full_like(p, g)
        made.step()
        places.append(p.item())
    return places


def test_adagrad_has_eps_inside_the_root():
    assert moved(peer_rules.RootedAdagrad, [3.0], lr=0.1, eps=7.0) == [pytest.approx(1 - 0.1 * 3 / 4)]


def test_radam_waits_and_then_is_ours():
    places = moved(peer_rules.WaitingRAdam, [1.0] * 7, lr=0.1)
    ours = moved(dlopt.RAdam, [1.0] * 7, lr=0.1)
    assert places[:5] == [1.0] * 5
    assert places[6] - places[5] == pytest.approx(ours[6] - ours[5])
    assert places[5] != 1.0 != ours[0]


def test_radam_adds_eps_to_the_corrected_root():
    huge = 1e6
    corrected, ours = (moved(c, [1.0] * 6, lr=0.1, eps=huge) for c in (peer_rules.CorrectedRAdam, dlopt.RAdam))
    ratio = (corrected[5] - corrected[4]) / (ours[5] - ours[4])
    assert ratio == pytest.approx(1 / math.sqrt(1 - 0.999**6), rel=1e-4)
    tiny = [moved(c, [1.0] * 6, lr=0.1, eps=0.0) for c in (peer_rules.CorrectedRAdam, dlopt.RAdam)]
    assert tiny[0] == pytest.approx(tiny[1])


@pytest.mark.parametrize("made", [peer_rules.ClampedAdamW, peer_rules.ClampedNAdam])
def test_eps_is_a_floor(made):
    floored = moved(made, [2.0], lr=0.1, eps=5.0, **({"weight_decay": 0.0} if made is peer_rules.ClampedAdamW else {}))
    free = moved(made, [2.0], lr=0.1, eps=1.0, **({"weight_decay": 0.0} if made is peer_rules.ClampedAdamW else {}))
    assert (1 - free[0]) / (1 - floored[0]) == pytest.approx(5 / 2)  # the root itself is 2


def test_schedule_free_floor_and_root():
    assert moved(peer_rules.ClampedScheduleFree, [2.0], lr=0.1, eps=5.0) == [pytest.approx(1 - 0.1 * 2 / 5)]
    rooted = moved(peer_rules.RootedScheduleFree, [1e-8], lr=0.1, eps=0.0)
    assert rooted == [pytest.approx(1 - 0.1 * 1e-8 / math.sqrt(1e-16 + 1e-15))]


def test_adafactor_decays_by_what_it_steps_by():
    for shape in ((2, 2), (2,)):
        p = torch.full(shape, 4.0, dtype=torch.float64, requires_grad=True)
        p.grad = torch.ones_like(p)
        peer_rules.RelativeDecayAdafactor([p], lr=0.01, weight_decay=0.5).step()
        # the relative step is 0.01, the parameter's size 4: the step is 0.04, and so is the decay's rate
        assert p.flatten().tolist() == pytest.approx([4 - 0.04 - 0.04 * 0.5 * 4] * p.numel())


@pytest.mark.parametrize(("shape", "longer"), [((2, 8), 2.0), ((8, 2), 1.0)])
def test_muon_lengthens_wide_steps(shape, longer):
    p = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    p.grad = torch.eye(*shape, dtype=torch.float64)
    peer_rules.ExactMuon([p], lr=0.1, weight_decay=0.0).step()
    values = torch.linalg.svdvals(p.detach()) / 0.1 / longer
    assert ((values > 0.6) & (values < 1.3)).all()
    first = p.detach().clone()
    peer_rules.ExactMuon([p], lr=0.1, weight_decay=0.0, ns_steps=4).step()
    assert not torch.equal(p.detach() - first, first)
