"""Batch-norm statistics for weights that no training batch has seen (Izmailov et al. 2018, algorithm 1, last line)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlopt.sgd.weights import copies, write


@torch.no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Recompute the running means and variances of a model's batch-norm layers in one pass over `loader`.

    As ``torch.optim.swa_utils.update_bn``: every batch counts alike, whatever its size, so leave out a last one that
    is small. Layers without running statistics are left alone, and a model without batch norm is not run at all. The
    model runs in training mode, dropout included, and is put back into the mode it was in, layer by layer.

    Args:
        loader: batches; of a tuple or list the first entry is the input.
        model: called with one input at a time.
        device: where to bring the inputs first; None leaves them.

    Raises:
        ValueError: the loader is empty.
        RuntimeError: a layer took statistics from no batch, because the model does not call it or keeps it in
            evaluation mode. After this or any other error the old statistics are back.

    Example:
        >>> model = nn.BatchNorm1d(1)
        >>> update_bn([torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [9.0]])], model)
        >>> model.running_mean
        tensor([4.5000])
    """
    named = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}
    layers = list(named.values())
    if not layers:
        return
    batches = iter(loader)
    first = next(batches, None)
    if first is None:
        raise ValueError("the loader has no batch to take statistics from")
    momenta, modes = [m.momentum for m in layers], {m: m.training for m in model.modules()}
    statistics = {f"{name}.{part}": t for name, m in named.items() for part, t in m.named_buffers()}
    before = copies(statistics)
    try:
        model.train()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # then batch norm takes the plain mean over batches
        for batch in itertools.chain([first], batches):
            inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(inputs if device is None else inputs.to(device))
        unseen = [name for name, layer in named.items() if not layer.num_batches_tracked]
        if unseen:
            raise RuntimeError(f"no batch reached {unseen} in training mode: are they called, and does train() hold?")
    except BaseException:
        write(before, statistics)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
