"""Methods for finite sums: gradients of one example at a time, and yet no noise in the end.

>>> import torch
>>> from dlopt.sgd.finite_sums import linear_loss, saga
>>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 2.0])
>>> saga(linear_loss(x, y, "squared"), torch.zeros(2), 2, lr=0.1, steps=1000)
tensor([3.0000, 1.0000])
"""

from .linear import LinearLoss, linear_loss
from .problem import table_bytes
from .sag import sag
from .saga import saga
from .sarah import sarah
from .scsg import scsg
from .svrg import svrg

__all__ = ["LinearLoss", "linear_loss", "sag", "saga", "sarah", "scsg", "svrg", "table_bytes"]
