"""Curvature: products with the Hessian, its extreme eigenvalues, and the methods built on them."""

from dlopt.curvature.cg import Solution, cg
from dlopt.curvature.flat import flat_loss
from dlopt.curvature.lanczos import Eigenpairs, Krylov, lanczos, top_eigenvalues
from dlopt.curvature.newton import Minimum, newton, newton_step
from dlopt.curvature.products import Hessian, hessian_operator, hvp

__all__ = [
    "Eigenpairs",
    "Hessian",
    "Krylov",
    "Minimum",
    "Solution",
    "cg",
    "flat_loss",
    "hessian_operator",
    "hvp",
    "lanczos",
    "newton",
    "newton_step",
    "top_eigenvalues",
]
