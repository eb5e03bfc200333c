import numpy as np
import pytest
import sklearn.datasets
from sklearn.model_selection import train_test_split

from dlopt.lab import bundled
from dlopt.lab.stratified import hold_out


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "diabetes"])
def test_tables_are_scikit_learns_bit_for_bit(name):
    raw = getattr(sklearn.datasets, f"load_{name}")()
    inputs, targets, names = bundled.read(name)
    assert inputs.dtype == raw.data.dtype and targets.dtype == raw.target.dtype
    np.testing.assert_array_equal(inputs, raw.data)
    np.testing.assert_array_equal(targets, raw.target)
    assert list(names) == [str(each) for each in raw.get("target_names", ())]


@pytest.mark.parametrize("part", [0.2, 0.25, 0.3, 17])
@pytest.mark.parametrize("seed", range(25))
def test_rows_are_those_of_train_test_split(part, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(7), np.arange(7), rng.integers(0, 7, 60 + seed)])
    expected = train_test_split(np.arange(len(labels)), test_size=part, random_state=seed, stratify=labels)
    for ours, theirs in zip(hold_out(labels, part, seed), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("labels, part", [([0, 0, 0, 1], 0.5), ([0, 0, 1, 1, 2, 2], 0.2), ([0, 0, 1, 1], 3)])
def test_too_few_rows_are_refused_as_there(labels, part):
    with pytest.raises(ValueError, match="cannot stand in both"):
        hold_out(np.array(labels), part)
    with pytest.raises(ValueError):
        train_test_split(labels, test_size=part, stratify=labels)


@pytest.mark.parametrize("labels, part", [([], 0.5), ([0, 0, 1, 1], 2.5), ([0, 0, 1, 1], float("nan"))])
def test_a_part_that_is_none_is_refused_as_there(labels, part):
    with pytest.raises(ValueError, match="cannot hold out"):
        hold_out(np.array(labels), part)
    with pytest.raises(ValueError):
        train_test_split(labels, test_size=part)
