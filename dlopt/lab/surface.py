"""A network's loss over a plane through its parameters (Li et al. 2018, arXiv:1712.09913), and paths in that plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dlopt.curvature.flat import flat_loss
from dlopt.engine.checks import number

__all__ = ["Surface", "Trace", "filter_normalized", "path_surface", "random_surface"]

Loss = Callable[[nn.Module], Tensor]
_AT_ONCE = 16  # points of the plane evaluated together


@dataclass(frozen=True)
class Trace:
    """A training path, seen in a plane.

    Attributes:
        name: whose path it is.
        points: where it passes, float64 of shape ``(records, 2)``.
        loss: the loss at the true points, not at their shadows in the plane; float64 of shape ``(records,)``.
        held: the share of the path's squared distances from the origin of the plane that lies in the plane.
        every: training steps from record to record.
    """

    name: str
    points: np.ndarray
    loss: np.ndarray
    held: float
    every: int = 1


@dataclass(frozen=True)
class Surface:
    """A loss over a plane.

    Attributes:
        name: what it is called.
        x, y: coordinates, evenly spaced, float64 of shapes ``(n,)`` and ``(m,)``.
        loss: float32 of shape ``(m, n)``; ``loss[j, i]`` stands at ``(x[i], y[j])``.
        about: one sentence on how it was made.
        traces: training paths in the plane.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    about: str = ""
    traces: tuple[Trace, ...] = ()

    def __post_init__(self) -> None:
        if self.loss.shape != (len(self.y), len(self.x)) or min(self.loss.shape) < 4:
            raise ValueError(f"loss of shape {self.loss.shape} must be (len(y), len(x)), each at least 4")
        for name, values in (("x", self.x), ("y", self.y)):
            gaps = np.diff(values)
            if not (np.isfinite(gaps).all() and gaps[0] > 0 and np.allclose(gaps, gaps[0], rtol=1e-6)):
                raise ValueError(f"{name} must increase in equal steps")


def filter_normalized(model: nn.Module, seed: int = 0) -> Tensor:
    """A random direction in which every filter is as long as the model's own (Li et al. 2018, section 4).

    Normal numbers, then each filter scaled to the norm of the filter of the weights in its place. A filter is what
    makes one output: a row of a linear layer, ``weight[i]`` of a convolution. Biases and the parameters of
    normalization, all that has fewer than two dimensions, stay where they are, as in the authors' code. So the picture
    does not change where one layer of a ReLU network is multiplied by a factor and the next divided by it; it does
    where every neuron has a factor of its own, because the filters of the next layer then change their shape.

    Args:
        model: its parameters give the shapes and the norms; frozen ones are among them.
        seed: of the random numbers.

    Returns:
        A tensor of shape ``(d,)``, in the order of ``model.parameters()``.

    Example:
        >>> line = nn.Linear(2, 1)
        >>> _ = line.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> direction = filter_normalized(line, seed=1)
        >>> round(direction[:2].norm().item(), 4), direction[2].item()
        (5.0, 0.0)
    """
    generator, parts = torch.Generator().manual_seed(seed), []
    for weight in model.parameters():
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.ndim < 2:
            parts.append(torch.zeros_like(drawn).flatten())
            continue
        norms = weight.detach().flatten(1).norm(dim=1, keepdim=True)
        rows = drawn.flatten(1)
        parts.append((rows * (norms / rows.norm(dim=1, keepdim=True))).flatten())
    return torch.cat(parts)


def random_surface(
    model: nn.Module,
    loss: Loss,
    *,
    name: str = "surface",
    radius: float = 1.0,
    points: int = 41,
    seed: int = 0,
    about: str = "",
) -> Surface:
    """The loss around a model, over two random directions, filter by filter as long as the weights.

    At coordinate 1 every filter has been moved by its own length, so pictures of two networks can be compared.

    Args:
        model: the point in the middle; it is left as it is. Anything it draws or counts while it runs would spoil
            the picture: put dropout and batch normalization into eval mode.
        loss: model -> scalar, with which ``torch.func.vmap`` can work.
        radius: the coordinates go from -radius to radius.
        points: on each axis; an odd number has the model itself on the grid.
        seed: of the directions; the same seed for two networks gives the same random numbers.

    Raises:
        ValueError: a radius that is not positive, fewer than 4 points, or as :func:`dlopt.curvature.flat_loss` says.

    Example:
        >>> line = nn.Linear(2, 1, bias=False)
        >>> ones = nn.init.ones_(line.weight)
        >>> bowl = random_surface(line, lambda m: m.weight.square().sum(), points=5)
        >>> bowl.x.tolist(), float(bowl.loss[2, 2]), round(float(bowl.loss[2, 0] + bowl.loss[2, 4]), 4)
        ([-1.0, -0.5, 0.0, 0.5, 1.0], 2.0, 8.0)
    """
    number("radius", radius, low=0)
    axis = np.linspace(-radius, radius, points)
    f, center = flat_loss(model, loss)
    directions = torch.stack([filter_normalized(model, 2 * seed + k) for k in (0, 1)])
    return Surface(name, axis, axis, _over(f, center, directions, axis, axis), about)


