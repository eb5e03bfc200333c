import re

import numpy as np
import pytest
import torch

import dlopt
from dlopt.lab import data, rare_words


def test_features_are_the_two_words_before_and_their_pair():
    words = rare_words.examples(5000)
    text = data.english_text()
    found = re.findall("[a-z]+", "".join(text.vocabulary[i] for i in text.train).lower())[:5000]
    assert words.labels.tolist() == [float(word == "the") for word in found[2:]]
    meaning = {}
    for i, row in enumerate(words.features.tolist()):
        for feature, what in zip(
            row, [("first", found[i]), ("last", found[i + 1]), ("pair", found[i], found[i + 1])], strict=True
        ):
            assert meaning.setdefault(feature, what) == what
    assert len(set(meaning.values())) == len(meaning) <= words.count
    assert int(words.features.max()) < words.count


def test_learning_is_logistic_regression_in_shuffled_order():
    """Against dense autograd, seed by seed; the subgradient of the penalty too."""
    words = rare_words.examples(600)
    for penalty in (0.0, 0.01):
        loss, left = rare_words.learn(
            words, lambda p: dlopt.SGD(p, lr=0.3), seeds=[4, 7], batch_size=50, penalty=penalty
        )
        for k, seed in enumerate([4, 7]):
            order = torch.randperm(len(words.labels), generator=torch.Generator().manual_seed(seed))
            w, suffered = torch.zeros(words.count, requires_grad=True), []
            opt = torch.optim.SGD([w], lr=0.3)
            for rows in order.split(50):
                score = w[words.features[rows]].sum(1)
                each = torch.nn.functional.binary_cross_entropy_with_logits(score, words.labels[rows], reduction="none")
                suffered.append(each.detach())
                opt.zero_grad()
                (each.sum() + penalty * w.abs().sum()).backward()
                opt.step()
            every = torch.cat(suffered)
            assert loss[k] == pytest.approx(every[len(every) // 2 :].mean().item(), rel=1e-4)
            assert left[k] == int((w != 0).sum())


def test_ftrl_leaves_zeros_and_seeds_are_apart():
    words = rare_words.examples(2000)
    make = lambda p: dlopt.FTRL(p, lr=1.0, l1=0.5)  # noqa: E731
    loss, left = rare_words.learn(words, make, seeds=[0, 1, 2])
    assert (left < 0.8 * words.count).all() and len(set(loss.tolist())) == 3
    alone = rare_words.learn(words, make, seeds=[1])
    assert alone[1][0] == left[1] and alone[0][0] == pytest.approx(loss[1], rel=1e-6)
    assert loss.dtype == np.float64


@pytest.mark.parametrize("kw, words", [(dict(length=2), "length must be"), (dict(length=10**7), "length must be")])
def test_bad_arguments(kw, words):
    with pytest.raises(ValueError, match=words):
        rare_words.examples(**kw)
    with pytest.raises(ValueError, match="'zebra' is not among"):
        rare_words.examples(1000, "zebra")
