"""A stream with very many features of which an example has three: will the next word be “the”?

Half of the features are seen once. That is the kind of data for which AdaGrad, FTRL and sparse gradients were made.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlopt.lab.data import english_text

__all__ = ["Words", "examples", "learn"]


@dataclass(frozen=True)
class Words:
    """The examples, in the order of the text.

    Attributes:
        features: int64, shape ``(n, 3)``: the word before the last, the last word, and the pair of them, each a
            feature of its own.
        labels: float32, shape ``(n,)``: 1 where the word that follows is the one asked for.
        count: number of features.
    """

    features: Tensor
    labels: Tensor
    count: int


def examples(length: int = 32_000, word: str = "the") -> Words:
    """The first words of :func:`dlopt.lab.data.english_text`, in small letters, each to be told from the two before.

    Args:
        length: number of words, at least 3.
        word: the one to tell.

    Raises:
        ValueError: a length below 3 or beyond the text, or a word that does not occur.

    Example:
        >>> words = examples(1000)
        >>> words.features.shape, int(words.labels.sum()) > 50
        (torch.Size([998, 3]), True)
    """
    text = english_text()
    letters = np.array(text.vocabulary)[text.train.numpy()]
    found = re.findall("[a-z]+", "".join(letters).lower())
    if not 3 <= length <= len(found):
        raise ValueError(f"length must be between 3 and {len(found)}, got {length}")
    names, ids = np.unique(found[:length], return_inverse=True)
    if word not in names:
        raise ValueError(f"{word!r} is not among the first {length} words")
    first, last = ids[:-2], ids[1:-1]
    pairs, pair = np.unique(first * len(names) + last, return_inverse=True)
    features = np.stack([first, len(names) + last, 2 * len(names) + pair], 1)
    labels = torch.from_numpy((names[ids[2:]] == word).astype(np.float32))
    return Words(torch.from_numpy(features), labels, 2 * len(names) + len(pairs))


def learn(
    words: Words, make: Callable[..., Any], seeds: Sequence[int], *, batch_size: int = 64, penalty: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """One pass of logistic regression over the examples in random order, each batch predicted before it is learned.

    The gradient is the sum over a batch, and sparse. All seeds are learned side by side, as parts of one parameter of
    shape ``(seeds * features, 1)``, float32, which begins at zero.

    Args:
        words: what :func:`examples` returns.
        make: parameters → an optimizer that takes sparse gradients.
        seeds: from 0 on; each decides an order of the examples.
        batch_size: at least 1.
        penalty: this times the sign of each weight is added to the gradient, which becomes dense: the subgradient of
            an L1 penalty, at least 0.

    Returns:
        The mean loss over the second half of the pass, in nats, and how many weights are not exactly zero at its
        end: both of shape ``(seeds,)``.

    Example:
        >>> from dlopt import Adagrad
        >>> loss, weights = learn(examples(2000), lambda params: Adagrad(params, lr=1.0), seeds=[0, 1])
        >>> loss.shape, bool((loss < 0.3).all())
        ((2,), True)
    """
    orders = [torch.randperm(len(words.labels), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    weights = torch.zeros(len(seeds) * words.count, 1, requires_grad=True)
    flat, optimizer, losses = weights.detach()[:, 0], make([weights]), []
    offset = torch.arange(len(seeds))[:, None] * words.count
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors of a batch are small: a second thread costs more than it does
    try:
        for rows in torch.stack(orders, 1).split(batch_size):
            features, labels = words.features[rows] + offset, words.labels[rows]
            score = flat[features].sum(-1)
            losses.append(torch.nn.functional.binary_cross_entropy_with_logits(score, labels, reduction="none"))
            slope = (score.sigmoid() - labels).repeat_interleave(3)
            if penalty:
                weights.grad = (penalty * flat.sign()).index_add_(0, features.flatten(), slope)[:, None]
            else:
                where = features.flatten()[None]
                weights.grad = torch.sparse_coo_tensor(where, slope[:, None], weights.shape, check_invariants=False)
            optimizer.step()
    finally:
        torch.set_num_threads(threads)
    every = torch.cat(losses)
    left = (flat.view(len(seeds), -1) != 0).sum(1)
    return every[len(every) // 2 :].double().mean(0).numpy(), left.numpy()
