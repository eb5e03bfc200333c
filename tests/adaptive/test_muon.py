"""Muon against its paper, against linear algebra, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import dlopt
from dlopt.adaptive.orthogonal import orthogonalize, split_for_muon

A, B, C = 3.4445, -4.775, 2.0315


def orthogonal_by_paper(M):
    """Jordan et al. 2024, the iteration of the post, in float64."""
    X = M.T if M.shape[0] > M.shape[1] else M
    X = X / np.linalg.norm(X)
    for _ in range(5):
        S = X @ X.T
        X = A * X + (B * S + C * S @ S) @ X
    return X.T if M.shape[0] > M.shape[1] else X


def muon_by_paper(p, gradients, lr, momentum, nesterov, weight_decay, scale):
    """Jordan et al. 2024 with the momentum a sum, as the post writes it; Liu et al. 2025, eq. 3 and 4, the decay."""
    buffer, change = np.zeros_like(p), []
    for g in gradients:
        buffer = momentum * buffer + g
        mixed = g + momentum * buffer if nesterov else buffer
        n, m = p.shape
        factor = max(1, n / m) ** 0.5 if scale == "original" else 0.2 * max(n, m) ** 0.5
        change.append(-lr * (factor * orthogonal_by_paper(mixed) + weight_decay * p))
        p = p + change[-1]
    return p


def made(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def step(w, g, **settings):
    w = w.clone().requires_grad_()
    w.grad = g.clone()
    dlopt.Muon([w], **settings).step()
    return w.detach()


@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_muon_is_that_of_the_paper_up_to_bfloat16(shape, nesterov, scale):
    gradients = [made(shape, seed) for seed in range(1, 9)]
    w = made(shape).requires_grad_()
    start = w.detach().numpy().copy()
    settings = dict(lr=0.02, momentum=0.9, nesterov=nesterov, weight_decay=0.3)
    opt = dlopt.Muon([w], adjust_lr_fn=scale, **settings)
    for g in gradients:
        w.grad = g.clone()
        opt.step()
    expected = muon_by_paper(start, [g.numpy() for g in gradients], scale=scale, **settings)
    moved = np.linalg.norm(expected - start)
    assert np.linalg.norm(w.detach().numpy() - expected) < 0.03 * moved


def test_the_decay_is_exact_and_not_scaled_by_the_shape():
    w = made((64, 16))
    after = step(w, torch.zeros_like(w), lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    torch.testing.assert_close(after, w * (1 - 0.1 * 0.3), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(16, 16), (32, 100), (100, 32)])
def test_singular_values_end_in_the_band_and_vectors_stay(shape):
    U, _, Vh = torch.linalg.svd(made(shape), full_matrices=False)
    sigma = torch.linspace(0.2, 1, min(shape), dtype=torch.float64)  # at least .03 of the norm
    O = orthogonalize(U * sigma @ Vh).double()  # noqa: E741
    values = torch.linalg.svdvals(O)
    assert 0.66 < values.min() and values.max() < 1.17
    inner = U.T @ O @ Vh.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 0.03


def test_the_polynomial_maps_a_hundredth_to_one_into_the_band():
    s = np.geomspace(0.01, 1, 100_001)
    for _ in range(5):
        s = A * s + B * s**3 + C * s**5
    assert s.min() == pytest.approx(0.682, abs=1e-3)
    assert s.max() == pytest.approx(1.134, abs=1e-3)


def test_an_exactly_orthogonal_factor_is_the_steepest_step_under_the_spectral_norm():
    G = made((12, 7))
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    assert (U @ Vh * G).sum().item() == pytest.approx(S.sum().item(), rel=1e-12)
    for seed in range(200):
        D = made((12, 7), seed + 1)
        D /= torch.linalg.matrix_norm(D, 2)
        assert (D * G).sum() < S.sum()
    O = orthogonalize(G).double()  # noqa: E741
    reached = (O * G).sum() / torch.linalg.matrix_norm(O, 2) / S.sum()
    assert 0.682 / 1.134 - 0.05 < reached <= 1


@pytest.mark.parametrize("factor", [1e-3, 8.0, 1e4])
def test_the_scale_of_a_gradient_does_not_matter(factor):
    w, g = torch.zeros(6, 9, dtype=torch.float64), made((6, 9))
    base, other = (step(w, g * f, lr=1.0, weight_decay=0.0) for f in (1.0, factor))
    assert (base - other).norm() < 0.03 * base.norm()


def test_a_gradient_far_below_eps_is_not_brought_to_length_one():
    """Divided by eps it stays so small that each of the five steps is its linear term."""
    g = 1e-6 * made((6, 9))
    moved = step(torch.zeros_like(g), g, lr=1.0, weight_decay=0.0, momentum=0.0, eps=1.0)
    assert (moved + A**5 * g).norm() < 0.03 * moved.norm()


def test_a_zero_gradient_moves_nothing():
    w = made((4, 6))
    assert torch.equal(step(w, torch.zeros_like(w), lr=1.0, weight_decay=0.0), w)


@pytest.mark.parametrize("shape", [(64, 3, 3, 3), (8, 40, 3, 3), (40, 2, 2, 2, 2)])
@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_filters_are_flattened_and_scaled_by_the_flattened_shape(shape, scale):
    g = made(shape)
    flat = g.flatten(1)
    filters = step(torch.zeros(shape, dtype=torch.float64), g, lr=0.1, adjust_lr_fn=scale)
    matrix = step(torch.zeros(flat.shape, dtype=torch.float64), flat, lr=0.1, adjust_lr_fn=scale)
    assert torch.equal(filters.flatten(1), matrix)
    n, m = flat.shape
    factor = math.sqrt(max(1, n / m)) if scale == "original" else 0.2 * math.sqrt(max(n, m))
    values = torch.linalg.svdvals(matrix) / (0.1 * factor)
    assert 0.6 < values.min() and values.max() < 1.2


@pytest.mark.parametrize("stacked", [2**20, 120])
def test_equal_shapes_together_equal_one_by_one(stacked, monkeypatch):
    monkeypatch.setattr("dlopt.engine.faces.torch.STACKED", stacked)
    ws, gs = [made((6, 10), s) for s in range(5)], [made((6, 10), s + 10) for s in range(5)]
    together = [w.clone().requires_grad_() for w in ws]
    opt = dlopt.Muon(together, lr=0.1)
    for _ in range(3):
        for w, g in zip(together, gs, strict=True):
            w.grad = g.clone()
        opt.step()
    for w, g, joint in zip(ws, gs, together, strict=True):
        alone = w.clone().requires_grad_()
        opt = dlopt.Muon([alone], lr=0.1)
        for _ in range(3):
            alone.grad = g.clone()
            opt.step()
        assert torch.equal(alone, joint)


class Language(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.token = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.token.weight


def names(model, tensors):
    known = {id(p): name for name, p in model.named_parameters()}
    return [known[id(p)] for p in tensors]


def test_split_leaves_embeddings_vectors_and_the_output_to_adamw():
    model = Language(tied=False)
    matrices, rest = split_for_muon(model)
    assert names(model, matrices) == ["hidden.weight"]
    assert names(model, rest) == ["token.weight", "hidden.bias", "norm.weight", "norm.bias", "head.weight"]


def test_split_with_tied_weights_has_every_parameter_once():
    model = nn.Sequential(nn.Linear(8, 8), Language(tied=True))
    matrices, rest = split_for_muon(model)
    assert sorted(map(id, matrices + rest)) == sorted(map(id, model.parameters()))
    assert "1.token.weight" in names(model, rest)
    assert names(model, matrices) == ["0.weight", "1.hidden.weight"]
    assert list(map(id, split_for_muon(model, ["1.head"])[0])) == list(map(id, matrices))


@pytest.mark.parametrize(
    "layers, expected",
    [
        ([nn.EmbeddingBag(11, 8), nn.Linear(8, 8), nn.Linear(8, 2)], ["1.weight"]),
        ([nn.Linear(4, 20), nn.Unflatten(1, (5, 4)), nn.LayerNorm((5, 4)), nn.Linear(4, 2)], ["0.weight"]),
        ([nn.Conv3d(1, 4, 3), nn.Conv3d(4, 8, 3), nn.Flatten(), nn.Linear(8, 2)], ["0.weight", "1.weight"]),
    ],
    ids=["bag", "norm of a matrix", "3-D"],
)
def test_split_by_the_kind_of_layer(layers, expected):
    model = nn.Sequential(*layers)
    assert names(model, split_for_muon(model)[0]) == expected


def test_split_leaves_out_what_is_frozen():
    model = Language(tied=False)
    model.hidden.weight.requires_grad_(False)
    matrices, rest = split_for_muon(model)
    assert matrices == []
    assert "hidden.weight" not in names(model, rest)


@pytest.mark.parametrize("also", [["0"], ["0.weight"]])
def test_split_takes_more_for_adamw_by_name(also):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 2))
    assert names(model, split_for_muon(model)[0]) == ["0.weight", "1.weight"]
    assert names(model, split_for_muon(model, also)[0]) == ["1.weight"]


def test_split_refuses_a_name_the_model_has_not():
    with pytest.raises(ValueError, match="no parameter or module nothing"):
        split_for_muon(Language(tied=False), ["nothing"])
    with pytest.raises(ValueError, match="collection of names, not the string '12'"):
        split_for_muon(nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))), "12")


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        dlopt.Muon([torch.zeros(shape, requires_grad=True)])
    opt = dlopt.Muon([torch.zeros(2, 2, requires_grad=True)])
    with pytest.raises(ValueError, match="Muon only supports 2D parameters"):
        opt.add_param_group({"params": [torch.zeros(shape, requires_grad=True)]})
    assert len(opt.param_groups) == 1


@pytest.mark.parametrize(
    "bad",
    [
        dict(lr=-1.0), dict(lr=math.nan), dict(lr=math.inf), dict(lr="fast"),
        dict(momentum=-0.1), dict(momentum=1.0), dict(momentum=math.nan), dict(momentum="a"),
        dict(weight_decay=-0.1), dict(weight_decay=math.inf), dict(weight_decay="a"),
        dict(eps=0.0), dict(eps=-1.0), dict(eps=math.nan),
        dict(ns_steps=0), dict(ns_steps=100), dict(ns_steps=2.5), dict(ns_steps="5"),
        dict(ns_coefficients=(1.0, 2.0)), dict(ns_coefficients=3.0), dict(ns_coefficients=(1.0, 2.0, math.nan)),
        dict(adjust_lr_fn="nearly"),
    ],
)  # fmt: skip
def test_bad_hyperparameters_are_refused(bad):
    with pytest.raises(ValueError):
        dlopt.Muon([torch.zeros(2, 2, requires_grad=True)], **bad)


@pytest.mark.parametrize("bad", [dict(adjust_lr_fn="bad"), dict(ns_coefficients=(1.0, 2.0, math.nan))], ids=str)
def test_what_turns_bad_is_refused_before_anything_changes(bad):
    ws = [torch.zeros(2, 2, requires_grad=True) for _ in range(2)]
    opt = dlopt.Muon([{"params": [w]} for w in ws])
    for w in ws:
        w.grad = torch.eye(2)
    opt.param_groups[1].update(bad)
    with pytest.raises(ValueError):
        opt.step()
    assert not any(w.any() for w in ws) and not opt.state
