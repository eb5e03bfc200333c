import io

import numpy as np
import pytest
import torch
from torch import nn

from dlopt.sgd import EarlyStopping


def keras(values, patience, mode, min_delta):
    """Keras' rules, restated: (check at which training ends or None, best check), both from 1.

    An improvement is a change of more than min_delta beyond the best. The wait grows by one at every other check, and
    training ends when it reaches patience.
    """
    sign = 1 if mode == "min" else -1
    best, best_at, wait = float("inf"), 0, 0
    for at, value in enumerate(values, 1):
        wait += 1
        if sign * value + min_delta < best:
            best, best_at, wait = sign * value, at, 0
        elif wait >= patience:
            return at, best_at
    return None, best_at


def ours(values, *setting):
    stopping = EarlyStopping(*setting)
    for value in values:
        if stopping.update(value):
            return stopping.checks, stopping.best_step
    return None, stopping.best_step


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("min_delta", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("patience", [1, 2, 3, 7])
def test_counts_as_keras_does(patience, min_delta, mode):
    """On quarters, so that ties and differences of exactly min_delta occur and are exact."""
    generator = torch.Generator().manual_seed(0)
    ended = 0
    for _ in range(200):
        values = (torch.randint(-8, 9, (20,), generator=generator) / 4).tolist()
        assert ours(values, patience, mode, min_delta) == keras(values, patience, mode, min_delta)
        ended += ours(values, patience, mode, min_delta)[0] is not None
    assert ended


def test_a_constant_value_stops_at_check_one_plus_patience():
    """The example of Keras' documentation: a constant loss with patience 3 runs 4 epochs."""
    assert ours([1.0] * 10, 3) == (4, 1)


def test_plateau_schedulers_wait_one_check_longer():
    w = torch.ones(1, requires_grad=True)
    opt = torch.optim.SGD([w], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=3)
    checks = 0
    while opt.param_groups[0]["lr"] == 1.0:
        checks += 1
        plateau.step(1.0)
    assert checks == ours([1.0] * 10, 3)[0] + 1


def test_slow_progress_adds_up():
    stopping = EarlyStopping(3, min_delta=0.2)
    assert not any(stopping.update(1 - 0.125 * k) for k in range(9))
    assert stopping.best_step == 9


def test_infinitely_bad_is_no_improvement():
    stopping = EarlyStopping(2)
    assert [stopping.update(v) for v in (float("inf"), 1.0, float("inf"), float("inf"))] == [False, False, False, True]
    assert (stopping.best, stopping.best_step) == (1.0, 2)
    lost = EarlyStopping(2, "max")
    assert [lost.update(-float("inf")) for _ in range(2)] == [False, True]
    with pytest.raises(ValueError, match="there has been none"):
        lost.restore(nn.Linear(1, 1))


@pytest.mark.parametrize(
    "mode, value, words",
    [
        ("min", float("nan"), "neither better nor worse"),
        ("min", -float("inf"), "nothing could ever beat"),
        ("max", float("inf"), "nothing could ever beat"),
        ("min", "low", "is a real number"),
        ("min", None, "is a real number"),
        ("min", torch.ones(2), "one value a check"),
        ("min", np.ones(2), "one value a check"),
        *(("min", v, "is a real number") for v in ("0.5", b"0.5", True, np.True_, 0.5 + 0j, np.complex64(0.5))),
        ("min", torch.tensor(True), "is a real number"),
        ("min", torch.tensor(0.5 + 0j), "is a real number"),
        pytest.param("min", -(10**400), "too large", id="too large"),
    ],
)
def test_refuses_values(mode, value, words):
    stopping = EarlyStopping(2, mode)
    stopping.update(1.0)
    before = stopping.state_dict()
    with pytest.raises(ValueError, match=words):
        stopping.update(value)
    assert stopping.state_dict() == before


def test_takes_arrays_and_tensors_of_one_element():
    stopping = EarlyStopping(2)
    for value in (np.array([3.0]), np.array(2), np.float32(1.5), torch.tensor([[1.25]]), torch.tensor(1)):
        stopping.update(value)
        assert stopping.best == value and type(stopping.best) is float and stopping.waited == 0


@pytest.mark.parametrize("patience", [0, -1, 1.5, 2.0, float("nan"), float("inf"), "3", None, True])
def test_refuses_patience(patience):
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience)


