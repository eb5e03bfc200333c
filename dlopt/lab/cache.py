"""Where finished runs and fetched data are kept, and what a result depends on besides its inputs."""

import hashlib
import importlib.metadata
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

__all__ = ["cache_directory", "environment", "load_columns", "save_columns", "write_atomically"]


def cache_directory() -> Path:
    """The folder of cached runs and data: ``$DLOPT_CACHE``, or `~/.cache/dlopt`. It may not exist yet.

    Example:
        >>> cache_directory().is_absolute()
        True
    """
    return Path(os.environ.get("DLOPT_CACHE") or "~/.cache/dlopt").expanduser().absolute()


def write_atomically(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a new file beside `file`, then move it there: a reader never sees half a file.

    Args:
        file: destination; its folder is made if need be.
        write: called with the open binary stream.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder, "a", "b"), lambda stream: stream.write(b"12"))
        ...     Path(folder, "a", "b").read_bytes()
        b'12'
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, suffix=".part", delete=False)
    try:
        with stream:
            write(stream)
        os.replace(stream.name, file)
    except BaseException:
        os.unlink(stream.name)
        raise


def save_columns(file: Path, columns: Mapping[str, Iterable[float]]) -> None:
    """Store named columns of numbers as float64; inf and NaN survive.

    Args:
        file: destination, by custom with the suffix ``.npz``.
        columns: equally long sequences of numbers.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_columns(Path(folder, "a.npz"), {"loss": [1.0, float("inf")]})
        ...     load_columns(Path(folder, "a.npz"))
        {'loss': [1.0, inf]}
    """
    arrays: dict[str, Any] = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    write_atomically(file, lambda stream: np.savez(stream, **arrays))


def load_columns(file: Path) -> dict[str, list[float]] | None:
    """The columns stored in `file`, or None when it is not there or damaged: then the run is done again.

    Example:
        >>> load_columns(Path("nowhere.npz")) is None
        True
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name].tolist() for name in stored.files}
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):
        return None


def environment() -> dict[str, str]:
    """What a result depends on besides its inputs: versions, the processor's instructions, `dlopt`'s source.

    Raises:
        ImportError: scikit-learn, whence the data come, is missing.

    Example:
        >>> sorted(environment())
        ['cpu', 'dlopt', 'numpy', 'python', 'scikit-learn', 'torch']
    """
    try:
        data = importlib.metadata.version("scikit-learn")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError("scikit-learn is not installed; it comes with: pip install 'dlopt[book]'") from error
    return {
        "python": sys.version,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "scikit-learn": data,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "dlopt": _sources(),
    }


def _sources() -> str:
    """One hash of every `.py` file of the package."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