def path_surface(
    model: nn.Module,
    loss: Loss,
    paths: Mapping[str, Tensor],
    *,
    name: str = "paths",
    points: int = 41,
    margin: float = 0.15,
    every: int = 1,
    about: str = "",
) -> Surface:
    """The loss over the plane that holds most of some training paths (Li et al. 2018, section 7.2).

    Random directions would hold next to nothing of a path. The plane goes through the mean of the paths' ends, along
    the two principal directions of all points as seen from there; the paper's, of one path, are those of its points
    about their mean. The directions have length 1, so coordinates are distances between parameters. What the plane
    does not hold, it does not show: a trace says how much that is, and has the loss at its true points.

    Args:
        model: of the architecture whose parameters the paths hold; it is left as it is.
        loss: model -> scalar, with which ``torch.func.vmap`` can work.
        paths: name to points, shape ``(records, d)``, in the order of ``model.parameters()``.
        points: on each axis.
        margin: how far the picture reaches beyond the paths, as a share of their extent.
        every: training steps from record to record.

    Raises:
        ValueError: no path, a path of another shape, or points that all lie on one line.

    Example:
        >>> line = nn.Linear(3, 1, bias=False)
        >>> down = torch.tensor([[4.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> seen = path_surface(line, lambda m: m.weight.square().sum(), {"down": down}, points=5)
        >>> [trace] = seen.traces
        >>> round(trace.held, 6), trace.loss.tolist()
        (1.0, [17.0, 4.0, 0.0])
    """
    f, theta = flat_loss(model, loss)
    for who, path in paths.items():
        if path.ndim != 2 or path.shape[1] != len(theta) or not path.isfinite().all():
            raise ValueError(
                f"the path {who!r} needs finite points of {len(theta)} parameters, not {tuple(path.shape)}"
            )
    if not paths:
        raise ValueError("no path to draw the plane through")
    origin = torch.stack([path[-1].double() for path in paths.values()]).mean(0)
    offsets = {who: path.double() - origin for who, path in paths.items()}
    directions = _principal(torch.cat(list(offsets.values())))
    places = {who: offset @ directions.T for who, offset in offsets.items()}
    x, y = (_axis(torch.cat([p[:, k] for p in places.values()]), points, margin) for k in (0, 1))
    grid = _over(f, origin.to(theta), directions.to(theta), x, y)
    traces = tuple(
        Trace(
            who,
            places[who].numpy(),
            _at(f, path.to(theta)).double().numpy(),
            float(places[who].square().sum() / offsets[who].square().sum()),
            every,
        )
        for who, path in paths.items()
    )
    return Surface(name, x, y, grid, about, traces)


def _principal(offsets: Tensor) -> Tensor:
    """The two principal directions, shape ``(2, d)``; of few points in many dimensions, by their inner products.

    The first point has positive coordinates, so that no library's choice of a sign turns the picture round.
    """
    squares, left = torch.linalg.eigh(offsets @ offsets.T)  # increasing
    if len(squares) < 2 or squares[-2] <= 1e-12 * squares[-1]:
        raise ValueError("the points of the paths lie on one line: they span no plane")
    directions = (left[:, -2:].T @ offsets / squares[-2:, None].sqrt()).flip(0)
    return directions * torch.where(directions @ offsets[0] < 0, -1.0, 1.0)[:, None]


def _axis(places: Tensor, points: int, margin: float) -> np.ndarray:
    low, high = float(places.min()), float(places.max())
    room = margin * (high - low)
    return np.linspace(low - room, high + room, points)


def _at(f: Callable[[Tensor], Tensor], thetas: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.func.vmap(f, chunk_size=_AT_ONCE)(thetas)


def _over(
    f: Callable[[Tensor], Tensor], center: Tensor, directions: Tensor, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """The loss on a grid, row by row: all its points at once would need n² copies of the parameters."""
    along = center + torch.from_numpy(x).to(center)[:, None] * directions[0]
    return np.stack([_at(f, along + float(v) * directions[1]).float().numpy() for v in y])
