import pytest
import torch

from dlopt.lab.recurrent import character_recurrent


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_seed_decides_the_weights_and_nothing_else_changes():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (character_recurrent(50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("gain", [0.5, 1.0, 1.7])
def test_gain_is_every_singular_value_of_every_recurrent_matrix(init, gain):
    net = character_recurrent(9, width=12, layers=2, init=init, gain=gain).recurrent
    for w in (net.weight_hh_l0, net.weight_hh_l1):
        torch.testing.assert_close(torch.linalg.svdvals(w), torch.full((12,), gain))
        assert torch.linalg.eigvals(w).abs().max().item() == pytest.approx(gain, rel=1e-5)
        assert torch.equal(w, gain * torch.eye(12)) == (init == "identity")


def test_init_touches_the_recurrent_matrix_only():
    default, orthogonal = (dict(character_recurrent(9, init=init).named_parameters()) for init in ("torch", "identity"))
    assert [name for name in default if not torch.equal(default[name], orthogonal[name])] == ["recurrent.weight_hh_l0"]


def test_the_network_is_elmans():
    net = character_recurrent(9, width=5, seed=3)
    tokens = torch.tensor([[1, 4, 1, 8]])
    w, u = net.recurrent.weight_hh_l0, net.recurrent.weight_ih_l0
    b = net.recurrent.bias_hh_l0 + net.recurrent.bias_ih_l0
    h, rows = torch.zeros(5), []
    for token in tokens[0]:
        h = torch.tanh(w @ h + u @ net.token.weight[token] + b)
        rows.append(net.head.weight @ h + net.head.bias)
    torch.testing.assert_close(net(tokens)[0], torch.stack(rows))


def test_it_does_not_look_ahead():
    net = character_recurrent(50)
    tokens = torch.randint(50, (2, 64), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 50
    before, after = net(tokens), net(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40:], after[:, 40:])


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_the_gradient_of_a_linear_recurrence_grows_by_the_gain_each_step(gain):
    """With states near 0, tanh is the identity, and the Jacobian over T steps is W^T."""
    net = character_recurrent(9, width=6, gain=gain)
    h = torch.zeros(6, requires_grad=True)
    with torch.no_grad():
        net.recurrent.bias_hh_l0.zero_()
        net.recurrent.bias_ih_l0.zero_()
    out = net.recurrent(torch.zeros(1, 10, 6), h.expand(1, 1, 6))[0][0, -1]
    v = torch.randn(6, generator=torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(out @ v, h)
    assert (grad.norm() / v.norm()).item() == pytest.approx(gain**10, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(width=0), "sizes must be at least 1"),
        (dict(layers=0), "sizes must be at least 1"),
        (dict(init="zero"), "init must be one of torch, orthogonal, identity"),
        (dict(gain=0.0), "gain must be above 0"),
        (dict(gain=-1.0), "gain must be above 0"),
        (dict(gain=float("nan")), "gain must be above 0"),
        (dict(gain=2.0, init="torch"), "and 1 with init='torch'"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        character_recurrent(9, **options)
