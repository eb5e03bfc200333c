"""Training runs of every family of schedules, recorded once: ``python -m dlopt.lab.schedule_runs``.

The digits network, SGD with momentum, three learning rates, three seeds. The record says what machine it came from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dlopt
from dlopt.lab import bench, data
from dlopt.lab.schedule_families import FAMILIES, composed
from dlopt.lab.tasks import digits_mlp
from dlopt.lab.training import Job, train

__all__ = ["RECORD", "recorded_runs", "study"]

RECORD = Path(__file__).with_name("schedule_runs.json")
STEPS, EVERY, MOMENTUM, BATCH = 300, 10, 0.9, 32
RATES = (0.02, 0.1, 0.4)
_ALSO = (("cosine", {"warmup": 30}), ("linear", {"warmup": 30}))  # besides each family as it is


def study(
    *,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = range(3),
    steps: int = STEPS,
    every: int = EVERY,
    families: Sequence[str] = tuple(FAMILIES),
) -> dict[str, Any]:
    """Train with every schedule at every learning rate, and return the record.

    A run's losses are the means of the batches since the record before; None from a divergence on.

    Args:
        rates: learning rates that the schedules multiply.
        seeds: of weights and batches, the same for all schedules.
        steps, every: of a run, and from record to record.
        families: names in :data:`dlopt.lab.schedule_families.FAMILIES`.

    Example:
        >>> record = study(rates=[0.1], seeds=[0], steps=4, every=2, families=["linear"])
        >>> [run["settings"] for run in record["runs"]], len(record["runs"][0]["losses"]["0.1"][0])
        ([{}, {'warmup': 30}], 3)
    """
    task = digits_mlp(part="test")
    wanted: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in families] + [
        (name, dict(s)) for name, s in _ALSO if name in families
    ]
    runs = []
    for name, settings in wanted:
        schedule = composed(name, settings, max(steps, 31))
        entry: dict[str, Any] = {"name": name, "settings": settings, "losses": {}, "accuracy": {}}
        for lr in rates:
            setting = {"lr": lr, "momentum": MOMENTUM}
            found = [train(Job(task, dlopt.SGD, setting, s, steps, BATCH, every, schedule)) for s in seeds]
            entry["losses"][f"{lr:g}"] = [[_short(loss) for loss in run["train_loss"]] for run in found]
            entry["accuracy"][f"{lr:g}"] = [_short(run["test_accuracy"][-1]) for run in found]
        runs.append(entry)
    return {
        "config": {
            "task": task.name, "optimizer": "SGD", "momentum": MOMENTUM, "batch_size": BATCH, "steps": steps,
            "every": every, "rates": [f"{lr:g}" for lr in rates], "seeds": list(seeds),
        },
        "machine": bench.machine() | {"threads": 1},
        "versions": {name: version(name) for name in ("numpy", "scikit-learn")} | {"digits": data.digits().sha256},
        "runs": runs,
    }  # fmt: skip


@cache
def recorded_runs() -> Mapping[str, Any]:
    """The record that comes with the package.

    >>> recorded_runs()["config"]["task"]
    'digits_mlp'
    """
    return json.loads(RECORD.read_text())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and write its record."""
    parser = argparse.ArgumentParser(prog="python -m dlopt.lab.schedule_runs", description=__doc__)
    parser.add_argument("--output", type=Path, default=RECORD, help="the record")
    options = parser.parse_args(arguments)
    options.output.write_text(json.dumps(study(), separators=(",", ":"), allow_nan=False) + "\n")
    return 0


def _short(value: float) -> float | None:
    """Three digits are what a picture shows; None for what is not finite, which JSON does not have."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
