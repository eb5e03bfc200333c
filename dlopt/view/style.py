"""The house style: what every figure of the book looks like.

Text, axes and grid are drawn in `INK`, a stand-in that `dlopt.view.svg` turns into `currentColor`, so a
figure takes the text colour of the page it stands on. The six colours of `PALETTE` have at least 3 : 1
contrast on white and on the dark themes' backgrounds, and stay apart for readers who do not see red, green
or blue; since colour alone is never enough, each series also has its own dashes and its own marker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INK = "#012345"
"""Drawn in this, shown in the page's text colour. No series may use it."""

PALETTE = ("#1361d3", "#e66603", "#54a18f", "#924f79", "#a87af7", "#bf2f16")
_Dashes = tuple[float, ...]
_DASHES: tuple[_Dashes, ...] = ((), (5, 1.8), (1.2, 1.6), (6, 1.6, 1.2, 1.6), (9, 2.5), (3, 1.4, 3, 3))
_MARKERS = ("o", "s", "^", "D", "v", "P")

WIDTH = 460.0
"""Width of every figure in its own units: 13-unit text is 10 px on a 390 px phone and 16 px on a desk."""

FONT = 13.0
SMALL = 11.5


@dataclass(frozen=True)
class Look:
    """How one series is drawn: three signs, so that colour is never the only one."""

    color: str
    dashes: _Dashes
    marker: str

    def line(self) -> dict[str, Any]:
        """Keywords for matplotlib's `plot`."""
        linestyle = (0, self.dashes) if self.dashes else "-"
        return {"color": self.color, "linestyle": linestyle, "marker": self.marker}


def look(index: int) -> Look:
    """The look of series number `index`, from 0.

    Raises:
        ValueError: if `index` is not in 0 to 35, beyond which looks would repeat.

    >>> look(0).color, look(1).marker
    ('#1361d3', 's')
    >>> len({look(i) for i in range(36)})
    36
    """
    count = len(PALETTE)
    if not 0 <= index < count * count:
        raise ValueError(f"a figure can tell at most {count * count} series apart; draw fewer of them")
    turn = index // count
    return Look(PALETTE[index % count], _DASHES[(index + turn) % count], _MARKERS[(index + turn) % count])


def settings() -> dict[str, Any]:
    """matplotlib settings of the house style, for `matplotlib.rc_context`."""
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.labelsize": FONT,
        "axes.linewidth": 0.9,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": FONT,
        "axes.unicode_minus": True,
        "figure.constrained_layout.h_pad": 0.05,
        "figure.constrained_layout.w_pad": 0.05,
        "figure.facecolor": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": FONT,
        "grid.alpha": 0.15,
        "grid.color": INK,
        "grid.linewidth": 0.8,
        "legend.borderaxespad": 0.3,
        "legend.borderpad": 0.0,
        "legend.columnspacing": 1.4,
        "legend.fontsize": FONT,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "legend.handletextpad": 0.6,
        "legend.labelcolor": INK,
        "lines.linewidth": 1.9,
        "lines.markersize": 5.5,
        "mathtext.default": "regular",
        "path.simplify_threshold": 0.2,
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "text.color": INK,
        "text.parse_math": False,
        "xtick.color": INK,
        "xtick.labelsize": SMALL,
        "xtick.major.pad": 6,
        "xtick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.color": INK,
        "ytick.labelsize": SMALL,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }
