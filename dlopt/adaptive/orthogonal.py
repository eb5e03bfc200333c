"""Matrices made orthogonal by products alone (Jordan et al. 2024), and the parameters of a model this is good for."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)


def orthogonalize(M: Tensor, coefficients: Any = COEFFICIENTS, steps: float = 5, eps: float = 1e-7) -> Tensor:
    """Bring the singular values of matrices near 1, by a Newton–Schulz iteration in bfloat16.

    With :math:`M = U\\Sigma V^\\top` the result is :math:`US'V^\\top`, where the default five steps bring every
    singular value that is at least a hundredth of the norm into [0.68, 1.14]. Only products of matrices are needed.

    Args:
        M: shape (..., n, m).
        coefficients: (a, b, c) of the polynomial :math:`a\\sigma + b\\sigma^3 + c\\sigma^5` that each step applies.
        steps: how many steps.
        eps: the smallest norm to divide by.

    Returns:
        A bfloat16 tensor of the shape of `M`.

    Example:
        >>> orthogonalize(torch.tensor([[3.0, 0.0], [0.0, 4.0]])).diagonal().float().round(decimals=1)
        tensor([0.7000, 1.1000])
    """
    X = M.bfloat16()
    X = X.mT if (tall := M.shape[-2] > M.shape[-1]) else X
    stack = X.reshape(-1, *X.shape[-2:])
    # one by one on a CPU: the batched product is no faster there, and rounds otherwise than torch.optim's now and then
    parts = stack if M.device.type == "cpu" else [stack]
    O = [newton_schulz(part, [float(x) for x in coefficients], int(steps), eps) for part in parts]  # noqa: E741
    X = torch.cat(O).view(X.shape) if len(O) else X
    return X.mT if tall else X


def newton_schulz(X: Tensor, coefficients: list[float], steps: int, eps: float) -> Tensor:
    """The iteration itself, on one matrix or a stack of them, of no more rows than columns."""
    a, b, c = coefficients
    add_product = torch.addmm if X.dim() == 2 else torch.baddbmm
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        A = X @ X.mT
        A = add_product(A, A, A, beta=b, alpha=c)
        X = add_product(X, A, X, beta=a)
    return X


def split_for_muon(model: nn.Module, also: Collection[str] = ()) -> tuple[list[Tensor], list[Tensor]]:
    """A model's parameters for Muon, and those for AdamW.

    Muon gets the matrices and the filters of convolutions in two and three dimensions. AdamW gets everything else:
    embeddings and norms of any shape, and the model's last matrix, which is its output layer where modules are defined
    in the order they are used.

    Args:
        model: any module.
        also: names of parameters, or of modules, that AdamW is to get as well: a table of positions, say, that is a
            plain parameter and not an ``nn.Embedding``.

    Returns:
        Two lists of parameters. Each parameter that requires a gradient is in one of them.

    Raises:
        ValueError: if `also` names something that the model has not.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> matrices, rest = split_for_muon(net)
        >>> [tuple(p.shape) for p in matrices], [tuple(p.shape) for p in rest]
        ([(16, 8), (16, 16)], [(16,), (16,), (2, 16), (2,)])
    """
    if isinstance(also, str):
        raise ValueError(f"also is a collection of names, not the string {also!r}")
    every = dict(model.named_parameters(remove_duplicate=False))
    wrong = [name for name in also if not any(n == name or n.startswith(name + ".") for n in every)]
    if wrong:
        raise ValueError(f"the model has no parameter or module {', '.join(wrong)}")
    tables = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
    apart = {id(p) for m in model.modules() if isinstance(m, tables) for p in m.parameters(recurse=False)}
    count = Counter(map(id, every.values()))
    last = [p for p in every.values() if p.dim() in (2, 4, 5) and (id(p) not in apart or count[id(p)] > 1)][-1:]
    apart |= {id(p) for p in last}
    apart |= {id(p) for n, p in every.items() if any(n == name or n.startswith(name + ".") for name in also)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices: list[Tensor] = [p for p in trained if p.dim() in (2, 4, 5) and id(p) not in apart]
    chosen = set(map(id, matrices))
    return matrices, [p for p in trained if id(p) not in chosen]
