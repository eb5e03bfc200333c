"""What people look at: figures in the house style, an update rule beside its equation, explorers.

matplotlib, pandas, SciPy and anywidget are imported when something is drawn; `pip install 'dlopt[book]'` brings them.

>>> from dlopt.view import check_alt
>>> check_alt("Loss against step, falling.")
'Loss against step, falling.'
"""

from . import explore
from .bands import bands
from .figure import Figure, check_alt
from .glue import glue
from .maps import contours, heatmap
from .plots import lines, loss_curves
from .show import Shown, show
from .sweep import lr_sweep

__all__ = [
    "Figure",
    "Shown",
    "bands",
    "check_alt",
    "contours",
    "explore",
    "glue",
    "heatmap",
    "lines",
    "loss_curves",
    "lr_sweep",
    "show",
]
