"""Methods that look at curvature."""

from dlopt.curvature.cg import Solution, cg
from dlopt.curvature.flat import flat_loss
from dlopt.curvature.newton import Minimum, newton, newton_step

__all__ = ["Minimum", "Solution", "cg", "flat_loss", "newton", "newton_step"]
