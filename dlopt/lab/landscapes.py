"""Functions of two variables to look at: known minima, gradients by hand, sources named.

Each function and each gradient is written in the grammar of update rules, so that what evaluates rules
evaluates them. A path over such a landscape illustrates a method; it is no evidence for it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlopt.engine.faces.torch import namespace as torch_namespace
from dlopt.engine.rule import with_namespace
from dlopt.lab import landscape_functions as lf

__all__ = ["LANDSCAPES", "Landscape", "quadratic", "ravine"]

Point = tuple[float, float]


@dataclass(frozen=True)
class Landscape:
    """A function of two variables, its gradient, and what a picture of it needs.

    Attributes:
        name: its name in :data:`LANDSCAPES`.
        f, grad: ``f(x, y, **constants)`` and its gradient ``(gx, gy)``, elementwise on float64 arrays.
        minima: the global minimizers; one of many where the caption says so; empty if there are none.
        minimum: the least value; None if unbounded below.
        start: where paths begin by custom.
        domain: ``(left, right, bottom, top)`` of a plot.
        log_scale: whether levels are best spaced by the logarithm of f above the minimum.
        source: where the function comes from.
        constants: keyword arguments of `f` and `grad`.
        call: the call that makes it, if a function does.

    Example:
        >>> rosenbrock = LANDSCAPES["rosenbrock"]
        >>> rosenbrock(1.0, 2.0), rosenbrock.gradient(1.0, 2.0)
        (100.0, (-400.0, 200.0))
    """

    name: str
    f: Callable[..., Any]
    grad: Callable[..., tuple[Any, Any]]
    minima: tuple[Point, ...]
    minimum: float | None
    start: Point
    domain: tuple[float, float, float, float]
    source: str
    log_scale: bool = False
    constants: Mapping[str, float] = field(default_factory=dict)
    call: str = ""

    def __call__(self, x: Any, y: Any) -> Any:
        """Values at numbers or float64 arrays x, y of shapes that broadcast."""
        return self.f(x, y, **self.constants)

    def gradient(self, x: Any, y: Any) -> tuple[Any, Any]:
        """The two partial derivatives at numbers or float64 arrays x, y."""
        return self.grad(x, y, **self.constants)

    def on_tensor(self, point: Tensor) -> Tensor:
        """The value at a floating-point tensor of shape ``(2,)``, a scalar for autograd.

        Raises:
            ValueError: `point` has another shape.

        Example:
            >>> LANDSCAPES["booth"].on_tensor(torch.tensor([1.0, 3.0]))
            tensor(0.)
        """
        if point.shape != (2,):
            raise ValueError(f"a point has shape (2,), got {tuple(point.shape)}")
        namespace = torch_namespace(point.dtype, point.dtype)
        return with_namespace(self.f, namespace)(point[0], point[1], **self.constants)

    def path(
        self,
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
        steps: int,
        start: Point | None = None,
        noise: np.ndarray | None = None,
    ) -> np.ndarray:
        """Where an optimizer goes, in float64, by the gradient written by hand.

        Args:
            optimizer: factory from a list of one parameter of shape ``(2,)``.
            steps: number of steps.
            start: first point; the landscape's own by default.
            noise: what is added to the gradient of each step, shape ``(steps, 2)``; nothing by default.

        Returns:
            float64 array of shape ``(steps + 1, 2)``; after a divergence, inf or NaN.

        Example:
            >>> bowl = quadratic(condition=4.0)
            >>> bowl.path(lambda params: torch.optim.SGD(params, lr=0.25), steps=1, start=(1.0, 1.0)).tolist()
            [[1.0, 1.0], [0.75, 0.0]]
        """
        point = torch.tensor(start or self.start, dtype=torch.float64, requires_grad=True)
        method, points = optimizer([point]), [point.tolist()]

        added = np.zeros((steps, 2)) if noise is None else noise

        def closure() -> Tensor:
            with np.errstate(all="ignore"):
                x, y = np.float64(point[0].item()), np.float64(point[1].item())
                slope = [float(g + n) for g, n in zip(self.gradient(x, y), added[len(points) - 1], strict=True)]
                point.grad = torch.tensor(slope, dtype=torch.float64)
                return torch.tensor(float(self(x, y)), dtype=torch.float64)

        for _ in range(steps):
            method.step(closure)  # type: ignore[arg-type]
            points.append(point.tolist())
        return np.array(points)


def quadratic(condition: float = 100.0) -> Landscape:
    """The bowl ``(x² + h y²) / 2`` with eigenvalues 1 and h: the condition number is h for h ≥ 1.

    Args:
        condition: h, positive.

    Raises:
        ValueError: `condition` is not a positive finite number.

    Example:
        >>> quadratic(10.0)(1.0, 1.0)
        5.5
    """
    _check_condition(condition)
    return Landscape(
        "quadratic", lf.quadratic_f, lf.quadratic_grad, ((0.0, 0.0),), 0.0, (-4.0, 1.0),
        (-5.0, 5.0, -2.0, 2.0), "the model of a minimum; Polyak 1964, USSR Comp. Math. 4(5)",
        constants={"h": float(condition)}, call=f"quadratic({float(condition)!r})",
    )  # fmt: skip


def ravine(condition: float = 100.0, angle: float = math.pi / 6) -> Landscape:
    """:func:`quadratic` turned by `angle` (radians, anticlockwise), so that no axis runs along the valley.

    Args:
        condition: ratio of the two eigenvalues, positive; the smaller is 1 for values above 1.
        angle: direction of the valley against the x axis.

    Raises:
        ValueError: `condition` is not a positive finite number.

    Example:
        >>> along = math.cos(math.pi / 6), math.sin(math.pi / 6)
        >>> round(ravine()(*along), 12)
        0.5
    """
    _check_condition(condition)
    constants = {"h": float(condition), "c": math.cos(angle), "s": math.sin(angle)}
    return Landscape(
        "ravine", lf.ravine_f, lf.ravine_grad, ((0.0, 0.0),), 0.0, (-4.0, -1.0), (-5.0, 5.0, -4.0, 4.0),
        "a quadratic in turned coordinates; Goh 2017, Distill, doi:10.23915/distill.00006",
        constants=constants, call=f"ravine({float(condition)!r}, {float(angle)!r})",
    )  # fmt: skip


def _check_condition(condition: float) -> None:
    if not 0 < condition < math.inf:
        raise ValueError(f"condition must be positive and finite, got {condition}")


_SURVEY = "Jamil and Yang 2013, arXiv:1308.4008"
_ROOT, _STYBLINSKI = math.sqrt(2), -2.9035340277711765

_ALL = (
    quadratic(),
    ravine(),
    Landscape(
        "rosenbrock", lf.rosenbrock_f, lf.rosenbrock_grad, ((1.0, 1.0),), 0.0, (-1.2, 1.0),
        (-2.0, 2.0, -1.0, 3.0), "Rosenbrock 1960, Computer Journal 3(3)", log_scale=True,
    ),
    Landscape(
        "beale", lf.beale_f, lf.beale_grad, ((3.0, 0.5),), 0.0, (1.0, 1.0), (-4.5, 4.5, -4.5, 4.5),
        f"Beale 1958, Princeton, technical report 25; {_SURVEY}", log_scale=True,
    ),
    Landscape(
        "himmelblau", lf.himmelblau_f, lf.himmelblau_grad,
        ((3.0, 2.0), (-2.805118086952745, 3.131312518250573), (-3.7793102533777469, -3.2831859912861694),
         (3.5844283403304917, -1.8481265269644034)),
        0.0, (0.0, 0.0), (-5.0, 5.0, -5.0, 5.0), "Himmelblau 1972, Applied Nonlinear Programming",
        log_scale=True,
    ),
    Landscape(
        "booth", lf.booth_f, lf.booth_grad, ((1.0, 3.0),), 0.0, (-7.0, -5.0), (-10.0, 10.0, -10.0, 10.0),
        _SURVEY,
    ),
    Landscape(
        "matyas", lf.matyas_f, lf.matyas_grad, ((0.0, 0.0),), 0.0, (-8.0, 6.0), (-10.0, 10.0, -10.0, 10.0),
        _SURVEY,
    ),
    Landscape(
        "goldstein_price", lf.goldstein_price_f, lf.goldstein_price_grad, ((0.0, -1.0),), 3.0, (1.5, 0.5),
        (-2.0, 2.0, -2.0, 2.0), "Goldstein and Price 1971, Mathematics of Computation 25(115)",
        log_scale=True,
    ),
    Landscape(
        "six_hump_camel", lf.six_hump_camel_f, lf.six_hump_camel_grad,
        ((0.08984201310031806, -0.7126564030207396), (-0.08984201310031806, 0.7126564030207396)),
        -1.031628453489877, (-1.8, 0.2), (-2.0, 2.0, -1.0, 1.0),
        "Dixon and Szego 1978, Towards Global Optimisation 2", log_scale=True,
    ),
    Landscape(
        "styblinski_tang", lf.styblinski_tang_f, lf.styblinski_tang_grad, ((_STYBLINSKI, _STYBLINSKI),),
        -78.33233140754282, (0.5, 4.0), (-5.0, 5.0, -5.0, 5.0),
        "Styblinski and Tang 1990, Neural Networks 3(4)",
    ),
    Landscape(
        "branin", lf.branin_f, lf.branin_grad,
        ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)),
        0.39788735772973816, (2.0, 12.0), (-5.0, 10.0, 0.0, 15.0),
        "Branin 1972, IBM Journal of Research and Development 16(5)", log_scale=True,
    ),
    Landscape(
        "rastrigin", lf.rastrigin_f, lf.rastrigin_grad, ((0.0, 0.0),), 0.0, (3.2, -2.3),
        (-5.12, 5.12, -5.12, 5.12), "Rastrigin 1974, Systems of Extremal Control",
    ),
    Landscape(
        "ackley", lf.ackley_f, lf.ackley_grad, ((0.0, 0.0),), 0.0, (2.3, -1.7), (-4.0, 4.0, -4.0, 4.0),
        "Ackley 1987, A Connectionist Machine for Genetic Hillclimbing",
    ),
    Landscape(
        "saddle", lf.saddle_f, lf.saddle_grad, (), None, (1.5, 0.001), (-2.0, 2.0, -2.0, 2.0),
        "x² − y²; gradient descent leaves it slowly",
    ),
    Landscape(
        "bounded_saddle", lf.bounded_saddle_f, lf.bounded_saddle_grad, ((0.0, _ROOT), (0.0, -_ROOT)), -1.0,
        (1.5, 0.001), (-2.0, 2.0, -2.2, 2.2), "x² − y² + y⁴/4: the saddle between two minima",
    ),
    Landscape(
        "monkey_saddle", lf.monkey_saddle_f, lf.monkey_saddle_grad, (), None, (0.8, 0.01),
        (-1.5, 1.5, -1.5, 1.5),
        "x³ − 3xy²: at the origin the Hessian vanishes; Hilbert and Cohn-Vossen 1932, Anschauliche Geometrie",
    ),
    Landscape(  # every point with xy = 1 is a minimizer; two stand for them
        "factorization", lf.factorization_f, lf.factorization_grad, ((1.0, 1.0), (-1.0, -1.0)), 0.0,
        (0.2, 2.5), (-3.0, 3.0, -3.0, 3.0),
        "(uv − 1)²/2, the smallest two-layer network; Saxe et al. 2014, arXiv:1312.6120", log_scale=True,
    ),
    Landscape(
        "absolute", lf.absolute_f, lf.absolute_grad, ((0.0, 0.0),), 0.0, (1.7, -0.6), (-2.0, 2.0, -2.0, 2.0),
        "|x| + |y|, convex with kinks; the gradient on an axis is the subgradient 0",
    ),
)  # fmt: skip

LANDSCAPES: dict[str, Landscape] = {landscape.name: landscape for landscape in _ALL}
"""Every landscape by name; `quadratic` and `ravine` with condition number 100."""
