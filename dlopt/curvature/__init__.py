"""Methods that look at curvature."""

from dlopt.curvature.cg import Solution, cg
from dlopt.curvature.newton import Minimum, newton, newton_step

__all__ = ["Minimum", "Solution", "cg", "newton", "newton_step"]