@pytest.mark.parametrize("kw", [dict(mode="least"), *(dict(min_delta=d) for d in (-0.1, float("nan"), float("inf")))])
def test_refuses_settings(kw):
    with pytest.raises(ValueError, match=next(iter(kw))):
        EarlyStopping(3, **kw)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def test_restores_weights_and_buffers_of_the_best_check():
    model, stopping = network(), EarlyStopping(5)
    best = None
    for k, loss in enumerate([3.0, 1.0, 2.0, 1.0]):
        model(torch.randn(8, 3, generator=torch.Generator().manual_seed(k)))
        with torch.no_grad():
            model[0].weight.add_(1)
        stopping.update(torch.tensor(loss), model)
        if k == 1:
            best = {name: t.clone() for name, t in model.state_dict().items()}
    pointers = [p.data_ptr() for p in model.parameters()]
    stopping.restore(model)
    assert stopping.best_step == 2  # the tie at check 4 is no improvement
    assert all(torch.equal(t, best[name]) for name, t in model.state_dict().items())
    assert pointers == [p.data_ptr() for p in model.parameters()]


class Uncopyable(nn.Linear):
    def named_buffers(self, *args, **kw):
        class Broken(torch.Tensor):
            def detach(self):
                raise MemoryError("no room for a copy")

        yield "broken", torch.ones(1).as_subclass(Broken)


def test_a_failed_copy_changes_nothing():
    model, stopping = nn.Linear(2, 2), EarlyStopping(3)
    stopping.update(2.0, model)
    before = stopping.state_dict()
    with pytest.raises(MemoryError):
        stopping.update(1.0, Uncopyable(2, 2))
    with pytest.raises(ValueError, match="no shape yet"):
        stopping.update(1.0, nn.LazyLinear(2))
    for value in (1.0, 3.0):  # better or not
        with pytest.raises(TypeError, match="expected a module, not a list"):
            stopping.update(value, [torch.ones(2)])
    assert stopping.state_dict() == before and stopping._kept is before["kept"]


def test_restore_refuses():
    model, stopping = network(), EarlyStopping(5)
    with pytest.raises(ValueError, match="there has been none"):
        stopping.restore(model)
    stopping.update(2.0, model)
    with pytest.raises(ValueError, match=r"0.weight has shape \(4, 5\)"):
        stopping.restore(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="are new"):
        stopping.restore(nn.Sequential(*network(), nn.Linear(1, 1)))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    stopping.update(1.0)
    with pytest.raises(ValueError, match="check 2 came without a model"):
        stopping.restore(model)


def test_shared_weights_are_kept_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    stopping = EarlyStopping(1)
    stopping.update(1.0, model)
    assert len(stopping.state_dict()["kept"]["parameters"]) == 3


def test_resume_is_exact():
    values = [3.0, 2.0, 2.5, 2.25, 2.75]
    for split in range(len(values)):
        model, stopping = network(), EarlyStopping(3, min_delta=0.125)
        for value in values[:split]:
            stopping.update(value, model)
        file = io.BytesIO()
        torch.save(stopping.state_dict(), file)
        file.seek(0)
        again = EarlyStopping(1, "max")
        again.load_state_dict(torch.load(file, weights_only=True))
        stopped = [again.update(value, model) for value in values[split:]]
        assert stopped == [k == 4 for k in range(split, 5)] and again.best_step == 2
        again.restore(network())


def test_bad_states_change_nothing():
    stopping = EarlyStopping(3)
    stopping.update(1.0, network())
    good = stopping.state_dict()
    bad = [{}, {**good, "speed": 1}, {**good, "patience": 0}, {**good, "waited": 5}, {**good, "checks": -1}]
    bad += [{**good, "kept": {"parameters": {}}}, {**good, "best_step": 9, "waited": -8}]
    inf, nan, part = float("inf"), float("nan"), good["kept"]["buffers"]
    bad += [{**good, "best": best} for best in (nan, inf, -inf, "x", None, True, 10**400)]
    bad += [{**good, "mode": "max", "best": -inf}, {**good, "checks": 1.5, "waited": 0.5}, {**good, "best_step": True}]
    bad += [{**good, "best_step": 0, "waited": 1}, {**good, "best_step": 0, "waited": 1, "best": inf}]
    bad += [{**good, "patience": 7, "kept": {"parameters": kept, "buffers": part}} for kept in ({"w": 3}, 3, None)]
    bad += [{**good, "patience": 7, "kept": kept} for kept in (3, "kept", [])]
    for state in bad:
        with pytest.raises(ValueError):
            stopping.load_state_dict(state)
        assert stopping.state_dict() == good


def test_an_expanded_buffer_is_restored():
    model = network()
    model.register_buffer("ones", torch.ones(2).expand(3, 2))
    stopping = EarlyStopping(3)
    stopping.update(1.0, model)
    model.ones[0].fill_(5)
    stopping.restore(model)
    assert model.ones.tolist() == [[1, 1]] * 3
