"""Real data that needs no download, as torch tensors split into training, validation and test parts.

Tables are standardized feature by feature, images channel by channel, always by statistics of the
training part alone. Larger sets come through :func:`openml`, and only when asked for.
"""

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dlopt.lab import bundled
from dlopt.lab.cache import cache_directory, write_atomically
from dlopt.lab.dataset import Dataset, Text, split_dataset
from dlopt.lab.optional import require

__all__ = ["breast_cancer", "diabetes", "digits", "english_text", "openml", "sample_images", "wine"]


@lru_cache
def digits(seed: int = 0, standardize: bool = True) -> Dataset:
    """1,797 handwritten digits, 8×8 grey pixels (UCI, E. Alpaydin and C. Kaynak, 1998).

    Args:
        seed: decides which images go to which part (60, 20, 20 per cent, stratified by class).
        standardize: mean 0 and variance 1 over the training pixels; otherwise pixels lie in [0, 1].

    Returns:
        A :class:`Dataset` with inputs of shape ``(n, 1, 8, 8)`` and ten classes.

    Raises:
        ImportError: scikit-learn is missing.

    Example:
        >>> d = digits()
        >>> len(d.train), len(d.validation), len(d.test), tuple(d.train.inputs.shape[1:])
        (1077, 360, 360, (1, 8, 8))
    """
    pixels, targets, names = bundled.read("digits")
    return split_dataset("digits", pixels.reshape(-1, 1, 8, 8), targets, names, seed, standardize, scale=16)


@lru_cache
def breast_cancer(seed: int = 0, standardize: bool = True) -> Dataset:
    """569 tumours, 30 features, malignant or benign (UCI, W. Wolberg et al., 1995).

    Arguments and errors are those of :func:`digits`; inputs have shape ``(n, 30)``.

    Example:
        >>> d = breast_cancer()
        >>> tuple(d.train.inputs.shape), d.classes
        ((341, 30), ('malignant', 'benign'))
    """
    return _table("breast_cancer", seed, standardize)


@lru_cache
def wine(seed: int = 0, standardize: bool = True) -> Dataset:
    """178 Italian wines, 13 chemical features, three growers (UCI, M. Forina et al., 1991).

    Arguments and errors are those of :func:`digits`; inputs have shape ``(n, 13)``.

    Example:
        >>> d = wine()
        >>> tuple(d.train.inputs.shape), len(d.classes)
        ((106, 13), 3)
    """
    return _table("wine", seed, standardize)


@lru_cache
def diabetes(seed: int = 0, standardize: bool = True) -> Dataset:
    """442 patients, 10 features, disease progression after a year (Efron et al. 2004, Ann. Statist. 32).

    Arguments and errors are those of :func:`digits`; inputs have shape ``(n, 10)``, targets ``(n, 1)``.
    Standardizing covers the target too, so that a constant prediction has mean squared error 1.

    Example:
        >>> d = diabetes()
        >>> tuple(d.train.inputs.shape), tuple(d.train.targets.shape)
        ((264, 10), (264, 1))
    """
    return _table("diabetes", seed, standardize)


