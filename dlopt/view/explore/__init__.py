"""Explorers: the real rule in the reader's hands, with a kernel and without.

Each function returns a widget. In a notebook it is synchronised with Python; on a page it runs by itself, the
rules and functions translated from their Python source. `pip install 'dlopt[book]'` brings what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlopt.engine import RuleOptimizer
    from dlopt.lab.landscapes import Landscape
    from dlopt.lab.surface import Surface

    from .landscape_explorer import LandscapeExplorer
    from .schedule_explorer import ScheduleExplorer
    from .surface_explorer import SurfaceExplorer

    Optimizer = str | type[RuleOptimizer] | Callable[..., Any]

__all__ = ["landscape", "schedule", "surface"]

_TWO = (("SGD", {"lr": 0.01, "momentum": 0.9}), ("Adam", {"lr": 0.3}))


def landscape(
    landscape: str | Landscape = "ravine",
    *,
    start: tuple[float, float] | None = None,
    optimizers: Iterable[Optimizer | tuple[Optimizer, Mapping[str, Any]]] = _TWO,
    steps: int = 200,
    noise: float = 0.0,
    seed: int = 0,
    step: int | None = None,
    view: str = "plane",
) -> LandscapeExplorer:
    """Up to four optimizers on a function of two variables, with a slider for every hyperparameter.

    The start is dragged; the paths and the loss against step follow. A rule outside the grammar, a matrix method
    or a function that gives no number does not fail here: the explorer appears and says what is wrong.

    Args:
        landscape: a name in `dlopt.lab.LANDSCAPES`, or a `Landscape`.
        start: first point; the landscape's own by default.
        optimizers: one to four, each a name among dlopt's, a subclass of `RuleOptimizer` or a bare rule; alone, or
            in a pair with its hyperparameters. A name means one optimizer only. A learning rate that is not given is
            fitted to the landscape: for methods whose step is proportional to the gradient half of 1 / curvature, for
            others a hundredth of the picture's width.
        steps: 1 to 5000.
        noise: standard deviation of what is added to each component of the gradient, in its units; the same for
            every optimizer.
        seed: of the noise, 0 to 2^24.
        step: how far they are played; to the end by default.
        view: "plane", level lines seen from above, or "solid", a surface that can be turned.

    Returns:
        A widget. Its traits are the arguments, and can be read and set. ``paths()`` gives what is drawn, computed in
        Python; ``python()`` the call that makes it.

    Raises:
        ValueError: a name is unknown or means two things, a number is out of range, or a hyperparameter wrong.
        TypeError: an optimizer is none of dlopt's, or has no such hyperparameter.
        ImportError: anywidget is not installed; the message says how to get it.

    >>> explorer = landscape("booth", optimizers=["SGD", ("Adam", {"lr": 0.5})], steps=100)
    >>> explorer.optimizers[0]
    {'name': 'SGD', 'hyper': {'lr': 0.03}}
    >>> explorer.start = (0.0, 0.0)
    >>> explorer.paths().shape
    (2, 101, 2)
    """
    from .landscape_explorer import LandscapeExplorer

    return LandscapeExplorer(landscape, start, optimizers, step, steps=steps, noise=noise, seed=seed, view=view)


def surface(
    surfaces: Surface | Iterable[Surface] | None = None,
    *,
    surface: str | None = None,
    beside: str = "",
    paths: Iterable[str] | None = None,
    step: int | None = None,
    view: str = "plane",
    colour: str = "log",
    probe: tuple[float, float] = (0.0, 0.0),
) -> SurfaceExplorer:
    """The loss surface of a trained network, with training paths on it; two minima side by side at one scale.

    Nothing is trained in the page: it shows what Python has computed, and reads losses only at points of the grid.
    The loss of a path is that at its true parameters; the loss in the plane beneath it is another, and both are told.

    Args:
        surfaces: what :func:`dlopt.lab.random_surface` and :func:`dlopt.lab.path_surface` return, one to six. By
            default those of :func:`dlopt.lab.digits_surfaces`, which takes some seconds once.
        surface: the name of the one that is shown; the first by default.
        beside: the name of another one to stand beside it, with the same colours; "" for none.
        paths: names of the paths that are seen; all of them by default.
        step: how far they are played, in records; to the end by default.
        view: "plane", level lines seen from above, or "solid", a surface that can be turned.
        colour: "log" or "linear", the scale of colours, level lines, heights and of the chart.
        probe: where the loss is read.

    Returns:
        A widget. Its traits are the arguments after the first. ``probed()`` gives the losses under the probe,
        ``traces()`` where the paths pass, ``python()`` the call that makes it.

    Raises:
        ValueError: a name is unknown, a number out of range, or there are too many surfaces.
        ImportError: anywidget is not installed; the message says how to get it.

    >>> import numpy as np
    >>> from dlopt.lab import Surface
    >>> axis = np.linspace(-1, 1, 5)
    >>> bowl = Surface("bowl", axis, axis, np.add.outer(axis**2, 9 * axis**2))
    >>> explorer = surface(bowl, probe=(0.5, 1.0))
    >>> explorer.probed()
    {'bowl': 3.25}
    """
    from dlopt.lab.surface import Surface
    from dlopt.lab.trained import digits_surfaces

    from .surface_explorer import SurfaceExplorer

    given = [surfaces] if isinstance(surfaces, Surface) else surfaces
    return SurfaceExplorer(
        digits_surfaces().values() if given is None else given, given is not None, surface=surface, beside=beside,
        paths=None if paths is None else list(paths), step=step, view=view, colour=colour, probe=probe,
    )  # fmt: skip


def schedule(
    schedules: Iterable[Any] = ("constant", ("cosine", {"warmup": 30}), "step"),
    *,
    lr: float = 0.05,
    momentum: float = 0.0,
    noise: float = 1.0,
    steps: int = 300,
    seed: int = 0,
    step: int | None = None,
    recorded: str | float | None = None,
) -> ScheduleExplorer:
    """Up to four learning-rate schedules with a control for every setting, and their effect on training.

    The schedules are dlopt's own formulas, translated. Their effect is seen twice: on SGD with a noisy quadratic, run
    in the page by the real rule; and on a network, recorded once for each family as it is, with what machine it ran on.
    Where no run was recorded with the settings that are chosen, the page says so, and shows none.

    Args:
        schedules: one to four, each the name of a family in `dlopt.lab.schedule_families`, a pair of it and settings
            (such as ``{"warmup": 30}``), a `dlopt.schedules.Schedule`, or a function of t in the grammar of rules.
        lr: the learning rate that the schedules multiply.
        momentum: of SGD.
        noise: standard deviation of what is added to each component of the gradient.
        steps: of the run, 2 to 2000. Families that have an end, end there.
        seed: of the first of 16 runs, whose mean loss is shown.
        step: how much is played; all by default.
        recorded: the learning rate of the recorded runs: one of those in the record; the middle one by default.

    Returns:
        A widget. Its traits are the arguments. ``factors()`` and ``losses()`` give what the page computes, by Python;
        ``python()`` the call that makes it.

    Raises:
        ValueError: a name is unknown or means two things, or a number is out of range.
        TypeError: a schedule is none of these, or a family has no such setting.
        ImportError: anywidget is not installed; the message says how to get it.

    >>> explorer = schedule(["linear", ("cosine", {"warmup": 2})], steps=4)
    >>> explorer.factors().round(3).tolist()
    [[1.0, 0.75, 0.5, 0.25, 0.0], [0.0, 0.5, 1.0, 0.5, 0.0]]
    """
    from .schedule_explorer import ScheduleExplorer

    return ScheduleExplorer(schedules, recorded, step, lr=lr, momentum=momentum, noise=noise, steps=steps, seed=seed)
