"""Methods that look at curvature."""

from dlopt.curvature.cg import Solution, cg
from dlopt.curvature.flat import flat_loss
from dlopt.curvature.newton import Minimum, newton, newton_step

__all__ = ["Minimum", "Solution", "cg", "flat_loss", "newton", "newton_step"]
"""Curvature: products with the Hessian, its extreme eigenvalues, and what is built on them."""

from dlopt.curvature.lanczos import Eigenpairs, Krylov, lanczos, top_eigenvalues
from dlopt.curvature.products import Hessian, hessian_operator, hvp

__all__ = ["Eigenpairs", "Hessian", "Krylov", "hessian_operator", "hvp", "lanczos", "top_eigenvalues"]
