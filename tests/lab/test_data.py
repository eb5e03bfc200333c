import hashlib
import sys
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
import torch

from dlopt.lab import data
from dlopt.lab.dataset import split_dataset

TABLES = {"digits": 1797, "breast_cancer": 569, "wine": 178, "diabetes": 442}


@pytest.mark.parametrize("name", TABLES)
def test_parts_are_disjoint_and_complete(name):
    dataset = getattr(data, name)(standardize=False)
    parts = [dataset.train, dataset.validation, dataset.test]
    assert sum(map(len, parts)) == TABLES[name]
    assert len(dataset.train) / TABLES[name] == pytest.approx(0.6, abs=0.01)
    # together they are the original rows, each as often as there
    raw = getattr(sklearn.datasets, f"load_{name}")()
    rows = np.concatenate([part.inputs.flatten(1).numpy() for part in parts])
    original = (raw.data / 16 if name == "digits" else raw.data).astype(np.float32)
    assert np.array_equal(np.sort(rows, axis=0), np.sort(original, axis=0))
    assert all(part.inputs.dtype == torch.float32 for part in parts)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine"])
def test_classes_are_stratified(name):
    dataset = getattr(data, name)()
    shares = [
        torch.bincount(part.targets, minlength=len(dataset.classes)) / len(part)
        for part in (dataset.train, dataset.validation, dataset.test)
    ]
    assert dataset.train.targets.dtype == torch.int64
    for share in shares[1:]:
        torch.testing.assert_close(share, shares[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "diabetes"])
def test_standardized_by_the_training_part_alone(name):
    dataset = getattr(data, name)()
    mean, deviation = dataset.train.inputs.mean(0), dataset.train.inputs.std(0, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(mean), atol=1e-5, rtol=0)
    assert dataset.validation.inputs.mean(0).abs().max() > 0.01


def test_images_are_standardized_by_channel():
    digits = data.digits()
    assert digits.train.inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train.inputs.std().item() == pytest.approx(1, abs=1e-4)
    pixels = data.digits(standardize=False).train.inputs
    assert (pixels.min().item(), pixels.max().item()) == (0, 1)
    photographs = data.sample_images(patch=32).train.inputs
    torch.testing.assert_close(photographs.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)


def test_constant_features_stay_finite():
    inputs = np.stack([np.ones(20), np.arange(20.0)], axis=1)
    dataset = split_dataset("toy", inputs, np.arange(20) % 2, ("a", "b"))
    assert torch.equal(dataset.train.inputs[:, 0], torch.zeros(12))
    assert torch.isfinite(dataset.test.inputs).all()


def test_seed_decides_the_split():
    first, again, other = data.wine(seed=1), data.wine.__wrapped__(seed=1), data.wine(seed=2)
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.train.targets, other.train.targets)
    assert first.sha256 == other.sha256


def test_patches_are_pieces_of_the_photographs():
    dataset = data.sample_images(standardize=False, patch=16)
    photographs = np.stack(sklearn.datasets.load_sample_images().images)
    corners = {photographs[k, i, j].tobytes() for k in (0, 1) for i in range(0, 416, 16) for j in range(0, 640, 16)}
    found = {(255 * patch[:, 0, 0]).round().to(torch.uint8).numpy().tobytes() for patch in dataset.test.inputs}
    assert found <= corners
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 2 * 26 * 40
    with pytest.raises(ValueError, match="patch must be between"):
        data.sample_images(patch=500)


def test_english_text_can_be_read_back():
    from pydoc_data.topics import topics

    text = data.english_text()
    joined = "\n".join(topics[key] for key in sorted(topics))
    ids = torch.cat([text.train, text.validation, text.test])
    assert "".join(text.vocabulary[i] for i in ids) == joined
    assert text.sha256 == hashlib.sha256(joined.encode()).hexdigest()
    assert len(text.train) == int(0.8 * len(joined))
    if sys.version_info[:3] == (3, 11, 7):
        assert (len(joined), len(text.vocabulary)) == (465_048, 103)


def fake_openml(calls, rows=200):
    def fetch(data_id, **options):
        calls.append(data_id)
        generator = np.random.default_rng(0)
        labels = np.array([str(i % 10) for i in range(rows)], dtype=object)
        return SimpleNamespace(data=generator.integers(0, 256, (rows, 3072)).astype(float), target=labels)

    return fetch


def test_openml_is_fetched_once_then_read_from_the_cache(monkeypatch, own_cache):
    calls = []
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fake_openml(calls))
    first, second = data.openml("cifar10"), data.openml("cifar10")
    assert calls == [40927]
    assert first.train.inputs.shape == (120, 3, 32, 32)
    assert torch.equal(first.test.inputs, second.test.inputs)
    file = own_cache / "data" / "cifar10.npz"
    stored = (own_cache / "data" / "cifar10.npz.sha256").read_text()
    assert stored == hashlib.sha256(file.read_bytes()).hexdigest()


def test_openml_refuses_a_file_that_changed(monkeypatch, own_cache):
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fake_openml([]))
    data.openml("cifar10")
    file = own_cache / "data" / "cifar10.npz"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ValueError, match="does not have the checksum"):
        data.openml("cifar10")


def test_openml_without_a_network_says_so(monkeypatch):
    def fetch(**options):
        raise URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(ConnectionError, match="mnist is not in .* openml.org cannot be reached.*no route"):
        data.openml("mnist")


def test_published_test_set_is_the_last_rows():
    inputs = np.arange(50.0)[:, None]
    dataset = split_dataset("toy", inputs, np.arange(50) % 2, ("a", "b"), standardize=False, published=10)
    assert dataset.test.inputs[:, 0].tolist() == list(range(40, 50))
    assert (len(dataset.train), len(dataset.validation)) == (30, 10)
