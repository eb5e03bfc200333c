import threading

import pytest
import torch
from torch import nn

from dlopt.lab import models

SEEDED = {
    "mlp": lambda seed: models.mlp(64, 10, seed=seed),
    "convnet": lambda seed: models.convnet(seed=seed),
    "autoencoder": lambda seed: models.autoencoder(seed=seed),
    "character_transformer": lambda seed: models.character_transformer(50, seed=seed),
}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", SEEDED)
def test_seed_decides_the_weights_and_nothing_else_changes(name):
    make = SEEDED[name]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = make(1), make(1), make(2)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_seeds_hold_when_threads_build_at_once():
    expected = [weights(models.mlp(64, 10, seed=seed)) for seed in range(8)]
    found = [None] * 8

    def build(seed):
        found[seed] = weights(models.mlp(64, 10, seed=seed))

    threads = [threading.Thread(target=build, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_he_initialization_has_its_variance_and_zero_biases():
    first = models.mlp(1000, 10, (500,), init="he")[1]
    assert first.weight.var().item() == pytest.approx(2 / 1000, rel=0.02)
    assert not first.bias.any()
    default = models.mlp(1000, 10, (500,), init="torch")[1]
    assert default.weight.var().item() == pytest.approx(1 / 3000, rel=0.02)  # uniform in ±1/√fan_in


def test_he_keeps_the_signal_of_a_deep_network_and_torch_does_not():
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    he = models.mlp(64, 10, (64,) * 10, init="he")(x).std().item()
    default = models.mlp(64, 10, (64,) * 10, init="torch")(x)
    assert he > 0.3
    assert (default - default.mean(0)).std().item() < 0.01


def test_transformer_does_not_look_ahead():
    model = models.character_transformer(50)
    tokens = torch.randint(50, (2, 64), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 50
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40:], after[:, 40:])


def test_transformer_is_the_one_of_the_pilot():
    model = models.character_transformer(103)
    assert model.token.weight.shape == (103, 64)
    assert len(model.blocks) == 2
    with pytest.raises(ValueError, match="at most 64 characters"):
        model(torch.zeros(1, 65, dtype=torch.int64))


def test_autoencoder_has_its_bottleneck():
    sizes = [layer.out_features for layer in models.autoencoder() if isinstance(layer, nn.Linear)]
    assert sizes == [32, 8, 32, 64]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.mlp(0, 10), "sizes must be at least 1"),
        (lambda: models.mlp(4, 2, activation="swish"), "activation must be one of relu, tanh"),
        (lambda: models.mlp(4, 2, init="zero"), "init must be one of torch, he"),
        (lambda: models.convnet(size=6), "multiple of 4"),
        (lambda: models.autoencoder((64, 8, 32)), "equal ends"),
        (lambda: models.character_transformer(9, heads=5), "heads must divide width"),
        (lambda: models.logistic_regression(3, 1), "classes must be at least 2"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
