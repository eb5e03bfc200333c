import copy

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from dlopt.sgd import update_bn


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=0.3)
    )


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_torch_update_bn(pairs, training):
    ours, theirs = network().train(training), network().train(training)
    ours[1].eval(), theirs[1].eval()
    batches = [torch.randn(n, 3) * (k + 1) for k, n in enumerate((8, 8, 5))]
    loader = [(x, torch.zeros(len(x))) for x in batches] if pairs else batches
    update_bn(loader, ours)
    swa_utils.update_bn(loader, theirs)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, dict(theirs.named_buffers())[name], rtol=0, atol=0)
    assert [m.momentum for m in (ours[1], ours[4])] == [0.1, 0.3]
    assert [m.training for m in ours] == [training, False, *[training] * 3] and ours.training == training


def test_the_mean_is_that_of_the_batches():
    model = nn.BatchNorm1d(3)
    x = torch.randn(40, 3)
    update_bn(iter(x.split(10)), model)
    torch.testing.assert_close(model.running_mean, x.mean(0))
    torch.testing.assert_close(model.running_var, torch.stack([part.var(0) for part in x.split(10)]).mean(0))


def test_an_empty_loader_changes_nothing():
    model = network()
    model(torch.randn(8, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="no batch"):
        update_bn([], model)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


class Frozen(nn.Sequential):
    def train(self, mode=True):
        return super().train(False)


class Unused(nn.Sequential):
    def forward(self, x):
        return self[0](x)


@pytest.mark.parametrize("wrapped", [Frozen, Unused])
def test_a_layer_that_no_batch_reaches_is_named(wrapped):
    model = nn.Sequential(network(), wrapped(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    nn.init.constant_(model[1][1].running_mean, 5.0)
    model[0](torch.randn(8, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match=r"no batch reached \['1.1'\]"):
        update_bn([torch.randn(8, 3)], model)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model[0][1].momentum == 0.1


def test_a_failing_batch_leaves_statistics_mode_and_momentum():
    model = network()
    model(torch.randn(8, 3))
    model.eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        update_bn([torch.randn(8, 3), torch.randn(8, 7)], model)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert not any(m.training for m in model.modules()) and (model[1].momentum, model[4].momentum) == (0.1, 0.3)


def test_nothing_to_do_runs_nothing():
    def broken():
        raise AssertionError("was run")
        yield

    update_bn(broken(), nn.Linear(3, 1))
    update_bn(broken(), nn.BatchNorm1d(3, track_running_stats=False))
