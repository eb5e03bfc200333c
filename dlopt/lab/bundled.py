"""The tables that lie in scikit-learn's package, read from its files: to import it takes seconds and 150 MB."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dlopt.lab.optional import require

__all__ = ["read"]


def read(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Inputs, targets and names of the classes, as ``sklearn.datasets.load_*`` gives them.

    Args:
        name: ``"digits"``, ``"breast_cancer"``, ``"wine"`` or ``"diabetes"`` (which has no classes).

    Returns:
        Float64 inputs of shape (n, features), and targets of shape (n,).

    Raises:
        ImportError: scikit-learn is missing.
        KeyError: another name.

    Example:
        >>> inputs, targets, names = read("wine")
        >>> inputs.shape, int(targets.max()), names[0]
        ((178, 13), 2, 'class_0')
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        require("sklearn")
        raise ImportError("scikit-learn is installed, but not as files")
    folder = Path(spec.origin).parent / "datasets" / "data"
    if name == "digits":
        table = _numbers(folder / "digits.csv.gz", ",")
        return table[:, :-1], table[:, -1].astype(int), tuple("0123456789")
    if name == "diabetes":
        x = _numbers(folder / "diabetes_data_raw.csv.gz")
        x = (x - x.mean(0)) / x.std(0) / len(x) ** 0.5
        return x, _numbers(folder / "diabetes_target.csv.gz"), ()
    file = folder / {"breast_cancer": "breast_cancer.csv", "wine": "wine_data.csv"}[name]
    lines = file.read_text().splitlines()
    table = np.loadtxt(lines[1:], delimiter=",")
    return table[:, :-1], table[:, -1].astype(int), tuple(lines[0].split(",")[2:])


def _numbers(file: Path, delimiter: str | None = None) -> np.ndarray:
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=delimiter)
