r"""The noise of mini-batch gradients: what it is on a model, and how far a constant step scatters because of it.

Per-example gradients come from ``torch.func``. The stationary spread is that of the linear recursion which SGD,
heavy ball or Nesterov's method makes of a quadratic with gradient :math:`H\theta + \xi`, :math:`\xi` of mean 0,
drawn anew at each step (Mandt, Hoffman & Blei 2017, arXiv:1704.04289, section 3, treat its limit of small steps;
here the steps are finite, and nothing is approximated).
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from dlopt.engine.checks import integer, learning_rate, number

__all__ = ["GradientNoise", "example_gradients", "gradient_covariance", "stationary_covariance", "stationary_variance"]

Loss = Callable[[Tensor, Tensor], Tensor]


class GradientNoise(NamedTuple):
    """Mean of the per-example gradients, shape ``(d,)``, and their covariance; float64."""

    mean: Tensor
    covariance: Tensor


def stationary_variance(lr: Any, h: Any, variance: Any = 1.0, momentum: float = 0.0, nesterov: bool = False) -> Any:
    r"""Long-run variance of the iterates on :math:`h x^2/2` when the gradient carries noise of a given variance.

    For SGD :math:`\gamma\sigma^2 / (h(2-\gamma h))`, for heavy ball
    :math:`\gamma\sigma^2(1+\mu) / (h(1-\mu)(2(1+\mu)-\gamma h))`. For Nesterov's method it is the variance of the
    looked-ahead point, which is the one ``dlopt.SGD`` and ``torch.optim.SGD`` hold.

    Args:
        lr: :math:`\gamma > 0`.
        h: curvature; a number, an array or a tensor of any shape.
        variance: :math:`\sigma^2 \ge 0` of the gradient, of a shape that broadcasts against `h`.
        momentum: :math:`\mu` in [0, 1), without dampening.
        nesterov: Nesterov's method instead of heavy ball.

    Returns:
        A float, a float64 array, or a float64 tensor where `h` or `variance` is one, of the common shape.
        inf where nothing settles: for ``h <= 0``, and from the edge of stability on (:math:`\gamma h = 2 + 2\mu`, for
        Nesterov :math:`(2+2\mu)/(1+2\mu)`).

    Raises:
        ValueError: a rate not above 0, a momentum out of range, a negative variance, no numbers, NaN or inf.

    Example:
        >>> round(stationary_variance(0.1, 1.0, momentum=0.9), 6)
        0.513514
        >>> stationary_variance(0.5, [1.0, 2.0, 4.0])
        array([0.33333333, 0.25      ,        inf])
    """
    lr, mu = _positive(lr), _share(momentum)
    curvature, noise = _numbers("curvature", h), _numbers("variance", variance)
    if (noise < 0).any():
        raise ValueError(f"Invalid variance: {float(noise.min())}")
    # x' = a x - b x_before - lr * noise, whose variance stands in every book on time series (AR(2)).
    step = lr * curvature
    kept = 1 - step if nesterov else torch.ones_like(step)
    a, b = ((1 + mu) * kept if nesterov else 1 + mu - step), mu * kept
    spread = lr * noise * (1 + b) / ((1 - b) * (1 + b + a) * curvature)  # 1 + b - a = lr h
    if nesterov:
        spread = spread * ((1 + mu) ** 2 + mu**2 - 2 * mu * (1 + mu) * a / (1 + b))
    settles = (step > 0) & (1 + b + a > 0)
    result = torch.where(settles, spread, torch.inf)
    if isinstance(h, Tensor) or isinstance(variance, Tensor):
        return result
    return result.numpy() if result.dim() else result.item()


def stationary_covariance(lr: Any, hessian: Any, noise: Any, momentum: float = 0.0, nesterov: bool = False) -> Tensor:
    r"""Long-run covariance of the iterates on :math:`\theta^\top H\theta/2` with gradient noise of covariance C.

    Solves :math:`S = M S M^\top + N C N^\top` for the state of point and buffer and returns the block of the point.
    `H` and `C` need not commute: in the eigenvectors of `H` the equation falls apart into one of size 2 × 2 for
    each pair of curvatures.

    Args:
        lr, momentum, nesterov: as for :func:`stationary_variance`.
        hessian: H, symmetric and positive definite, shape ``(d, d)``, an array or a tensor.
        noise: C, symmetric and positive semidefinite, shape ``(d, d)``.

    Returns:
        float64 tensor of shape ``(d, d)``. It takes ``16 d^2`` numbers of memory on the way.

    Raises:
        ValueError: a matrix of the wrong shape, not symmetric, with a wrong sign or not finite; a hyperparameter out
            of range; a learning rate at or beyond the edge of stability of the largest curvature.

    Example:
        >>> stationary_covariance(0.5, [[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.5], [0.5, 1.0]])
        tensor([[0.3333, 0.1250],
                [0.1250, 0.2500]], dtype=torch.float64)
    """
    h, turned = torch.linalg.eigh(_symmetric("Hessian", hessian))
    c = _symmetric("noise covariance", noise).to(h.device)
    if c.shape != turned.shape:
        raise ValueError(f"the noise covariance has shape {tuple(c.shape)}, the Hessian {tuple(turned.shape)}")
    if float(torch.linalg.eigvalsh(c).min()) < -1e-10 * float(c.abs().max()):
        raise ValueError("the noise covariance has a negative eigenvalue")
    if not torch.isfinite(stationary_variance(lr, h, 1.0, momentum, nesterov)).all():
        raise ValueError(f"nothing settles at lr = {float(lr):g}: curvatures from {float(h[0]):g} to {float(h[-1]):g}")
    lr, mu = float(lr), float(momentum)
    ahead = 1 + mu if nesterov else 1.0  # weight of the fresh gradient in the move
    old = torch.full_like(h, -lr * mu * (mu if nesterov else 1.0))
    maps = torch.stack([1 - lr * ahead * h, old, h, torch.full_like(h, mu)], -1).reshape(-1, 2, 2)
    enters = torch.tensor([-lr * ahead, 1.0], dtype=h.dtype, device=h.device)
    pairs = torch.einsum("iab,jcd->ijacbd", maps, maps).reshape(len(h), len(h), 4, 4)
    source = (turned.T @ c @ turned)[..., None] * torch.kron(enters, enters)
    solved = torch.linalg.solve(torch.eye(4, dtype=h.dtype, device=h.device) - pairs, source)[..., 0]
    spread = turned @ solved @ turned.T
    return (spread + spread.T) / 2


def example_gradients(model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, chunk: int = 256) -> Tensor:
    """The gradient of each example's loss with respect to the model's trainable parameters.

    Args:
        model: a module, called with a batch of one example at a time; left as it is.
        loss: (outputs, targets) → one number for a batch of one, and for more their mean: ``F.cross_entropy``, say.
        inputs, targets: tensors whose first dimension counts the n examples.
        chunk: how many examples are differentiated together. Every chunk's loss as a batch is compared with the
            mean of its examples' losses; a chunk of one together with the example before it.

    Returns:
        Tensor of shape ``(n, d)``, row by row the gradients of ``model.parameters()`` that require one, flattened
        and joined in that order.

    Raises:
        ValueError: batch normalization or dropout in training mode, or other random numbers; a loss that is no mean
            over examples (a sum, a mean with class weights, one that compares examples) or has many numbers an example;
            unequal or no examples; nothing to train; a chunk below 1; a loss or a gradient that is not finite.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> example_gradients(model, nn.functional.mse_loss, torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))
        tensor([[ 2.],
                [18.]])
    """
    return torch.cat(list(_chunks(model, loss, inputs, targets, chunk)))


def gradient_covariance(
    model: nn.Module,
    loss: Loss,
    inputs: Tensor,
    targets: Tensor,
    kind: Literal["full", "diagonal", "trace"] = "full",
    chunk: int = 256,
) -> GradientNoise:
    """Mean and covariance of the per-example gradients over these n examples.

    The covariance divides by n: the examples are the population that mini-batches are drawn from. The gradient of B
    of them drawn with replacement has this covariance over B; without, times (n − B)/(n − 1) more.

    Args:
        model, loss, inputs, targets, chunk: as for :func:`example_gradients`. Never more than one chunk of gradients is
            held at a time.
        kind: ``"full"`` for the matrix ``(d, d)``, ``"diagonal"`` for ``(d,)``, ``"trace"`` for their sum.

    Returns:
        :class:`GradientNoise`, accumulated in float64.

    Raises:
        ValueError: another `kind`, or as :func:`example_gradients` says.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> batch = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
        >>> gradient_covariance(model, nn.functional.mse_loss, *batch, kind="trace")
        GradientNoise(mean=tensor([10.], dtype=torch.float64), covariance=tensor(64., dtype=torch.float64))
    """
    if kind not in _SCATTER:
        raise ValueError(f"kind must be one of {', '.join(_SCATTER)}, got {kind!r}")
    scatter_of = _SCATTER[kind]
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for part in _chunks(model, loss, inputs, targets, chunk):
        rows = part.double()
        size, centre = len(rows), rows.mean(0)
        shift = (centre - mean if count else torch.zeros_like(centre))[None]
        between = scatter_of(shift) * (count * size / (count + size))  # Chan, Golub & LeVeque 1979
        scatter = scatter_of(rows - centre) + between + (scatter if count else 0)
        mean = centre if not count else mean + shift[0] * (size / (count + size))
        count += size
    return GradientNoise(mean, scatter / count)


_SCATTER: dict[str, Callable[[Tensor], Tensor]] = {
    "full": lambda rows: rows.T @ rows,
    "diagonal": lambda rows: rows.square().sum(0),
    "trace": lambda rows: rows.square().sum(),
}


def _chunks(model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor, chunk: int) -> Iterator[Tensor]:
    """The rows of `example_gradients`, some at a time."""
    _check_model(model)
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(f"inputs and targets must be equally many, got {len(inputs)} and {len(targets)}")
    chunk = integer("chunk", chunk, 1)
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        raise ValueError("no parameter of the model requires a gradient")

    def batch_loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(model, weights, (x,)), y)

    def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        value = batch_loss(weights, x[None], y[None])
        if value.numel() != 1:
            raise ValueError(f"the loss of one example must be one number, got shape {tuple(value.shape)}")
        return value.reshape(())

    each = vmap(grad_and_value(one), in_dims=(None, 0, 0))
    before: list[Tensor] = []
    for first in range(0, len(inputs), chunk):
        x, y = inputs[first : first + chunk], targets[first : first + chunk]
        try:
            gradients, values = each(weights, x, y)
        except RuntimeError as error:
            if "randomness" not in str(error):
                raise
            raise ValueError("the model or the loss draws random numbers; call model.eval() first") from error
        rows = torch.cat([g.reshape(len(g), -1) for g in gradients.values()], 1)
        bad = ~(torch.isfinite(rows).all(1) & torch.isfinite(values))
        if bad.any():
            raise ValueError(f"the loss or the gradient of example {first + int(bad.nonzero()[0])} is not finite")
        compared = slice(first - len(before), first + chunk) if len(x) == 1 else slice(first, first + chunk)
        before, values = [values[-1:]], torch.cat([*before, values]) if len(x) == 1 else values
        with torch.no_grad():
            together = batch_loss(weights, inputs[compared], targets[compared]).mean()
        if abs(together - values.mean()) > torch.finfo(values.dtype).eps ** 0.5 * values.abs().max():
            raise ValueError(
                f"the loss of {len(values)} examples is {float(together):g}, the mean of their own losses"
                f" {float(values.mean()):g}: it is a sum, weighted, or compares examples, so no example has its own"
            )
        yield rows


def _check_model(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"{name or 'the model'} is batch normalization that uses the batch: the loss of one example depends"
                " on the others, so it has no gradient of its own; call model.eval() first"
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise ValueError(f"{name or 'the model'} is dropout in training mode; call model.eval() first")


def _positive(lr: Any) -> float:
    learning_rate(lr)
    if float(lr) == 0:
        raise ValueError("Invalid learning rate: 0 never moves, so nothing settles")
    return float(lr)


def _share(momentum: Any) -> float:
    number("momentum value", momentum, low=0, below=1)
    return float(momentum)


def _numbers(what: str, value: Any) -> Tensor:
    """`value` as a float64 tensor."""
    if not isinstance(value, Tensor):
        array = np.array(value)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"Invalid {what}: {value!r} is not made of real numbers")
        value = torch.from_numpy(array.astype(np.float64))
    if value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"Invalid {what}: {value.dtype} is no real number")
    numbers = value.detach().to(torch.float64)
    if not numbers.numel() or not torch.isfinite(numbers).all():
        raise ValueError(f"Invalid {what}: it is empty or not finite")
    return numbers


def _symmetric(what: str, value: Any) -> Tensor:
    matrix = _numbers(what, value)
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the {what} must be square, got shape {tuple(matrix.shape)}")
    if not torch.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6 * float(matrix.abs().max())):
        raise ValueError(f"the {what} must be symmetric")
    return (matrix + matrix.T) / 2
