"""Draw the picture of the home page, book/_static/ravine.svg: two descents of one ravine.

    python book/_ext/ravine.py

The loss is (x² + 30 y²) / 2. Both paths are the real ones: plain steps at learning rate 0.06, and
the same with momentum 0.8, 40 steps each.
"""

from __future__ import annotations

import math
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "_static" / "ravine.svg"
CURVATURES = (1.0, 30.0)
START = (-9.0, 1.35)
ALT = (
    "Level lines of a long narrow valley. The thin path of plain gradient descent zigzags across it and "
    "stops short of the minimum; the bold path with momentum swings a few times and reaches it."
)


def path(lr: float, momentum: float, steps: int = 40) -> list[tuple[float, float]]:
    """The points that `steps` steps of heavy-ball momentum visit."""
    x, y = START
    along, across = 0.0, 0.0
    points = [START]
    for _ in range(steps):
        along = momentum * along + CURVATURES[0] * x
        across = momentum * across + CURVATURES[1] * y
        x, y = x - lr * along, y - lr * across
        points.append((x, y))
    return points


def place(point: tuple[float, float]) -> str:
    """Where a point stands in the picture."""
    return f"{390 + 38 * point[0]:.1f},{85 - 48 * point[1]:.1f}"


def draw() -> str:
    levels = [0.15, 0.8, 2.4, 5.4, 10, 17, 27]
    rings = "".join(
        f'<ellipse cx="390" cy="85" rx="{38 * math.sqrt(2 * level):.1f}" '
        f'ry="{48 * math.sqrt(2 * level / CURVATURES[1]):.1f}"/>'
        for level in levels
    )
    plain = " ".join(map(place, path(0.06, 0.0)))
    heavy = " ".join(map(place, path(0.06, 0.8)))
    corners = ((8.0 if k % 2 == 0 else 3.4, k * math.pi / 5) for k in range(10))
    star = " ".join(f"{390 + r * math.sin(turn):.1f},{85 - r * math.cos(turn):.1f}" for r, turn in corners)
    start_x, start_y = place(START).split(",")
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 170" role="img" aria-label="{ALT}">
<g fill="none" stroke="currentColor" stroke-opacity=".22">{rings}</g>
<polyline fill="none" stroke="#2b8cbe" stroke-width="1.6" stroke-linejoin="round" points="{plain}"/>
<polyline fill="none" stroke="#d55e00" stroke-width="2.6" stroke-linejoin="round" points="{heavy}"/>
<circle cx="{start_x}" cy="{start_y}" r="4" fill="currentColor"/>
<polygon points="{star}" fill="currentColor"/>
</svg>
"""


if __name__ == "__main__":
    PICTURE.write_text(draw())
