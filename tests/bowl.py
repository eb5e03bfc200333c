"""What the tests of single methods share: the faces, and a bowl to walk down in float64."""

import numpy as np
import pytest
import torch

from dlopt import lab
from dlopt.engine import faces
from dlopt.engine.faces import llvm

FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
each_face = pytest.mark.parametrize("face", FACES)

H = np.array([1.0, 10.0, 100.0])
START = np.array([1.0, -2.0, 0.5])
DECAY = 0.05


def walk(make, face, steps, grad=lambda x: H * x, start=START, before=None, **kw):
    """The points that `make(params, **kw)` visits from `start`; `grad` is given the point as an array."""
    with faces.use(face):
        return lab.iterates(lambda ps: make(ps, **kw), lambda x: torch.as_tensor(grad(x.numpy())), start, steps, before)
