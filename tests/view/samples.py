"""Small results and one figure of each kind."""

import numpy as np
import pandas as pd

from dlopt.lab.landscapes import LANDSCAPES, ravine
from dlopt.view import contours, heatmap, lines, loss_curves, lr_sweep

ALT = "What is drawn, and what is to be seen in it."


def runs(methods=("SGD", "heavy ball", "Nesterov", "Adam"), seeds=5, steps=200):
    rng = np.random.default_rng(0)
    rows = []
    for rank, method in enumerate(methods):
        for seed in range(seeds):
            loss = 2 * np.exp(-np.arange(steps) * (rank + 1) / 60) + 0.3 + 0.02 * rng.normal(size=steps)
            rows.append(
                pd.DataFrame({"method": method, "seed": seed, "step": np.arange(1, steps + 1), "val_loss": loss})
            )
    return pd.concat(rows, ignore_index=True)


def sweep():
    """SGD best inside the grid; heavy ball diverges on 2 of 3 seeds at 1 and is best on the grid's edge."""
    ends = {"SGD": {0.01: 2, 0.1: 1, 1: 3}, "heavy ball": {0.01: 1, 0.1: 2, 1: np.inf}}
    rows = [
        (method, lr, seed, loss + 0.01 * seed)
        for method, losses in ends.items()
        for lr, loss in losses.items()
        for seed in range(3)
    ]
    rows[-2:] = [("heavy ball", 1, 1, 2.5), ("heavy ball", 1, 2, np.nan)]
    return pd.DataFrame(rows, columns=["method", "lr", "seed", "val_loss"])


def path(turns=20):
    t = np.linspace(0, 1, turns + 1)
    return np.stack([-4 + 4 * t, -1 + np.cos(20 * t) * (1 - t)], axis=1)


def figures():
    x = np.linspace(0.1, 4, 300)
    return {
        "loss_curves": loss_curves(runs(), alt=ALT),
        "loss_curves on log axes": loss_curves(runs(), alt=ALT, log="xy", labels="above"),
        "lr_sweep": lr_sweep(sweep(), alt=ALT),
        "lines": lines(
            {"gradient descent": (x, abs(1 - x)), "heavy ball": (x, x / 4)},
            points={"theory": ([2], [1])}, vlines={"2/L": 2}, hlines={"stable below": 1},
            xlabel="learning rate", ylabel="rate", alt=ALT,
        ),
        "contours": contours(ravine(), {"SGD": path(), "heavy ball": path(100)}, alt=ALT),
        "contours of four minima": contours(LANDSCAPES["himmelblau"], alt=ALT),
        "heatmap": heatmap(
            np.geomspace(0.01, 1, 40), np.linspace(0, 1, 30), np.outer(np.arange(30), np.arange(40)),
            xlabel="lr", ylabel="β", zlabel="rate", log="x", points={"best": (0.1, 0.5)}, alt=ALT,
        ),
    }  # fmt: skip