@lru_cache
def sample_images(seed: int = 0, standardize: bool = True, patch: int = 16) -> Dataset:
    """Two colour photographs of 427×640 pixels, cut into square patches; the class is the photograph.

    Args:
        seed, standardize: as for :func:`digits`.
        patch: side of a patch in pixels, from 1 to 427; what does not fill a patch is left out.

    Returns:
        A :class:`Dataset` with inputs of shape ``(n, 3, patch, patch)``.

    Raises:
        ImportError: scikit-learn or Pillow is missing.
        ValueError: `patch` is out of range.

    Example:
        >>> d = sample_images(patch=32)
        >>> len(d.train), tuple(d.train.inputs.shape[1:]), d.classes
        (312, (3, 32, 32), ('china', 'flower'))
    """
    if not 1 <= patch <= 427:
        raise ValueError(f"patch must be between 1 and 427, got {patch}")
    require("PIL")
    raw = require("sklearn.datasets").load_sample_images()
    pictures = torch.tensor(np.stack(raw.images)).permute(0, 3, 1, 2)
    tiles = pictures.unfold(2, patch, patch).unfold(3, patch, patch)
    inputs = tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, patch, patch).numpy()
    targets = np.repeat([0, 1], len(inputs) // 2)
    names = tuple(Path(name).stem for name in raw.filenames)
    return split_dataset("sample_images", inputs, targets, names, seed, standardize, scale=255)


@lru_cache
def english_text() -> Text:
    """The help texts of Python itself (`pydoc_data.topics`): 0.4 to 0.5 million characters of English.

    The text differs between Python versions, so a result on it should name `sha256`.

    Returns:
        A :class:`Text`.

    Example:
        >>> text = english_text()
        >>> "".join(text.vocabulary[i] for i in text.train[:13])
        'The "assert" '
    """
    from pydoc_data.topics import topics

    joined = "\n".join(topics[key] for key in sorted(topics))
    vocabulary = tuple(sorted(set(joined)))
    index = {character: i for i, character in enumerate(vocabulary)}
    ids = torch.tensor([index[character] for character in joined])
    first, second = int(0.8 * len(ids)), int(0.9 * len(ids))
    digest = hashlib.sha256(joined.encode()).hexdigest()
    # clone: a part keeps its own memory, and is pickled alone
    train, validation, test = (part.clone() for part in (ids[:first], ids[first:second], ids[second:]))
    return Text("english_text", train, validation, test, vocabulary, digest)


# OpenML's number, the shape of one image, and how many of the last rows are the published test set.
_OPENML: dict[str, tuple[int, tuple[int, int, int], int | None]] = {
    "mnist": (554, (1, 28, 28), 10_000),
    "fashion_mnist": (40996, (1, 28, 28), 10_000),
    "cifar10": (40927, (3, 32, 32), None),
}


def openml(name: str, seed: int = 0, standardize: bool = True) -> Dataset:
    """MNIST, Fashion-MNIST or CIFAR-10 from openml.org: fetched once, then read from the cache.

    The cache is ``$DLOPT_CACHE/data`` (`~/.cache/dlopt/data`). The file's sha256 is written beside it on the
    first fetch and verified on every later read. The test part of MNIST and Fashion-MNIST is the published
    one; CIFAR-10 is split 60, 20, 20 at random, because OpenML does not mark its test set.

    Args:
        name: ``"mnist"``, ``"fashion_mnist"`` or ``"cifar10"``.
        seed, standardize: as for :func:`digits`.

    Returns:
        A :class:`Dataset` with inputs of shape ``(n, channels, height, width)``.

    Raises:
        ValueError: an unknown name, or a cached file that no longer has its checksum.
        ConnectionError: not in the cache, and openml.org cannot be reached.
        ImportError: not in the cache, and scikit-learn is missing.

    Example:
        >>> openml("imagenet")
        Traceback (most recent call last):
        ValueError: unknown data set 'imagenet'; there are mnist, fashion_mnist, cifar10
    """
    if name not in _OPENML:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(_OPENML)}")
    number, shape, published = _OPENML[name]
    file = cache_directory() / "data" / f"{name}.npz"
    checksum = file.with_suffix(".npz.sha256")
    if not (file.exists() and checksum.exists()):
        pixels, labels = _fetch(name, number)
        write_atomically(file, lambda stream: np.savez_compressed(stream, pixels=pixels, labels=labels))
        write_atomically(checksum, lambda stream: stream.write(_sha256(file.read_bytes()).encode()))
    if _sha256(file.read_bytes()) != checksum.read_text().strip():
        raise ValueError(f"{file} does not have the checksum in {checksum}; delete both to fetch it again")
    with np.load(file, allow_pickle=False) as stored:
        inputs, labels = stored["pixels"].reshape(-1, *shape), stored["labels"]
    names, targets = np.unique(labels, return_inverse=True)
    classes = tuple(names.tolist())
    return split_dataset(name, inputs, targets, classes, seed, standardize, scale=255, published=published)


def _fetch(name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (uint8) and labels (str) of OpenML's data set `number`."""
    datasets = require("sklearn.datasets")
    with tempfile.TemporaryDirectory() as folder:
        try:
            raw = datasets.fetch_openml(data_id=number, as_frame=False, parser="pandas", data_home=folder)
        except OSError as error:  # urllib's errors and time-outs are all of this kind
            reason = f"{name} is not in {cache_directory() / 'data'} and openml.org cannot be reached"
            raise ConnectionError(f"{reason} ({error}); fetch it once on a machine with a network") from error
    return raw.data.astype(np.uint8), raw.target.astype(str)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _table(name: str, seed: int, standardize: bool) -> Dataset:
    inputs, targets, names = bundled.read(name)
    return split_dataset(name, inputs, targets if names else targets[:, None], names, seed, standardize)
